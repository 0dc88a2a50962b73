"""A control API on a socket: uvicorn inside our task group, our signals, our deadlines.

Not for hot paths. The page under /docs takes its scripts from the installed package and opens without the internet.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import fastapi_offline
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yurtcore.errors import BadInput, Retry, YurtError
from yurtcore.wire import status

GRACE: Final = 5
"""Seconds that open requests get to end after `stop`; a stream that ignores it is cancelled."""
BODY_LIMIT: Final = 1024 * 1024
"""Bytes of a request's body; control requests are small."""
_CONNECTIONS: Final = 256
"""Connections at once; a control API has a few callers, and more than this is a fault (they get 503)."""
_ASSETS: Final = "/docs-assets"


class _BodyLimit:
    """Refuses to read a body beyond BODY_LIMIT: 413, whatever length was declared."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY_LIMIT:
                raise HTTPException(413, f"the body is larger than {BODY_LIMIT} bytes")
            return message

        await self._app(scope, counted, send)


class _Listener(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service's root task."""
        yield

    def drop(self) -> None:
        """Close what is still open: all of it when cancelled, streams that outlived the grace after a stop."""
        for server in getattr(self, "servers", ()):
            server.close()
        for task in self.server_state.tasks:
            task.cancel()
        for connection in tuple(self.server_state.connections):
            connection.transport.close()


def bind(host: str, port: int, *, flag: str = "its port flag") -> socket.socket:
    """A listening address of our own, before anything else starts; port 0 takes a free one.

    Raises BadInput with one line that names the address and `flag` when it is taken or not ours.
    """
    if not host:
        raise BadInput(f"an address to listen on must be given beside {flag}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(128)
    except OSError as err:
        sock.close()
        raise BadInput(_why_not(host, port, flag, err)) from err
    return sock


async def serve(
    app: ASGIApp,
    *,
    host: str = "",
    port: int = 0,
    stop: asyncio.Event,
    sock: socket.socket | None = None,
    flag: str = "its port flag",
    **options: Any,
) -> None:
    """Serve `app` until `stop` is set; returns when open requests have ended, at most GRACE seconds later.

    Listens on `sock` (from `bind`) or binds `host` and `port` itself. `options` go to uvicorn's Config (TLS files).
    """
    sock = sock or bind(host, port, flag=flag)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False, ws="none",
        timeout_keep_alive=30, limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=GRACE, **options,
    )  # fmt: skip
    listener = _Listener(config)
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(listener.serve(sockets=[sock]), name=f"listen:{sock.getsockname()[1]}")
            waiting = group.create_task(stop.wait(), name="listen:stop")
            await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            listener.should_exit = True
    finally:
        listener.drop()
        sock.close()


def app(title: str, version: str, *, description: str = "") -> FastAPI:
    """An application: errors are Status bodies, request bodies are bounded, /docs needs no internet."""
    api = FastAPI(
        title=title, version=version, description=description, docs_url=None, redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )  # fmt: skip
    assets = Path(fastapi_offline.__file__).parent / "static"
    api.mount(_ASSETS, StaticFiles(directory=assets), name="docs-assets")

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{title} {version}",
            swagger_js_url=f"{_ASSETS.lstrip('/')}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS.lstrip('/')}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS.lstrip('/')}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},  # the page would ask a public validator otherwise
        )

    api.add_middleware(_BodyLimit)
    api.exception_handler(YurtError)(_yurt_error)
    api.exception_handler(HTTPException)(_http_error)
    api.exception_handler(RequestValidationError)(_invalid)
    return api


async def _yurt_error(_request: Request, err: YurtError) -> Response:
    after = {"Retry-After": str(max(1, round(err.after)))} if isinstance(err, Retry) and err.after else None
    body = status.from_error(err)
    return Response(status.encode(body), body["code"], after, "application/json")


async def _http_error(_request: Request, err: HTTPException) -> Response:
    body = status.status(err.status_code, str(err.detail))
    return Response(status.encode(body), err.status_code, err.headers, "application/json")


async def _invalid(_request: Request, err: RequestValidationError) -> Response:
    found = err.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    return Response(status.encode(status.status(400, f"{where}: {found['msg']}")), 400, None, "application/json")


def _why_not(host: str, port: int, flag: str, err: OSError) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    match err.errno:
        case errno.EADDRINUSE:
            return f"{where} is taken by another process; stop it or choose another port with {flag}"
        case errno.EADDRNOTAVAIL:
            return f"{where}: this machine has no such address; choose another"
        case errno.EACCES:
            return f"{where}: not allowed to listen there; choose a port above 1023 with {flag}"
        case _:
            return f"cannot listen on {where}: {err.strerror or err}"
