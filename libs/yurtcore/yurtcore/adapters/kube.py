"""A small raw client for kube-apiserver: JSON in and out, deadlines on everything, our errors.

Paths are whole (`yurtcore.wire.gvr.path`), objects stay dicts, unknown fields survive. It retries nothing: the caller
knows whether a second attempt is right. Use it inside `async with`; one client per identity.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, Self, TypeAlias

import aiohttp
from yarl import URL

from yurtcore.adapters import answers, files, kubeconfig, tls
from yurtcore.adapters.answers import Query
from yurtcore.adapters.kubeconfig import Credentials
from yurtcore.errors import Refused, Retry

Obj: TypeAlias = dict[str, Any]
PatchKind: TypeAlias = Literal["json", "merge", "strategic"]

TIMEOUT: Final = 30.0
"""Seconds for one request with its whole answer."""
CONNECT: Final = 5.0
"""Seconds for TCP and TLS together; looking up the name may take as long again."""
BODY_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one answer; kube-apiserver's largest pages of 500 objects stay far below."""
PAGE: Final = 500
_TOKEN_AGE: Final = 60.0
"""Seconds after which a token file is read again; kubelet renews tokens long before they expire."""
_PATCHES: Final[Mapping[PatchKind, str]] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class KubeClient:
    """One identity's connections to one server; errors are those of `yurtcore.errors`."""

    def __init__(
        self,
        server: str,
        *,
        ca_file: Path | str | None = None,
        cert_file: Path | str | None = None,
        key_file: Path | str | None = None,
        token: str | None = None,
        user_agent: str = "yurt",
        credentials: Credentials | None = None,
    ) -> None:
        self._server = server.rstrip("/")
        self._ca_file, self._cert_file, self._key_file, self._token = ca_file, cert_file, key_file, token
        self._user_agent = user_agent
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None
        self._token_read = float("-inf")

    @classmethod
    def from_kubeconfig(cls, path: Path | str, *, user_agent: str = "yurt") -> Self:
        """A client for the current context of a JSON kubeconfig; raises BadInput when the file is of no use."""
        credentials = kubeconfig.read(path)
        return cls(credentials.server, credentials=credentials, user_agent=user_agent)

    @property
    def server(self) -> str:
        """The server's URL without a slash at its end."""
        return self._server

    async def __aenter__(self) -> Self:
        """Read the credentials and be ready; the first request connects. Raises BadInput for what is of no use."""
        answers.check_url(self._server)
        found = self._credentials or self._read_files()
        self._credentials = found
        self._token = self._token or found.token
        context: ssl.SSLContext | bool = True
        if self._server.startswith("https:"):
            context = await asyncio.to_thread(tls.client_context, found.ca, found.cert, found.key)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT),
            headers={"User-Agent": self._user_agent},
            trust_env=False,
            read_bufsize=256 * 1024,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def raw(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109  a deadline for the exchange, kept by the driver
        limit: int = BODY_LIMIT,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One exchange as it is: status, headers (case-insensitive), body; only transport errors raise.

        `path` is the encoded target with its query. A body larger than `limit` raises Refused.
        """
        try:
            async with self._live().request(
                method,
                URL(self._server + path, encoded=True),
                headers=await self._headers(headers),
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT),
            ) as answer:
                chunks, size = [], 0
                async for chunk in answer.content.iter_any():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > limit:
                        raise Refused(f"{method} {path}: the answer is larger than {limit} bytes")
                return answer.status, answer.headers, b"".join(chunks)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            self._translate(method, path, err)

    async def get(self, path: str, *, query: Query | None = None) -> Obj:
        """The object at `path`."""
        return await self._json("GET", path, query)

    async def list(self, path: str, *, query: Query | None = None, page: int = PAGE) -> Obj:
        """The whole list at `path`, read in pages; its `resourceVersion` is that of all pages (they share one)."""
        whole = await self._json("GET", path, {"limit": page, **(query or {})})
        items = whole.setdefault("items", []) or []
        while token := whole.get("metadata", {}).get("continue"):
            part = await self._json("GET", path, {"limit": page, **(query or {}), "continue": token})
            items += part.get("items") or []
            whole["metadata"] = part.get("metadata", {})
        whole["items"] = items
        return whole

    async def create(self, path: str, obj: Obj, *, query: Query | None = None) -> Obj:
        """Create `obj` in the collection at `path`; Conflict with reason AlreadyExists when the name is taken."""
        return await self._json("POST", path, query, obj)

    async def replace(self, path: str, obj: Obj, *, query: Query | None = None) -> Obj:
        """Write the whole object at `path` (also /status, /finalize); Conflict when its version is not current."""
        return await self._json("PUT", path, query, obj)

    async def apply(self, path: str, obj: Obj, manager: str, force: bool = False) -> Obj:  # noqa: FBT001, FBT002
        """Server-side apply as field manager `manager`; raises Conflict when others own the fields and not `force`."""
        query: Query = {"fieldManager": manager, "force": force}
        return await self._json("PATCH", path, query, obj, "application/apply-patch+yaml")

    async def patch(self, path: str, body: object, kind: PatchKind = "merge", *, query: Query | None = None) -> Obj:
        """Patch the object at `path` by a JSON patch (a list), a merge patch or a strategic merge patch."""
        return await self._json("PATCH", path, query, body, _PATCHES[kind])

    async def delete(self, path: str, *, query: Query | None = None, options: Obj | None = None) -> Obj:
        """Delete the object or collection at `path`; `options` are DeleteOptions (preconditions, propagation)."""
        return await self._json("DELETE", path, query, options)

    async def lines(self, path: str, since: str, silence: float, *, query: Query | None = None) -> AsyncIterator[bytes]:
        """The lines of a watch from version `since`, each one JSON event without its newline.

        Ends when the server ends the stream; who leaves earlier closes it (`contextlib.aclosing`). Raises Retry when
        nothing comes for `silence` seconds (bookmarks, which this asks for, come every minute) or the connection
        breaks, Gone when `since` is too old, Refused for a line over `answers.LINE_LIMIT`. An ERROR event is raised.
        """
        asked = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": since, **(query or {})}
        target = answers.target(path, asked)
        try:
            async with self._live().get(
                URL(self._server + target, encoded=True),
                headers=await self._headers({"Accept": "application/json"}),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=2 * CONNECT, sock_connect=CONNECT, sock_read=silence),
            ) as answer:
                if answer.status != 200:
                    body = await answer.content.read(64 * 1024)
                    raise answers.problem("watch", path, answer.status, body, answer.headers)
                async for line in answers.lines(answer.content.iter_any(), path):
                    if line.startswith(answers.ERROR_EVENT):
                        raise answers.event_problem(path, line)
                    yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            self._translate("watch", path, err)

    async def _json(
        self, method: str, path: str, query: Query | None, body: object = None, kind: str = "application/json"
    ) -> Obj:
        headers = {"Accept": "application/json"}
        payload = None
        if body is not None:
            headers["Content-Type"] = kind
            payload = json.dumps(body, separators=(",", ":")).encode()
        code, answer_headers, data = await self.raw(method, answers.target(path, query), headers=headers, body=payload)
        if code >= 300:
            raise answers.problem(method, path, code, data, answer_headers)
        try:
            found = json.loads(data)
        except ValueError as err:
            raise Retry(f"{method} {path}: the answer is not JSON") from err
        if not isinstance(found, dict):
            raise Refused(f"{method} {path}: the answer is not an object")
        return found

    async def _headers(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        headers = dict(extra or {})
        found = self._credentials
        if found is not None and found.token_file and time.monotonic() - self._token_read > _TOKEN_AGE:
            data = await asyncio.to_thread(files.read, found.token_file, what="token")
            self._token, self._token_read = data.decode().strip(), time.monotonic()
        if self._token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _read_files(self) -> Credentials:
        def maybe(path: Path | str | None, what: str) -> bytes | None:
            return files.read(path, what=what) if path else None

        return Credentials(
            self._server,
            ca=maybe(self._ca_file, "CA file"),
            cert=maybe(self._cert_file, "client certificate"),
            key=maybe(self._key_file, "client key"),
            token=self._token,
        )

    def _live(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("KubeClient is used outside its `async with`")
        return self._session

    def _translate(self, method: str, path: str, err: Exception) -> NoReturn:
        what = f"{method} {path} at {self._server}"
        if isinstance(err, aiohttp.ClientConnectorCertificateError):
            raise Refused(f"{what}: its certificate is not trusted: {err.certificate_error}") from err
        if isinstance(err, TimeoutError):
            raise Retry(f"{what}: no answer in time") from err
        raise Retry(f"{what}: {str(err) or type(err).__name__}") from err
