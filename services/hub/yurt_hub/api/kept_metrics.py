"""What the hub keeps, as metrics; labels are verbs, roads, codes and results, never names of callers or objects."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from yurt_hub.domain.kept_facts import DiskSeen, Kept


def kept_metrics(kept: Kept) -> Iterator[Metric]:
    """All families."""
    yield from _answers(kept)
    yield from _sets(kept)
    yield from _disk(kept.disk())
    lease = kept.lease()
    renewals = CounterMetricFamily(
        "yurt_hub_kept_lease_renewals", "Renewals of the node's Lease brought to the cloud", labels=("result",)
    )
    renewals.add_metric(("sent",), lease.sent)
    renewals.add_metric(("failed",), lease.failed)
    yield renewals


def _answers(kept: Kept) -> Iterator[Metric]:
    lit = CounterMetricFamily(
        "yurt_hub_kept_lit_reads", "Reads of kept callers while the cloud was there", labels=("verb", "road")
    )
    for (verb, road), count in kept.lit_reads.items():
        lit.add_metric((verb, road), count)
    dark = CounterMetricFamily(
        "yurt_hub_kept_dark_answers", "Reads that the hub answered in the cloud's place", labels=("verb", "code")
    )
    for (verb, code), count in kept.dark_answers.items():
        dark.add_metric((verb, str(code)), count)
    yield from (lit, dark)


def _sets(kept: Kept) -> Iterator[Metric]:
    feeds, coverages = kept.feeds(), kept.store.coverages()
    yield _gauge("sets", "Sets that are kept whole", len(coverages))
    yield _gauge("sets_needed", "Sets that are never evicted", sum(one.needed for one in coverages))
    yield _gauge("sets_damaged", "Sets that may lack a member", sum(one.torn for one in coverages))
    yield _gauge("objects", "Objects that are kept", kept.store.objects)
    yield _gauge("bytes", "Memory that they take, about", kept.store.size)
    yield _gauge("limit_bytes", "Memory above which sets are evicted", kept.store.limits.bytes)
    yield _gauge("documents", "Documents of discovery, version, token keys and OpenAPI", len(kept.documents))
    yield _gauge("feeds", "Watches of the hub's own", len(feeds))
    yield _gauge("feeds_live", "Those that run now", sum(feed.live for feed in feeds))
    yield _gauge("watches", "Watches of callers that are told from them", sum(feed.watches for feed in feeds))
    yield _gauge("oldest_seconds", "Since the cloud confirmed the oldest set that is followed", kept.oldest() or 0.0)


def _disk(disk: DiskSeen) -> Iterator[Metric]:
    size = GaugeMetricFamily("yurt_hub_kept_disk_bytes", "Size of the store on disk", labels=("part",))
    for part, value in (("live", disk.live), ("dead", disk.dead), ("file", disk.file), ("quota", disk.quota)):
        size.add_metric((part,), value)
    yield size
    yield _gauge("disk_queue", "Records that wait for the disk", disk.queue)
    yield _gauge("disk_queue_bytes", "What they take", disk.queue_bytes)
    sync_age = GaugeMetricFamily("yurt_hub_kept_disk_sync_age_seconds", "Since the last sync")
    if disk.sync_age is not None:
        sync_age.add_metric((), disk.sync_age)
    yield sync_age
    yield _gauge("disk_full", "1 while the disk has no room", float(disk.full))
    yield _gauge("disk_stopped", "1 while nothing is written, for whatever reason", float(bool(disk.stopped)))
    yield _counter("disk_written_bytes", "Bytes written", disk.written)
    yield _counter("disk_batches", "Batches synced", disk.batches)
    yield _counter("disk_compactions", "Logs written without former states", disk.compactions)
    yield _counter("disk_errors", "Attempts to write that failed", disk.errors)
    yield _counter("disk_refused", "Records that were too big", disk.refused)
    yield _gauge("disk_damaged", "Bad places found at the start", disk.damaged)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"yurt_hub_kept_{name}", about, value)


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"yurt_hub_kept_{name}", about, value)
