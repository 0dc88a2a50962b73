"""What one request is: its verb and resource, the road it takes and how long it may take.

Pure and memoised by (method, target): a kubelet repeats the same few targets for ever. The verbs and
resources are those of Kubernetes' RequestInfo; the limits are those that OpenYurt's hub gives
(list and get end 2 s before the client gives up, a watch may run 15 s past its own end).
"""

import enum
import functools
from dataclasses import dataclass

from yurtcore.wire.duration import parse_go
from yurtcore.wire.gvr import Target, parse_target, verb

EARLY = 2.0
"""Seconds before a client's own time-out at which a get or list is answered, whatever the answer."""
LATE = 15.0
"""Seconds that a watch may outlive its `timeoutSeconds`: guards against a missed end of stream."""
ANSWER_WITHIN = 65.0
"""Seconds to the first byte of any other answer; the API server itself ends requests after 60 s."""

STREAMED_SUBRESOURCES = frozenset({"log", "attach", "exec", "portforward"})


class Road(enum.Enum):
    """How a request travels to the cloud."""

    SHORT = "short"
    """A few keep-alive HTTP/1.1 connections."""
    STREAM = "stream"
    """A stream of a shared HTTP/2 connection: watches and followed logs."""
    TUNNEL = "tunnel"
    """An HTTP/1.1 connection of its own: protocol upgrades."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the proxy needs to know of a request before it sees an answer."""

    verb: str
    resource: str
    """Resource with its subresource (`pods/log`); `-` for what is no resource, such as `/version`."""
    road: Road
    answer_within: float
    """Seconds until the first byte of the answer must have come."""
    ends_within: float | None
    """Seconds until the whole exchange must be over; None: no limit of its own."""


@functools.lru_cache(maxsize=4096)
def classify(method: bytes, target: bytes, upgrade: bool, body: bool) -> Route:  # noqa: FBT001 - a key of the memo, always by position
    """Classify one request: `upgrade` if it asks for another protocol, `body` if it brings one.

    Any bytes are accepted; what is no Kubernetes path is a short request for `-`.
    """
    seen = parse_target(target.decode("latin-1"))
    what = verb(method.decode("latin-1"), seen)
    resource = "-"
    if seen.is_resource and seen.resource:
        resource = f"{seen.resource}/{seen.subresource}" if seen.subresource else seen.resource
    if upgrade:
        return Route(what, resource, Road.TUNNEL, ANSWER_WITHIN, None)
    if not body and method == b"GET" and (what == "watch" or _followed(seen)):
        seconds = _number(seen, "timeoutSeconds")
        ends = seconds + LATE if what == "watch" and seconds else None
        return Route(what, resource, Road.STREAM, ANSWER_WITHIN, ends)
    return Route(what, resource, Road.SHORT, _answer_within(what, seen), None)


def _followed(seen: Target) -> bool:
    return seen.subresource == "log" and _first(seen, "follow") in ("true", "1", "True")


def _answer_within(what: str, seen: Target) -> float:
    given = 0.0
    if what == "list":
        given = _number(seen, "timeoutSeconds")
    elif what == "get":
        try:
            given = parse_go(_first(seen, "timeout"))
        except ValueError:
            given = 0.0
    return min(given - EARLY, ANSWER_WITHIN) if given > EARLY else ANSWER_WITHIN


def _number(seen: Target, name: str) -> float:
    text = _first(seen, name)
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0


def _first(seen: Target, name: str) -> str:
    return seen.query.get(name, ("",))[0]
