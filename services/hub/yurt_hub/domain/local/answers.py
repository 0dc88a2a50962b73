"""Answers that need no cloud: their form, the age that they admit, and the refusals that are said in several places.

Whoever has the connection adds `Content-Length`, `Connection` and, for HEAD, leaves the body away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from yurtcore.wire.status import encode, status

JSON: Final = b"application/json"
NOT_CACHED: Final = (b"Cache-Control", b"no-cache, private")
RETRY_SECONDS: Final = 1
"""What a refused caller is told to wait. client-go asks ten times more, so this is a tenth of what a person waits."""

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Local:
    """One whole answer of the hub's own."""

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """The value of a header by its name as written here, None if it is absent."""
        return next((value for key, value in self.headers if key == name), None)


def warning(age: float) -> tuple[bytes, bytes]:
    """The header of an answer in the dark that was true `age` seconds ago (RFC 9111, 5.5; clients print it)."""
    return b"Warning", b'299 yurt-hub "the cloud cannot be reached; this answer is %d s old"' % max(0, round(age))


def said(
    code: int,
    message: str,
    *,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
    retry_after: int | None = None,
) -> Local:
    """A Status as the API server sends it."""
    headers: list[tuple[bytes, bytes]] = [(b"Content-Type", JSON), NOT_CACHED]
    if retry_after is not None:
        headers.append((b"Retry-After", b"%d" % retry_after))
    if code == 401:
        headers.append((b"WWW-Authenticate", b"Bearer"))
    body = encode(status(code, message, reason=reason, details=details, retry_after=retry_after))
    return Local(code, tuple(headers), body)


def missing(message: str) -> Local:
    """503: the hub cannot say, the cloud could; `message` names what is missing."""
    return said(503, message, retry_after=RETRY_SECONDS)


def already_exists(resource: str, group: str, name: str) -> Local:
    """409 in the API server's words: the object that a client wants to create is there."""
    full = f"{resource}.{group}" if group else resource
    details = {"name": name, "group": group, "kind": resource} if group else {"name": name, "kind": resource}
    return said(409, f'{full} "{name}" already exists', reason="AlreadyExists", details=details)


UNAUTHORIZED: Final = said(401, "Unauthorized")
"""For a token that is proven to be no good: the API server's own words, which tell no reason."""
