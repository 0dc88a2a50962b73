"""What a hub tells about itself to whoever may read its control API: no tokens and no objects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from yurt_hub.domain.kept_facts import Kept
from yurt_hub.domain.links import LinkTable
from yurt_hub.domain.traffic import Traffic, UpstreamSeen


@dataclass(frozen=True, slots=True)
class About:
    """Which hub this is."""

    version: str
    node: str
    pool: str
    working_mode: str
    pid: int
    root_dir: str
    servers: Sequence[str]


@dataclass(slots=True)
class Facts:
    """What there is to tell, and where it is read; filled while the hub starts."""

    about: About
    links: LinkTable
    traffic: Traffic
    upstreams: Callable[[], Sequence[UpstreamSeen]]
    clock: Callable[[], float]
    """The clock that the link table is told."""
    listeners: dict[str, str] = field(default_factory=dict)
    """Addresses by door: local (plain), secure (TLS), admin (the control API)."""
    unready: str | None = "the proxy ports are not open yet"
    """Why callers cannot be served; None when they can."""
    kept: Kept | None = None
    """What is kept for dark times; None in the working mode cloud."""

    def no_cloud(self) -> str | None:
        """Say why the cloud cannot be asked; None when it can."""
        if self.links.any_up():
            return None
        errors = [f"{seen.server}: {seen.last_error or 'no answer yet'}" for seen in self.links.view()]
        return f"no API server can be reached ({'; '.join(errors)})"

    def no_answers(self) -> str | None:
        """Say why the node's components get no answers, neither from the cloud nor from what is kept."""
        gone = self.no_cloud()
        if gone is None or self.kept is None:
            return gone
        nothing = self.kept.nothing()
        return None if nothing is None else f"{gone}, and {nothing}"

    def labels(self) -> Mapping[str, str]:
        """What tells this hub from others in metrics."""
        about = self.about
        return {"version": about.version, "node": about.node, "pool": about.pool, "working_mode": about.working_mode}
