"""What the supervisor writes down about its site, as plain data: the file `site.json`.

Written by one process, read by every other `yurt` command; a reader takes the liveness of what it names from the
system, not from here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Phase: TypeAlias = Literal["starting", "ready", "failed", "stopping"]
State: TypeAlias = Literal["waiting", "starting", "running", "restarting", "ended"]


@dataclass(slots=True)
class Process:
    """One process of the site."""

    name: str
    log: str
    node: str = ""
    pid: int | None = None
    state: State = "waiting"
    restarts: int = 0
    addresses: dict[str, str] = field(default_factory=dict)
    """What it answers at, by a word that says what for."""
    docs: str | None = None
    last: str | None = None
    """How it ended last, in one line."""


@dataclass(slots=True)
class Node:
    """One node of the site and the ports of its hub."""

    name: str
    pool: str
    control: int
    proxy: int
    secure: int
    link: int

    @property
    def control_url(self) -> str:
        """The hub's control API."""
        return f"http://127.0.0.1:{self.control}"

    @property
    def proxy_url(self) -> str:
        """The hub's plain port, for the node's own components."""
        return f"http://127.0.0.1:{self.proxy}"

    @property
    def secure_url(self) -> str:
        """The hub's TLS port, for callers with a token."""
        return f"https://127.0.0.1:{self.secure}"

    @property
    def link_url(self) -> str:
        """The cloud as the node sees it: the near end of its link."""
        return f"https://127.0.0.1:{self.link}"


@dataclass(slots=True)
class Site:
    """A site and where to reach it."""

    phase: Phase
    pid: int | None = None
    started: float = 0.0
    """Unix time of its start."""
    steps: list[str] = field(default_factory=list)
    """What was done to bring it up; the last one is under way while it starts."""
    error: str | None = None
    server: str = ""
    binaries: str = ""
    nodes: list[Node] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)

    def encode(self) -> dict[str, Any]:
        """As JSON's types."""
        return asdict(self)

    @classmethod
    def decode(cls, raw: dict[str, Any]) -> Site:
        """The reverse of `encode`; TypeError or KeyError when something is missing or unknown."""
        nodes = [Node(**one) for one in raw.pop("nodes", [])]
        processes = [Process(**one) for one in raw.pop("processes", [])]
        return cls(**raw, nodes=nodes, processes=processes)

    def node(self, name: str) -> Node | None:
        """The node of that name."""
        return next((node for node in self.nodes if node.name == name), None)
