"""Doubles for what the hub's own answers need: a disk that is a dict, and a cloud that answers from a function."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from yurt_hub.domain.callers import Identity
from yurtcore.adapters.kube import KubeClient
from yurtsim.controlplane import ControlPlane


class Records(dict[str, bytes]):
    """A recorder that keeps what it is given; counts what is written and knows what had to be sealed."""

    def __init__(self) -> None:
        super().__init__()
        self.secret: set[str] = set()
        self.writes: list[str] = []

    def put(self, key: str, value: bytes, *, secret: bool) -> None:
        self[key] = value
        self.writes.append(key)
        (self.secret.add if secret else self.secret.discard)(key)

    def drop(self, key: str) -> None:
        self.pop(key, None)
        self.secret.discard(key)


@dataclass(frozen=True)
class Told:
    """An answer of the cloud."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=lambda: {b"content-type": b"application/json"})


@dataclass(frozen=True)
class Asked:
    """A request of the hub's own."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    identity: Identity
    within: float
    at: float
    """The loop's time."""


class Cloud:
    """Answers by `reply`; an exception that it returns is raised, None never answers within the deadline."""

    def __init__(self, reply: Callable[[Asked], Told | Exception | None]) -> None:
        self.reply = reply
        self.asked: list[Asked] = []
        self.takes = 0.0
        """Seconds for each answer."""

    async def fetch(
        self,
        method: str,
        target: str,
        *,
        identity: Identity = Identity.NODE,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        within: float = 30.0,
    ) -> Told:
        asked = Asked(method, target, dict(headers), body, identity, within, asyncio.get_running_loop().time())
        self.asked.append(asked)
        await asyncio.sleep(self.takes)
        told = self.reply(asked)
        if told is None:
            await asyncio.sleep(within)
            raise ConnectionError(f"no answer within {within:g} s")
        if isinstance(told, Exception):
            raise told
        return told


class Straight:
    """Asks a real API server, as whoever `kube` is; counts bodies and notes requests."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self.asked: list[str] = []
        self.bytes = 0

    async def fetch(
        self,
        method: str,
        target: str,
        *,
        identity: Identity = Identity.NODE,  # noqa: ARG002 (the port's; whoever `kube` is)
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        within: float = 30.0,
    ) -> Told:
        self.asked.append(f"{method} {target}")
        status, head, data = await self._kube.raw(
            method, target, headers=dict(headers), body=body or None, timeout=within
        )
        self.bytes += len(data)
        return Told(status, data, {k.lower().encode(): v.encode() for k, v in head.items()})


def as_node(cloud: ControlPlane, name: str = "n1") -> KubeClient:
    """Return a client with a node's certificate."""
    config = cloud.kubeconfig(f"node-{name}", cloud.server, pair=cloud.node_files(name))
    return KubeClient.from_kubeconfig(config, user_agent="yurt-test-node")
