"""Pages of one list, as they pass, put together to the whole."""

from collections import OrderedDict

import msgspec
from msgspec import Struct

from yurt_hub.domain.kept.objects import ListRead, Obj
from yurt_hub.domain.kept.sets import SetKey


class _Begun(Struct):
    read: ListRead
    since: float | None
    items: list[Obj]


class Collector:
    """Lists that were begun and not ended, at most `begun` of them and `objects` objects; the oldest are given up."""

    def __init__(self, *, begun: int = 32, objects: int = 50_000) -> None:
        self._most_begun, self._most_objects = begun, objects
        self._begun: OrderedDict[tuple[str, SetKey, str], _Begun] = OrderedDict()

    def add(
        self, identity: str, key: SetKey, asked: str, page: ListRead, since: float | None
    ) -> tuple[ListRead, float | None] | None:
        """Take in one page; the whole list once this was its last, with the `since` of its first page.

        `asked` is the continue token of the request. A later page whose predecessor is unknown, or that is of another
        version, completes nothing.
        """
        if not asked:
            if not page.continue_:
                return page, since
            begun = _Begun(page, since, list(page.items))
        else:
            known = self._begun.pop((identity, key, asked), None)
            if known is None or known.read.version != page.version or known.read.kind != page.kind:
                return None
            begun = known
            begun.items.extend(page.items)
            if not page.continue_:
                whole = msgspec.structs.replace(
                    begun.read,
                    item_kind=begun.read.item_kind or page.item_kind,
                    continue_="",
                    remaining=None,
                    items=begun.items,
                )
                return whole, begun.since
        self._begun[identity, key, page.continue_] = begun
        while len(self._begun) > self._most_begun or self.objects > self._most_objects:
            self._begun.popitem(last=False)
        return None

    @property
    def objects(self) -> int:
        """Objects in lists that were begun."""
        return sum(len(one.items) for one in self._begun.values())
