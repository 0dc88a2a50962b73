"""`python -m bench.kept`: what the pure part of keeping costs, without sockets and disk.

Prints the best of several rounds; a peer runs in `python -m bench`, this is for finding out what to change.
"""

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from yurt_hub.domain.kept import answers
from yurt_hub.domain.kept.feed import Feed, LogLimits
from yurt_hub.domain.kept.forms import OBJECTS, Form, Shape
from yurt_hub.domain.kept.objects import ListRead, read_event, read_list
from yurt_hub.domain.kept.readers import Options, Reader
from yurt_hub.domain.kept.records import Unrecorded
from yurt_hub.domain.kept.sets import SetKey, set_key
from yurt_hub.domain.kept.store import Permit, Store
from yurtcore.wire.gvr import Gvr, parse_target

PODS = 5000
ROUNDS = 5
ME = "system:node:n1"


class Recorded:
    """A recorder in memory, for what loading costs."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def put(self, key: str, value: bytes, *, secret: bool) -> None:
        del secret
        self.content[key] = value

    def drop(self, key: str) -> None:
        self.content.pop(key, None)


def pod(at: int, version: int, pad: int = 1300) -> dict[str, Any]:
    """A pod of about 2 KB."""
    name = f"web-{at:05d}"
    meta = {
        "name": name, "generateName": "web-", "namespace": f"team-{at % 20}", "uid": f"0000-{at:08d}",
        "resourceVersion": str(version), "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": "web", "shard": str(at % 10)},
        "managedFields": [{"manager": "kubelet", "fieldsV1": {f"f:key{n}": {} for n in range(12)}}],
    }  # fmt: skip
    spec = {"nodeName": f"n{at % 50}", "containers": [{"name": "c", "image": "registry/web:1", "args": ["x" * pad]}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running", "podIP": "10.0.0.1"}}


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def pod_list(version: int) -> bytes:
    items = [pod(at, at + 1) for at in range(PODS)]
    items.sort(key=lambda one: f"{one['metadata']['namespace']}/{one['metadata']['name']}")
    meta = {"resourceVersion": str(version)}
    return encode({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items})


def event_line(at: int, version: int, pad: int = 1300) -> bytes:
    return encode({"type": "MODIFIED", "object": {"kind": "Pod", "apiVersion": "v1", **pod(at, version, pad)}}) + b"\n"


def key(target: str) -> SetKey:
    return set_key(parse_target(target))


ALL = key("/api/v1/pods")


def best(work: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    """CPU seconds of the best round, the collector off as it is seldom due."""
    found = []
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def show(what: str, value: float, unit: str) -> None:
    print(f"{what:64} {value:9.1f} {unit}")


def lists(body: bytes) -> ListRead:
    show(f"read a list of {PODS} pods, {len(body) / 1e6:.1f} MB", best(lambda: read_list(body)) * 1e3, "ms")
    read = read_list(body)

    def fresh() -> Store:
        store = Store(Unrecorded())
        store.put_list(key("/api/v1/pods"), read, Permit(ME, 1.0))
        return store

    show("put it into a new set", best(fresh) * 1e3, "ms")
    store = fresh()
    again = read_list(body)
    show("put it again, nothing changed", best(lambda: store.put_list(ALL, again, Permit(ME, 2.0))) * 1e3, "ms")
    recorded = Recorded()
    first = best(lambda: Store(recorded).put_list(ALL, read, Permit(ME, 1.0)), rounds=3)
    show("put it into a new set, with records", first * 1e3, "ms")
    show("load it from records", best(lambda: Store(Unrecorded()).load(recorded.content.items())) * 1e3, "ms")
    return read


def dark(read: ListRead) -> None:
    store = Store(Unrecorded())
    store.put_list(ALL, read, Permit(ME, 1.0))
    dressed = [one.__class__(one.key, one.version, one.raw, b'["x","1/1","Running","0","5m"]') for one in read.items]
    columns = encode([{"name": name} for name in ("Name", "Ready", "Status", "Restarts", "Age")])
    tabular = Store(Unrecorded())
    table = ListRead("Table", "meta.k8s.io/v1", "Pod", 9000, "", None, dressed, columns)
    tabular.put_list(ALL, table, Permit(ME, 1.0))

    def ask(query: str, form: Form = OBJECTS, of: Store = store) -> Callable[[], object]:
        target = parse_target(f"/api/v1/pods?{query}")
        return lambda: answers.list_(of, target, ME, form, 100.0)

    show("dark list, whole", best(ask("")) * 1e3, "ms")
    show("dark list by label", best(ask("labelSelector=shard%3D3")) * 1e3, "ms")
    show("dark list by field (spec.nodeName)", best(ask("fieldSelector=spec.nodeName%3Dn7")) * 1e3, "ms")
    show("dark list, 500 to a page", best(ask("limit=500")) * 1e3, "ms")
    show("dark list as a Table", best(ask("", Form(Shape.TABLE), tabular)) * 1e3, "ms")
    target = parse_target("/api/v1/namespaces/team-7/pods/web-00007")
    gets = 10_000
    show(
        "dark get", best(lambda: [answers.get(store, target, ME, OBJECTS, 1.0) for _ in range(gets)]) / gets * 1e6, "µs"
    )


def events(read: ListRead) -> None:
    count = 2000
    lines = [event_line(at, 10_000 + at) for at in range(count)]
    show(
        f"read an event of {len(lines[0])} bytes", best(lambda: [read_event(one) for one in lines]) / count * 1e6, "µs"
    )
    for recorder, name in ((Unrecorded(), ""), (Recorded(), ", with its record")):
        found = []
        for _ in range(ROUNDS):
            feed = Feed(Store(recorder), ALL)
            feed.listed(at_9000(read), Permit(ME, 1.0), since=1.0)
            began = time.process_time()
            for line in lines:
                feed.event(read_event(line), 2.0)
            found.append(time.process_time() - began)
        show(f"read, apply and log it{name}", min(found) / count * 1e6, "µs")


def at_9000(read: ListRead) -> ListRead:
    return ListRead(read.kind, read.api_version, read.item_kind, 9000, "", None, list(read.items), None)


def watchers() -> None:
    slices = Gvr("discovery.k8s.io", "v1", "endpointslices")
    every = SetKey(slices, "")
    filtered = key("/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io/headless")
    for asked, name in ((every, "all"), (filtered, "a selector")):
        feed = Feed(Store(Unrecorded()), every, LogLimits())
        feed.listed(ListRead("PodList", "v1", "Pod", 1, "", None, [], None), Permit(ME, 1.0), since=1.0)
        readers = [Reader(feed, asked, Options(1)) for _ in range(50)]
        lines = [event_line(at % 100, 2 + at, pad=7300) for at in range(800)]
        told = 0
        began = time.process_time()
        for line in lines:
            feed.event(read_event(line), 2.0)
            for reader in readers:
                told += len(reader.take(2.0))
        spent = time.process_time() - began
        show(f"800 events of {len(lines[0])} bytes to 50 readers, {name} ({told / 1e6:.0f} MB)", spent * 1e3, "ms")


def memory(body: bytes) -> None:
    gc.collect()
    tracemalloc.start()
    store = Store(Unrecorded())
    store.put_list(ALL, read_list(body), Permit(ME, 1.0))
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    raw = sum(len(obj.raw) for obj in store.coverages()[0].members.values())
    show("memory per object beside its JSON", (held - raw) / PODS, "bytes")
    show("the same, as the quota counts it", (store.size - raw) / PODS, "bytes")


def main() -> int:
    """Run all."""
    body = pod_list(9000)
    read = lists(body)
    dark(read)
    events(read)
    watchers()
    memory(body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
