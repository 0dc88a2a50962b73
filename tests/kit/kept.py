"""A pure stand-in for the cloud: every state that ever was, lists, watches and compaction; and a client of watches."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from yurt_hub.domain.kept import sets
from yurt_hub.domain.kept.sets import SetKey
from yurtcore.wire.gvr import Gvr
from yurtcore.wire.selectors import fields, labels

PODS = Gvr("", "v1", "pods")
Key = tuple[str, str]


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Cloud:
    """Pods, by the rules of an API server. `states[v]` is all that was at revision v."""

    def __init__(self) -> None:
        self.states: list[dict[Key, dict[str, Any]]] = [{}, {}]
        self.compacted = 0
        self._uid = 0

    @property
    def version(self) -> int:
        return len(self.states) - 1

    def write(self, key: Key, app: str, node: str) -> dict[str, Any]:
        old = self.states[-1].get(key)
        if old is None:
            self._uid += 1
        uid = old["metadata"]["uid"] if old else f"uid-{self._uid}"
        namespace, name = key
        pod = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "resourceVersion": str(self.version + 1),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": app},
            },
            "spec": {"nodeName": node},
        }
        self.states.append({**self.states[-1], key: pod})
        return pod

    def delete(self, key: Key) -> None:
        self.states.append({k: v for k, v in self.states[-1].items() if k != key})

    def compact(self) -> None:
        self.compacted = self.version

    def at(self, key: SetKey, version: int) -> dict[Key, int]:
        """Members of a set as of a version, with their versions."""
        return {k: version_of(pod) for k, pod in self.states[version].items() if means(key, k, pod)}

    def list(self, key: SetKey) -> bytes:
        items = [pod for k, pod in sorted(self.states[-1].items(), key=lambda one: "/".join(one[0]))
                 if means(key, k, pod)]  # fmt: skip
        meta = {"resourceVersion": str(self.version)}
        return dump({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items})

    def events(self, key: SetKey, after: int) -> Iterator[tuple[int, bytes]]:
        """What a watch from `after` gets, with the version at which it gets it."""
        for version in range(after + 1, self.version + 1):
            before, now = self.states[version - 1], self.states[version]
            for k in before.keys() | now.keys():
                old, new = before.get(k), now.get(k)
                if old is new:
                    continue
                was = old is not None and means(key, k, old)
                is_ = new is not None and means(key, k, new)
                if is_:
                    yield version, line("MODIFIED" if was else "ADDED", new)
                elif was:
                    yield version, line("DELETED", with_version(old, version))


def line(kind: str, pod: dict[str, Any] | None) -> bytes:
    return dump({"type": kind, "object": {"kind": "Pod", "apiVersion": "v1", **(pod or {})}}) + b"\n"


def bookmark(version: int) -> bytes:
    return line("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def version_of(pod: dict[str, Any]) -> int:
    return int(pod["metadata"]["resourceVersion"])


def with_version(pod: dict[str, Any] | None, version: int) -> dict[str, Any]:
    assert pod is not None
    return {**pod, "metadata": {**pod["metadata"], "resourceVersion": str(version)}}


def means(key: SetKey, k: Key, pod: dict[str, Any]) -> bool:
    values = {"metadata.name": k[1], "metadata.namespace": k[0], "spec.nodeName": pod["spec"]["nodeName"]}
    return (
        key.namespace in ("", k[0])
        and labels.match(sets.label_terms(key.labels), pod["metadata"]["labels"])
        and fields.match(sets.field_terms(key.fields), values)
    )


class Client:
    """Lists, watches, and goes on from the last version that it saw, like client-go's reflector."""

    def __init__(self, asked: SetKey) -> None:
        self.asked = asked
        self.version = 0
        self.has: dict[Key, int] = {}
        self.lists = 0
        self.synced = True
        """It has a whole list, or the bookmark that ends the initial events."""
        self.strict = True
        """Nothing happened that may make it be told twice, or of a deletion that it knew."""
        self.typed = True
        """Nor that may make something new look changed."""

    def listed(self, body: bytes) -> None:
        read = json.loads(body)
        self.version = version_of(read)
        self.has = {key_of(pod): version_of(pod) for pod in read["items"]}
        self.lists += 1
        self.synced = self.typed = True

    def begin(self) -> None:
        """Ask for initial events instead of a list."""
        self.has, self.version, self.synced, self.typed = {}, 0, False, True

    def broken_off(self) -> None:
        """The watch ended, for whatever reason."""
        if not self.synced:
            self.begin()

    def told(self, text: bytes) -> bool:
        """Take in watch lines; False when the watch ended with 410."""
        for one in text.splitlines():
            event = json.loads(one)
            if event["type"] == "ERROR":
                assert event["object"]["code"] == 410
                return False
            self._event(event["type"], event["object"])
        return True

    def _event(self, kind: str, pod: dict[str, Any]) -> None:
        version = version_of(pod)
        if kind == "BOOKMARK":
            assert version >= self.version, "bookmarks never go back"
            self.version = version
            self.synced = self.synced or pod["metadata"].get("annotations") == {"k8s.io/initial-events-end": "true"}
            return
        key = key_of(pod)
        assert version >= self.has.get(key, 0), f"{key} went back"
        if self.strict:
            assert version > self.has.get(key, 0) or kind == "DELETED", f"{key} was told twice"
        if kind == "DELETED":
            assert not self.strict or key in self.has, f"{key} was deleted without having been there"
            self.has.pop(key, None)
        else:
            if self.strict and self.typed:
                assert (kind == "MODIFIED") == (key in self.has), f"{kind} of {key}"
            self.has[key] = version
        self.version = version


def key_of(pod: dict[str, Any]) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


class Records:
    """A recorder that remembers every write, so that it can be cut anywhere."""

    def __init__(self, base: dict[str, bytes] | None = None) -> None:
        self.base = base or {}
        self.log: list[tuple[str, bytes | None]] = []
        self.secret: set[str] = set()

    def put(self, key: str, value: bytes, *, secret: bool) -> None:
        self.log.append((key, value))
        if secret:
            self.secret.add(key)

    def drop(self, key: str) -> None:
        self.log.append((key, None))

    def content(self, upto: int | None = None) -> dict[str, bytes]:
        found = dict(self.base)
        for key, value in self.log[:upto]:
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found


Make = Callable[[], bytes]
