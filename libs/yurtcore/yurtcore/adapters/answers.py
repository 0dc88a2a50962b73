"""What goes to kube-apiserver and what comes back, apart from the connection: targets, problems, watch lines."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Final, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

from yurtcore.errors import BadInput, Refused, Retry, YurtError
from yurtcore.wire import status

Query: TypeAlias = Mapping[str, str | int | bool]

LINE_LIMIT: Final = 10 * 1024 * 1024
"""Bytes of one watch event: etcd holds objects of 1.5 MiB, JSON and managedFields on top."""
ERROR_EVENT: Final = b'{"type":"ERROR"'
"""How the API server begins the event that ends a watch which had already been answered with 200."""


def check_url(server: str) -> None:
    """Raise BadInput unless `server` is `http(s)://host[:port]`."""
    try:
        url = urlsplit(server)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good:
        raise BadInput(f"{server!r} is not a server's URL; write https://host:port")


def target(path: str, query: Query | None) -> str:
    """The encoded request target; booleans are written as Kubernetes reads them."""
    if not query:
        return path
    pairs = [(key, str(value).lower() if isinstance(value, bool) else str(value)) for key, value in query.items()]
    return f"{path}{'&' if '?' in path else '?'}{urlencode(pairs, quote_via=quote)}"


def problem(method: str, path: str, code: int, data: bytes, headers: Mapping[str, str]) -> YurtError:
    """The error for an answer of 300 and above; it names the request, and the wait that a header asks for."""
    err = status.problem(code, data)
    err.why = f"{method} {path}: {err.why}"
    err.args = (err.why,)
    after = headers.get("Retry-After", "")
    if isinstance(err, Retry) and err.after is None and after.isdigit():
        err.after = float(after)
    return err


def event_problem(path: str, line: bytes) -> YurtError:
    """The error that a watch's ERROR event tells."""
    try:
        found = json.loads(line)["object"]
        return problem("watch", path, int(found["code"]), json.dumps(found).encode(), {})
    except (ValueError, KeyError, TypeError):
        return Retry(f"watch {path}: ended with an error that can't be read")


async def lines(chunks: AsyncIterable[bytes], path: str) -> AsyncIterator[bytes]:
    """Whole lines of a watch's body; what stands after the last newline was cut off and is dropped."""
    rest: list[bytes] = []
    size = 0
    async for chunk in chunks:
        head, *more = chunk.split(b"\n")
        rest.append(head)
        size += len(head)
        for line in more:
            whole = b"".join(rest)
            rest, size = [line], len(line)
            if whole:
                yield whole
        if size > LINE_LIMIT:
            raise Refused(f"watch {path}: one event is larger than {LINE_LIMIT} bytes")
