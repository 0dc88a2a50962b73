"""Who calls, and with which identity a request goes on to the cloud.

A connection is judged once, when it opens (:func:`judge_owner` on the plain port, :func:`judge_certificate` on the TLS
port); each request on it is then decided by :func:`decide` from that and its credentials. Two rules hold everywhere:
nobody gets the node's identity but the node's own components, and a caller's token never travels on a connection that
carries the node's certificate. The reference gives the node's identity to whoever reaches its ports.
"""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from yurtcore.wire.names import NODES_GROUP, node_user


class Shown(enum.Enum):
    """What a connection proved about its caller."""

    NODE = "node"
    """One of this node's own components: the kubelet's certificate, or a local process that is on the list."""
    NOTHING = "nothing"
    """The TLS port, no client certificate."""
    FOREIGN = "foreign"
    """The TLS port, a certificate of the cluster that is not this node's kubelet's."""
    UNKNOWN = "unknown"
    """The plain port, a process that is not on the list or that cannot be seen."""


class Identity(enum.Enum):
    """Which of the two sets of upstream connections a request takes; the two are never mixed."""

    NODE = "node"
    """Connections with the node's client certificate."""
    CALLER = "caller"
    """Connections without any certificate: the request carries a token of its own."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the hub gives by itself; it closes nothing and tells no secrets."""

    code: int
    message: str
    reason: str
    """Short label for metrics and logs."""


REFUSE_UNKNOWN: Final = Refusal(
    401,
    "this port serves only the node's own components; use a token on the TLS port",
    "unknown_process",
)
REFUSE_FOREIGN: Final = Refusal(
    401,
    "a client certificate other than this node's kubelet's cannot be passed on; use a token",
    "foreign_certificate",
)
REFUSE_NOTHING: Final = Refusal(401, "no credential; use a bearer token", "no_credential")
REFUSE_SCHEME: Final = Refusal(401, "only bearer tokens are accepted in the Authorization header", "not_a_bearer_token")

# Names of the module are found several times faster than members of an enum, and this runs once per request.
_NODE, _NOTHING, _UNKNOWN, _AS_NODE, _AS_CALLER = (
    Shown.NODE,
    Shown.NOTHING,
    Shown.UNKNOWN,
    Identity.NODE,
    Identity.CALLER,
)


def decide(shown: Shown, authorization: bytes | None, ws_bearer: bool = False) -> Identity | Refusal:  # noqa: FBT001, FBT002 (hot path: positional)
    """Say with which identity one request goes on, or why it does not; returns shared constants only.

    ``authorization`` is the header's value without surrounding blanks, None when there is no such header; ``ws_bearer``
    says that a WebSocket handshake carries a token among its subprotocols. A token always means ``CALLER``, also from
    the kubelet itself: on one connection a certificate wins over a token, even over a bad one.
    """
    if shown is _UNKNOWN:
        return REFUSE_UNKNOWN
    if authorization is None:
        if ws_bearer:
            return _AS_CALLER
        if shown is _NODE:
            return _AS_NODE
        return REFUSE_NOTHING if shown is _NOTHING else REFUSE_FOREIGN
    # kube-apiserver reads the word right after one blank, and none when a second blank follows
    bearer = authorization.startswith(b"Bearer ") or authorization[:7].lower() == b"bearer "
    if bearer and authorization[7:8] > b" ":
        return _AS_CALLER
    return REFUSE_SCHEME


@dataclass(frozen=True, slots=True)
class Owner:
    """What the kernel and /proc showed about the process behind the far end of a local connection."""

    uid: int | None
    pid: int | None = None
    """None when no process with this socket could be seen."""
    executable: str | None = None
    mount_ns: str | None = None
    """As /proc/PID/ns/mnt reads, for example ``mnt:[4026531841]``."""


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """Which local processes are the node's own components."""

    uids: frozenset[int]
    """Owners that may be components at all: root and the hub's own user."""
    executables: tuple[str, ...] = ("kubelet", "kube-proxy")
    """Base names, or full paths where an entry has a slash."""
    mount_namespaces: frozenset[str] = frozenset()
    """The hub's own and the host's, as far as they are known."""
    hidden_uids: frozenset[int] = frozenset()
    """Owners whose processes /proc does not show to this hub (root's, when the hub is not root): the uid is enough."""


def judge_owner(owner: Owner | None, policy: LocalPolicy) -> Shown:
    """Say whether the process behind a local connection is one of the node's own components.

    None means that no such socket exists in the hub's network namespace. A process whose owner the hub could see, but
    that was not found (it ended, or lives in another pid namespace), is not a component.
    """
    if owner is None or owner.uid is None or owner.uid not in policy.uids:
        return Shown.UNKNOWN
    if owner.pid is None:
        return Shown.NODE if owner.uid in policy.hidden_uids else Shown.UNKNOWN
    listed = owner.executable is not None and on_list(owner.executable, policy.executables)
    at_home = owner.mount_ns is not None and owner.mount_ns in policy.mount_namespaces
    return Shown.NODE if listed and at_home else Shown.UNKNOWN


def on_list(executable: str, entries: Collection[str]) -> bool:
    """Say whether a program's full path is meant by one of the entries."""
    base = executable.rpartition("/")[2]
    return any(executable == entry if "/" in entry else base == entry for entry in entries)


def judge_certificate(subject_cn: str | None, organizations: Collection[str], node_name: str) -> Shown:
    """Say what a verified client certificate proves; a common name of None means that none was shown.

    The caller passes an empty string for a certificate that has no common name, or more than one.
    """
    if subject_cn is None:
        return Shown.NOTHING
    if subject_cn == node_user(node_name) and NODES_GROUP in organizations:
        return Shown.NODE
    return Shown.FOREIGN
