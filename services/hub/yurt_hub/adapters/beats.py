"""Bringing a kubelet's renewals of its Lease to the cloud: once per renewal that was seen, and never later."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from yurtcore.flow.backoff import backoff

from yurt_hub.domain.local.beats import LEASES, Beats
from yurt_hub.domain.local.ports import Answer, Fetch

DEADLINE: Final = 5.0
"""Seconds for one renewal with all its attempts: half of the kubelet's period, so that none outlives the next beat."""
ATTEMPTS: Final = 3

_MERGE: Final = (("Content-Type", "application/merge-patch+json"), ("Accept", "application/json"))
_CREATE: Final = (("Content-Type", "application/json"), ("Accept", "application/json"))
_READ: Final = (("Accept", "application/json"),)
_log = structlog.get_logger("beats")


@dataclass(slots=True)
class BeatFacts:
    """What became of the renewals so far."""

    sent: int = 0
    """Renewals that the cloud took."""
    failed: int = 0
    """Renewals that it did not take in time."""
    failing: int = 0
    """Failures since the last success."""
    at: float = 0.0
    """Wall time of the last renewal that the cloud took; 0: none yet."""
    why: str = ""
    """What went wrong last; empty while nothing does."""


class Renewals:
    """Sends what `beats` has seen; several renewals during one that is still under way become one more."""

    def __init__(
        self,
        beats: Beats,
        *,
        fetch: Fetch,
        wall: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._beats = beats
        self._fetch = fetch
        self._wall = wall
        self._draw = draw
        self._due = asyncio.Event()
        self.facts = BeatFacts()

    def due(self) -> None:
        """The kubelet has renewed."""
        self._due.set()

    async def run(self) -> None:
        """Send for ever; a kubelet that is silent is not spoken for."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                async with asyncio.timeout(DEADLINE):
                    why = await self._renew()
            except TimeoutError:
                why = f"no answer within {DEADLINE:g} s"
            self._note(why)

    async def _renew(self) -> str:
        """Try until the cloud has taken it; returns what is wrong, nothing if nothing is."""
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(backoff(attempt, base=0.25, cap=1.0, jitter=self._draw()))
            try:
                answer = await self._send()
            except OSError as err:
                why = str(err)
                continue
            if answer.status in (200, 201) and self._beats.learn(answer.body, self._wall()):
                return ""
            why = f"the API server answered {answer.status}"
            if answer.status in (401, 403):
                break
        return why

    async def _send(self) -> Answer:
        """One attempt: patch; create what is gone; look again at what refuses."""
        answer = await self._fetch("PATCH", self._beats.path, headers=_MERGE, body=self._beats.patch(), within=DEADLINE)
        if answer.status == 404:
            return await self._fetch("POST", LEASES, headers=_CREATE, body=self._beats.creation(), within=DEADLINE)
        if answer.status not in (200, 401, 403):
            seen = await self._fetch("GET", self._beats.path, headers=_READ, within=DEADLINE)
            if seen.status == 200:
                self._beats.learn(seen.body, self._wall())
        return answer

    def _note(self, why: str) -> None:
        facts = self.facts
        if why:
            tell = _log.debug if facts.failing else _log.warning
            facts.failed += 1
            facts.failing += 1
            facts.why = why
            tell("lease.not_renewed", node=self._beats.node, why=why, failures=facts.failing)
            return
        if facts.failing:
            _log.info("lease.renewed_again", node=self._beats.node, failures=facts.failing, was=facts.why)
        facts.sent += 1
        facts.failing = 0
        facts.why = ""
        facts.at = self._wall()
