"""What a read asks for, in the terms of the store: one object, a set, or a watch of a set.

Pure and memoised by target: node components repeat theirs. The parameters are those of the Kubernetes API
(`ListOptions`, https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/).
"""

import functools
from dataclasses import dataclass
from typing import Literal

from yurtcore.errors import BadInput
from yurtcore.wire.gvr import Target, parse_target

from yurt_hub.domain.kept.readers import Options, options
from yurt_hub.domain.kept.sets import SetKey, set_key


@dataclass(frozen=True, slots=True)
class Asked:
    """One read of a resource."""

    verb: Literal["get", "list", "watch"]
    key: SetKey
    limit: int = 0
    continue_: str = ""
    consistent: bool = True
    """The answer must not be older than the question: no `resourceVersion` is given."""
    include_object: str = ""
    """Of a Table: None, Metadata or Object."""
    options: Options | None = None
    """Of a watch."""


@functools.lru_cache(maxsize=4096)
def asked(target: bytes, what: str) -> Asked | None:
    """Read a GET's target; `what` is its verb. None for what is no plain read of a resource.

    Subresources are none, nor are the old `/watch/` paths, nor selectors that the API server refuses: its words are
    better than ours.
    """
    if what not in ("get", "list", "watch"):
        return None
    seen = parse_target(target.decode("latin-1"))
    if not seen.is_resource or seen.subresource or seen.prefix_verb:
        return None
    try:
        key = set_key(seen)
    except BadInput:
        return None
    include, consistent = _first(seen, "includeObject"), not _first(seen, "resourceVersion")
    if what == "get":
        return Asked("get", key, consistent=consistent, include_object=include)
    if key.one:
        return None
    if what == "watch":
        try:
            return Asked("watch", key, include_object=include, options=options(seen))
        except BadInput:
            return None
    return Asked(
        "list",
        key,
        limit=_number(_first(seen, "limit")),
        continue_=_first(seen, "continue"),
        consistent=consistent,
        include_object=include,
    )


def _first(seen: Target, name: str) -> str:
    return seen.query.get(name, ("",))[0]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
