"""How much is kept, and what goes first when it is too much.

Sets go until what is left fits: those that neither kubelet nor kube-proxy asked for and that no feed keeps up to date,
the one first that was read longest ago. If that is not enough, what has just come is not kept.

What the kubelet or kube-proxy asked for never goes, and is kept beyond all bounds. What a feed keeps goes when its feed
ends: evicted earlier, it would be listed again at once. A single identity can only push out its own sets: one that has
too many loses the one that it read longest ago.
"""

from typing import TYPE_CHECKING

from msgspec import Struct

from yurt_hub.domain.kept.coverage import Coverage

if TYPE_CHECKING:
    from yurt_hub.domain.kept.store import Store


_WATCHED_WHILE_NEEDED = frozenset({"configmaps", "secrets"})


class Limits(Struct, frozen=True):
    """Bounds of a store; what the kubelet or kube-proxy asked for is kept beyond them."""

    bytes: int = 64 * 1024 * 1024
    """Memory of all objects."""
    sets: int = 4096
    members: int = 20_000
    """Of one set."""
    sets_per_identity: int = 256
    callers: int = 256
    """Identities remembered per set."""


def shed(store: "Store", keep: Coverage | None = None) -> list[Coverage]:
    """Evict until the store is within its limits, or nothing is left that may go; gives what went.

    `keep` goes last of all.
    """
    gone: list[Coverage] = []
    excess = store.size > store.limits.bytes or len(store.coverages()) > store.limits.sets
    if not excess:
        return gone
    for coverage in order_of_eviction(store, keep):
        if store.size <= store.limits.bytes and len(store.coverages()) <= store.limits.sets:
            break
        store.forget(coverage.key)
        gone.append(coverage)
    return gone


def order_of_eviction(store: "Store", keep: Coverage | None = None) -> list[Coverage]:
    """The sets that may go, the first to go first."""
    may_go = [one for one in store.coverages() if not one.needed and not one.fed]
    return sorted(may_go, key=lambda one: (one is keep, one.used, one.id))


def stale(coverage: Coverage, now: float, idle: float) -> bool:
    """A set that no feed keeps and that neither was read nor heard of for `idle` seconds may be forgotten.

    Of what the kubelet or kube-proxy asked for only this: what turned out empty, and ConfigMaps and Secrets, which the
    kubelet watches for as long as a pod on the node refers to them. All else they may ask for once, at their start.
    """
    if coverage.fed or now - max(coverage.used, coverage.confirmed) <= idle:
        return False
    return not coverage.needed or coverage.key.gvr.resource in _WATCHED_WHILE_NEEDED or not coverage.shown()


def bound_sets(store: "Store", identity: str, keep: Coverage) -> None:
    """Take from an identity with too many sets the ones that it read longest ago; sets that nobody may read go."""
    own = [one for one in store.coverages() if identity in one.callers and not one.needed and one is not keep]
    excess = len(own) + 1 - store.limits.sets_per_identity
    may_go = sorted((one for one in own if not one.fed), key=lambda one: (one.callers[identity], one.id))
    for coverage in may_go[: max(0, excess)]:
        del coverage.callers[identity]
        if not coverage.callers:
            store.forget(coverage.key)


def bound_callers(coverage: Coverage, limits: Limits) -> None:
    """Forget those callers of a set who read it longest ago, beyond the limit."""
    excess = len(coverage.callers) - limits.callers
    for identity in sorted(coverage.callers, key=lambda one: coverage.callers[one])[: max(0, excess)]:
        del coverage.callers[identity]
