"""Kinds that everything in a pool reads: one watch of the whole kind serves all local readers, whatever they select.

The hub asks with the node's rights. Whether another caller may read the whole kind is asked of the cloud
(SubjectAccessReview), once a minute at most; in the dark the last answer holds.
"""

import json
from collections.abc import Callable
from typing import Final

from yurtcore.wire.gvr import Gvr

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Permit
from yurt_hub.pump.fetch import Unanswered
from yurt_hub.pump.kept.feeds import Credentials, Feeds, Following

POOL_SCOPED: Final = (Gvr("", "v1", "services"), Gvr("discovery.k8s.io", "v1", "endpointslices"))
RIGHT_FOR: Final = 60.0
"""Seconds that an answer about a right holds."""
READY_WITHIN: Final = 20.0
"""Seconds that a first reader waits for the whole kind; then it takes the usual road."""
REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_ACCOUNT: Final = "system:serviceaccount:"


class Shared:
    """The feeds of pool-scoped kinds, and who may follow them."""

    def __init__(self, feeds: Feeds, node: Credentials, wall: Callable[[], float]) -> None:
        self._feeds = feeds
        self._node = node
        self._wall = wall
        self._rights: dict[tuple[str, SetKey], tuple[bool, float]] = {}

    @staticmethod
    def whole(key: SetKey) -> SetKey | None:
        """The set of all objects of a pool-scoped kind; None for other kinds and for gets."""
        return SetKey(key.gvr, "") if key.gvr in POOL_SCOPED and not key.one else None

    def following(self, whole: SetKey) -> Following:
        """The feed of a whole kind."""
        return self._feeds.feed(whole, self._node)

    def permitted_already(self, whole: SetKey, name: str) -> bool:
        """Tell whether this identity is known to be allowed, without asking."""
        return name == self._node.name or self._known(whole, name) is True

    async def permitted(self, whole: SetKey, name: str) -> bool:
        """Ask whether this identity may read the whole kind; an identity that cannot be asked about may not."""
        known = self._known(whole, name)
        if known is None:
            known = await self._ask(whole.gvr, name)
            if known is not None:
                if len(self._rights) >= 1000:
                    self._rights.clear()
                self._rights[name, whole] = (known, self._wall())
        if known:
            self._feeds.store.allow(whole, Permit(name, self._wall()))
        return bool(known)

    def _known(self, whole: SetKey, name: str) -> bool | None:
        if name == self._node.name:
            return True
        right, since = self._rights.get((name, whole), (False, float("-inf")))
        return right if self._wall() - since < RIGHT_FOR else None

    async def _ask(self, gvr: Gvr, name: str) -> bool | None:
        if not name.startswith(_ACCOUNT):
            return None
        namespace = name.removeprefix(_ACCOUNT).split(":", 1)[0]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        for verb in ("list", "watch"):
            what = {"verb": verb, "group": gvr.group, "version": gvr.version, "resource": gvr.resource}
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": name, "groups": groups, "resourceAttributes": what},
            }
            try:
                answer = await self._feeds.cloud.fetch(
                    "POST",
                    REVIEWS,
                    identity=Identity.NODE,
                    headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
                    body=json.dumps(review).encode(),
                    within=10.0,
                )
                allowed = answer.status == 201 and json.loads(answer.body)["status"]["allowed"] is True
            except (Unanswered, ValueError, KeyError):
                return None
            if not allowed:
                return False
        return True
