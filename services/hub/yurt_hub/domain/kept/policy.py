"""Whose answers are kept, and which.

The User-Agent decides whether a copy of an answer is kept, and nothing else: whoever lies about it changes what the hub
remembers of the lies' own requests, never what anybody may read.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from yurtcore.wire.gvr import Target

NEEDED: Final = frozenset({"kubelet", "kube-proxy"})
"""Components without whose answers the node does not live: what they asked for is never evicted."""
DEFAULT_AGENTS: Final = NEEDED | {"coredns", "flanneld", "raven-agent-ds", "yurt-raven", "yurthub", "yurt-hub"}
"""Kept without being named in the ConfigMap."""

_VERBS: Final = frozenset({"get", "list", "watch", "create", "update", "patch"})
_SUBRESOURCES: Final = frozenset({"", "status"})
_NEVER: Final = frozenset({
    "bindings",
    "certificatesigningrequests",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectreviews",
    "selfsubjectrulesreviews",
    "subjectaccessreviews",
    "tokenreviews",
})  # fmt: skip
"""Questions and answers, not objects; and requests for certificates, which are worth nothing later."""
_NOT_AS_WRITTEN: Final = frozenset({"events", "leases"})
"""Written often and read by no one on the node: the answers to writes are not kept."""


class Agents(Struct, frozen=True):
    """The components whose answers are kept."""

    names: frozenset[str] = DEFAULT_AGENTS
    everyone: bool = False


class Verdict(Struct, frozen=True):
    """Whether an answer is kept, and why (not), in words."""

    kept: bool
    why: str


def agents(named: str | None, *, always: frozenset[str] = DEFAULT_AGENTS) -> Agents:
    """The defaults and those that `cache_agents` names, apart by commas; `*` means everyone. None: the defaults."""
    words = {word.strip().lower() for word in (named or "").split(",")} - {""}
    return Agents(always | (words - {"*"}), "*" in words)


def component(user_agent: str) -> str:
    """Who says to be asking: the User-Agent up to its first "/" or blank, in lower case; "" when there is none."""
    words = user_agent.strip().split("/", 1)[0].split(None, 1)
    return words[0].lower() if words else ""


def decide(known: Agents, who: str, verb: str, target: Target, headers: Mapping[str, str]) -> Verdict:
    """Say whether the answer to a request is kept.

    `who` is the component, `headers` the request's, with names in lower case.
    """
    if not target.is_resource or not target.resource:
        return Verdict(kept=False, why="it is not about a resource")
    if not who:
        return Verdict(kept=False, why="the caller has no User-Agent")
    if who not in known.names and not known.everyone:
        return Verdict(kept=False, why=f"{who} is not among the agents whose answers are kept (cache_agents)")
    if any(name.startswith("impersonate-") for name in headers):
        return Verdict(kept=False, why="the caller asks in another's name")
    if (why := _refuse(verb, target)) is not None:
        return Verdict(kept=False, why=why)
    return Verdict(kept=True, why=f"{who} is kept" if who in known.names else "everyone is kept")


def _refuse(verb: str, target: Target) -> str | None:
    """Why such a request is kept for nobody; None if it may be."""
    if verb not in _VERBS:
        return f"answers to {verb or 'such a request'} are not kept"
    if target.subresource not in _SUBRESOURCES:
        return f"the subresource {target.subresource} is not kept"
    if target.resource in _NEVER:
        return f"{target.resource} are never kept"
    written = verb in ("create", "update", "patch")
    if written and target.resource in _NOT_AS_WRITTEN:
        return f"{target.resource} are not kept as written"
    if written and "dryRun" in target.query:
        return "nothing was written (dryRun)"
    if target.query.get("resourceVersionMatch", ("",))[0] == "Exact":
        return "an old state was asked for"
    return None
