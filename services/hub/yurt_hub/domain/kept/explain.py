"""Why a request is answered as it is: who asks, which road it takes and what decided, as one value."""

from collections.abc import Mapping

from msgspec import Struct
from yurtcore.errors import BadInput
from yurtcore.wire.gvr import parse_target, verb

from yurt_hub.domain.kept import answers, policy, sets
from yurt_hub.domain.kept.forms import OBJECTS
from yurt_hub.domain.kept.policy import Agents
from yurt_hub.domain.kept.store import Store


class Asked(Struct, frozen=True):
    """A request to explain; header names in lower case."""

    method: str
    target: str
    identity: str
    user_agent: str
    headers: Mapping[str, str] = {}


class Explained(Struct, frozen=True):
    """The explanation."""

    identity: str
    component: str
    verb: str
    what: str
    """The set that it is about, in words; "" when it is about none."""
    kept: bool
    kept_why: str
    lit: str
    """Where the answer comes from while the cloud is there."""
    dark: int
    """The code of the answer without the cloud; 0 when the store has no say."""
    dark_why: str
    version: int
    """Of the set that would answer."""


def explain(store: Store, agents: Agents, asked: Asked, now: float) -> Explained:
    """Explain one request; total for any target."""
    target = parse_target(asked.target)
    what = verb(asked.method, target)
    who = policy.component(asked.user_agent)
    verdict = policy.decide(agents, who, what, target, asked.headers)
    words, code, why, version = "", 0, "answered by other parts of the hub, or not at all", 0
    if target.is_resource and target.resource and what in ("get", "list", "watch"):
        try:
            words = sets.describe(sets.set_key(target))
            answer = (answers.get if what == "get" else answers.list_)(store, target, asked.identity, OBJECTS, now)
            code, why, version = answer.code, answer.why, answer.version
        except BadInput as err:
            code, why = 400, err.why
    lit = "the cloud; a copy is kept" if verdict.kept else "the cloud"
    return Explained(asked.identity, who, what, words, verdict.kept, verdict.why, lit, code, why, version)
