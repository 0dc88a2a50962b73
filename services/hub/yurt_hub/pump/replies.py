"""Answers that the hub gives itself, as HTTP/1.1 bytes with a Kubernetes Status inside."""

from http import HTTPStatus

from yurtcore.wire.status import encode, status


def phrase(code: int) -> bytes:
    """Return the reason phrase of a status code; clients ignore it, people read it."""
    try:
        return HTTPStatus(code).phrase.encode()
    except ValueError:
        return b"Status"


def reply(code: int, message: str, *, close: bool, head_only: bool = False, retry_after: int | None = None) -> bytes:
    """Return a whole response: `code` with a Status that says `message`.

    `retry_after` (seconds) goes into the header and the Status' details; `head_only` leaves the body away
    for HEAD requests; `close` tells the client that the connection ends here.
    """
    details = {"retryAfterSeconds": retry_after} if retry_after is not None else None
    body = encode(status(code, message, details=details))
    head = [
        b"HTTP/1.1 %d %s" % (code, phrase(code)),
        b"Content-Type: application/json",
        b"Cache-Control: no-cache, private",
        b"Content-Length: %d" % len(body),
    ]
    if retry_after is not None:
        head.append(b"Retry-After: %d" % retry_after)
    if code == 401:
        head.append(b"WWW-Authenticate: Bearer")
    if close:
        head.append(b"Connection: close")
    return b"\r\n".join(head) + b"\r\n\r\n" + (b"" if head_only else body)
