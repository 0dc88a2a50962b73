"""The way from the writer's thread to what the owner keeps in memory."""

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Final

from yurtcore.errors import Retry

from yurt_hub.adapters.disk.pending import Pending

Snapshot = Callable[[], Iterable[tuple[str, bytes, bool]]]
"""Everything that should be on the disk: key, value, secret."""

OWNER_WITHIN: Final = 10.0
"""Seconds that the owner may take for a snapshot."""
_LOOK: Final = 0.1


class Owner:
    """Asks the thread that puts and drops for a snapshot, in that thread, so that none of its words is missed."""

    def __init__(self, snapshot: Snapshot | None, call: Callable[[Callable[[], None]], object]) -> None:
        self._snapshot = snapshot
        self._call = call

    def ask(self, pending: Pending) -> list[tuple[str, bytes, bool]]:
        """Everything that should be on the disk; `pending` holds what came after. Raises Retry if nobody answers."""
        if self._snapshot is None:
            raise Retry("nobody can say what should be in the log; restart to read it anew")
        snapshot = self._snapshot
        answer: Future[list[tuple[str, bytes, bool]]] = Future()

        def take() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            with pending.lock:
                try:
                    items = list(snapshot())
                except Exception as err:  # noqa: BLE001 (belongs to the writer's thread, not to the owner's)
                    answer.set_exception(err)
                else:
                    pending.told_again()
                    answer.set_result(items)

        self._call(take)
        for _ in range(round(OWNER_WITHIN / _LOOK)):
            with contextlib.suppress(TimeoutError):
                return answer.result(_LOOK)
            if pending.closing and answer.cancel():
                break
        if answer.cancel() or answer.cancelled():
            raise Retry("no snapshot of what should be in the log")
        return answer.result()
