"""Fetching what an API server says about itself: when a link comes up, and every ten minutes while it is up."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from yurtcore.flow.backoff import backoff

from yurt_hub.domain.local.documents import Ask, Documents
from yurt_hub.domain.local.ports import Fetch

EVERY: Final = 600.0
"""Seconds between two rounds; a tenth more or less by jitter. A round without news costs five requests, 2 KB."""
AT_LEAST: Final = 30.0
"""Seconds after a good round during which a link that came up again starts no other."""
WITHIN: Final = 30.0
"""Seconds for one document: a 50 kbit/s link takes ten for the largest of those fetched here."""
RETRY_BASE: Final = 5.0
RETRY_CAP: Final = 120.0

_log = structlog.get_logger("documents")


class Prefetch:
    """Keeps `documents` as the cloud has them.

    `lit` says whether an API server can be asked; `told` is called after each round, also one that broke off.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        fetch: Fetch,
        lit: Callable[[], bool],
        wall: Callable[[], float],
        told: Callable[[], None] = lambda: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._documents = documents
        self._fetch = fetch
        self._lit = lit
        self._wall = wall
        self._told = told
        self._draw = draw
        self._up = asyncio.Event()
        self._refused: dict[str, int] = {}
        self.rounds = 0
        """Rounds that were finished."""
        self.failures = 0
        """Rounds in a row that were not."""

    def link_up(self) -> None:
        """An API server can be asked again: look whether it still says the same."""
        self._up.set()

    async def run(self) -> None:
        """Fetch for ever."""
        while True:
            self._up.clear()
            if self._lit():
                await self._try()
            await self._wait()

    async def _try(self) -> None:
        try:
            changed = await self._round()
        except OSError as err:
            tell = _log.info if self.failures == 0 else _log.debug
            self.failures += 1
            tell("documents.unfetched", error=str(err), failures=self.failures, kept=len(self._documents))
        else:
            self.rounds += 1
            self.failures = 0
            if changed:
                _log.info("documents.fetched", changed=changed, kept=len(self._documents), bytes=self._documents.size)
        self._told()

    async def _wait(self) -> None:
        if self.failures:
            seconds = backoff(self.failures - 1, base=RETRY_BASE, cap=RETRY_CAP, jitter=self._draw())
        else:
            seconds = EVERY * (0.9 + 0.2 * self._draw())
            await asyncio.sleep(AT_LEAST if self.rounds else 0)
            seconds -= AT_LEAST if self.rounds else 0
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return

    async def _round(self) -> int:
        """Fetch once what is needed; returns how many documents changed, raises OSError when the cloud is gone."""
        began = self._wall()
        changed = await self._fetch_all(self._documents.first(), began)
        changed += await self._fetch_all(self._documents.rest(), began)
        self._documents.confirmed(began)
        return changed

    async def _fetch_all(self, asks: Iterable[Ask], began: float) -> int:
        changed = 0
        for ask in asks:
            headers = [("Accept", ask.accept)]
            if ask.etag:
                headers.append(("If-None-Match", ask.etag))
            answer = await self._fetch("GET", ask.path, headers=tuple(headers), within=WITHIN)
            if answer.status >= 500 or answer.status == 429:
                raise OSError(f"{ask.path}: the API server answered {answer.status}")
            self._note(ask.path, answer.status)
            changed += self._documents.learn(ask.path, answer, began, basis=ask.basis)
        return changed

    def _note(self, path: str, status: int) -> None:
        """Tell once what the node may not read: without the keys no token can be checked in the dark."""
        if status in (401, 403) and self._refused.get(path) != status:
            _log.warning("document.refused", path=path, status=status, see="the rights in deploy/k8s")
            self._refused[path] = status
        elif status < 400:
            self._refused.pop(path, None)
