"""Health as kube-apiserver tells it: named checks under /livez and /readyz, /healthz for old probes.

`?verbose` lists the checks, `?exclude=NAME` leaves one out, `/readyz/NAME` asks for one. A failed set answers 500 with
the list. Live: the process can answer at all; restarting would help. Ready: it can do its work; traffic may come.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

Verdict: TypeAlias = str | None
Check: TypeAlias = Callable[[], Verdict | Awaitable[Verdict]]

_DEADLINE: Final = 2.0
"""Seconds one check may take; probes themselves give up after a few."""


class Checks:
    """Named checks; each returns None when all is well, else why not, in one line without secrets."""

    def __init__(self) -> None:
        self._live: dict[str, Check] = {"loop": loop_responsive}
        self._ready: dict[str, Check] = {}

    def live(self, name: str, check: Check) -> None:
        """Add a check whose failure means that the process should be restarted."""
        self._live[name] = check

    def ready(self, name: str, check: Check) -> None:
        """Add a check whose failure means that the process can't do its work yet or any more."""
        self._ready[name] = check

    def of(self, kind: str) -> dict[str, Check]:
        """The checks behind "livez", "readyz" or "healthz"; readiness includes being alive."""
        return dict(self._live) if kind == "livez" else {**self._live, **self._ready}

    def routes(self) -> APIRouter:
        """The routes of the control API."""
        router = APIRouter(tags=["health"])
        for kind in ("livez", "readyz", "healthz"):
            self._add(router, kind)
        return router

    def _add(self, router: APIRouter, kind: str) -> None:
        async def everything(request: Request) -> PlainTextResponse:
            exclude = set(request.query_params.getlist("exclude"))
            return await _answer(kind, self.of(kind), exclude, verbose="verbose" in request.query_params)

        async def one(check: str) -> PlainTextResponse:
            found = self.of(kind).get(check)
            if found is None:
                return PlainTextResponse(f"no check {check!r}; there are {', '.join(self.of(kind))}\n", 404)
            why = await run(found)
            return PlainTextResponse("ok" if why is None else f"{check}: {why}\n", 200 if why is None else 500)

        about = {"livez": "Is the process alive", "readyz": "Can it do its work", "healthz": "As /readyz"}[kind]
        router.add_api_route(f"/{kind}", everything, name=kind, summary=about, response_class=PlainTextResponse)
        router.add_api_route(
            f"/{kind}/{{check}}",
            one,
            name=f"{kind}-one",
            summary=f"One check of /{kind}",
            response_class=PlainTextResponse,
        )


async def run(check: Check) -> Verdict:
    """The check's verdict; an error or a missed deadline is a verdict too."""
    try:
        verdict = check()
        if inspect.isawaitable(verdict):
            async with asyncio.timeout(_DEADLINE):
                return await verdict
    except TimeoutError:
        return f"no answer within {_DEADLINE:g} s"
    except Exception as err:  # noqa: BLE001  a check that breaks is a check that fails
        return f"{type(err).__name__}: {err}"
    return verdict


async def loop_responsive() -> Verdict:
    """One turn of the event loop takes less than a second: nothing blocks it."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.sleep(0)
    took = loop.time() - begun
    return None if took < 1.0 else f"one turn of the event loop took {took:.1f} s"


async def _answer(kind: str, checks: dict[str, Check], exclude: set[str], *, verbose: bool) -> PlainTextResponse:
    asked = {name: check for name, check in checks.items() if name not in exclude}
    verdicts = dict(zip(asked, await asyncio.gather(*(run(check) for check in asked.values())), strict=True))
    lines, failed = [], False
    for name in checks:
        why = verdicts.get(name)
        failed = failed or why is not None
        lines.append(_line(name, why, excluded=name in exclude))
    if unknown := sorted(exclude - set(checks)):
        lines.append(f"warn: some health checks cannot be excluded: no matches for {', '.join(map(repr, unknown))}")
    if failed:
        return PlainTextResponse("\n".join([*lines, f"{kind} check failed", ""]), 500)
    return PlainTextResponse("\n".join([*lines, f"{kind} check passed", ""]) if verbose else "ok")


def _line(name: str, why: Verdict, *, excluded: bool) -> str:
    if excluded:
        return f"[+]{name} excluded: ok"
    return f"[+]{name} ok" if why is None else f"[-]{name} failed: {why}"
