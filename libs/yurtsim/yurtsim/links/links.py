"""All links of a site, steered by name, node or pool. The whole of it lives in one event loop and needs no task."""

from __future__ import annotations

from typing import Any, Self

from yurtcore.errors import BadInput

from yurtsim.links.line import Line, Spec
from yurtsim.links.modes import UP, How, select, worsen


class Links:
    """A set of links; `async with` closes them.

    A target is the name of a link, a node, `pool/node` or a pool; None is every link. A target that is not there is
    `yurtcore.errors.Missing`.
    """

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first `add`."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End all links."""
        self.close()

    def close(self) -> None:
        """End all links: connections are reset, ports are free again."""
        for name in list(self._lines):
            self.remove(name)

    def add(self, name: str, target: str, *, node: str = "", pool: str = "", listen: str = "127.0.0.1:0") -> int:
        """Open a link that is whole.

        Args:
            name: A name of its own.
            target: Where it leads, as `address:port`.
            node: The node whose traffic it carries.
            pool: That node's pool.
            listen: Where it listens; port 0 takes a free one.

        Returns:
            The port that it listens on.

        Raises:
            BadInput: When the name or the address is taken or malformed.
        """
        if not name or "/" in name:
            raise BadInput(f"a link needs a name without a slash, not {name!r}")
        if name in self._lines:
            raise BadInput(f"there is a link {name!r} already")
        line = Line(Spec(name=name, target=target, node=node, pool=pool, listen=listen))
        line.open()
        self._lines[name] = line
        return line.port

    def remove(self, name: str) -> None:
        """End one link, if it is there."""
        if line := self._lines.pop(name, None):
            line.close()

    def cut(
        self,
        target: str | None = None,
        how: str = How.BLACKHOLE,
        *,
        ms: float | None = None,
        rate: int | None = None,
        way: str | None = None,
    ) -> list[str]:
        """Make links worse, as `modes.worsen` says; the names of those that were met.

        Raises:
            BadInput: When `how` and its numbers do not fit.
        """
        met = select(self._lines, target)
        modes = [worsen(line.mode, how, ms=ms, rate=rate, way=way) for line in met]
        for line, mode in zip(met, modes, strict=True):
            line.obey(mode)
        return [line.name for line in met]

    def heal(self, target: str | None = None) -> list[str]:
        """Make links whole: held bytes are delivered in order, new connections pass. The names of those met."""
        met = select(self._lines, target)
        for line in met:
            line.obey(UP)
        return [line.name for line in met]

    def drop(self, target: str | None = None, how: str = How.RESET) -> int:
        """Reset the connections that exist now, or let them hang until a heal (`blackhole`); new ones pass.

        Returns:
            How many there were.
        """
        if how not in {How.RESET, How.BLACKHOLE}:
            raise BadInput(f"connections are dropped by reset or blackhole, not {how!r}")
        return sum(line.drop(silently=how == How.BLACKHOLE) for line in select(self._lines, target))

    def show(self, target: str | None = None) -> list[dict[str, Any]]:
        """Each link as plain data: place, addresses, state, `open` and `total` connections, `bytes` by direction."""
        return [line.show() for line in select(self._lines, target)]
