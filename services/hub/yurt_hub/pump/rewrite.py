"""Requests whose answer is kept ask the cloud in the hub's own words: JSON, and Tables with whole objects inside."""

import dataclasses
import re

from yurt_hub.pump.heads import RequestHead

_ACCEPT = re.compile(rb"\r\n[Aa][Cc][Cc][Ee][Pp][Tt]:[^\r\n]*")


def asking(request: RequestHead, *, accept: bytes, target: bytes | None = None) -> RequestHead:
    """Return a copy of a request that accepts exactly `accept` and, if given, asks for another target.

    Everything else stays as the client said it. `accept` and `target` must be valid as they are.
    """
    first, rest = request.head.split(b"\r\n", 1)
    if target is not None:
        method, _, version = first.split(b" ")
        first = b" ".join((method, target, version))
    rest = _ACCEPT.sub(b"", b"\r\n" + rest)
    head = first + b"\r\nAccept: " + accept + rest
    return dataclasses.replace(request, head=head, accept=accept, target=target or request.target)


def with_query(target: bytes, name: bytes, value: bytes) -> bytes:
    """Return a target with one more parameter, or with its value changed; both must need no escaping."""
    path, _, query = target.partition(b"?")
    kept = [part for part in query.split(b"&") if part and part.partition(b"=")[0] != name]
    return path + b"?" + b"&".join([*kept, name + b"=" + value])
