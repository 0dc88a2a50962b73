"""What this package wants from the rest of the hub: somewhere to write down, and a way to ask the cloud."""

from collections.abc import Mapping
from typing import Protocol

from yurt_hub.domain.callers import Identity


class Recorder(Protocol):
    """Writes down what has to outlive the process; returns at once, the disk follows in batches."""

    def put(self, key: str, value: bytes, *, secret: bool) -> None:
        """Replace one record; a secret one is sealed."""

    def drop(self, key: str) -> None:
        """Forget one record."""


class Answer(Protocol):
    """One whole answer of the cloud; its body is inflated, names of headers are in lower case."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """The last value of each header."""

    @property
    def body(self) -> bytes:
        """All of the body."""


class Fetch(Protocol):
    """Sends a request of the hub's own; raises ConnectionError when no answer came within `within` seconds."""

    async def __call__(
        self,
        method: str,
        target: str,
        *,
        identity: Identity = ...,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        within: float = 30.0,
    ) -> Answer:
        """Return the answer, whatever its status."""
