"""A small API server without its sockets (see `serving`): lists, watches, writes and rights by Kubernetes' rules."""

import base64
import gzip
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from yurtcore.wire.selectors import fields as field_selectors
from yurtcore.wire.selectors import labels as label_selectors

Object = dict[str, Any]
Key = tuple[str, str]
NODE = "system:node:n1"


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Kind:
    """One kind that the server knows."""

    prefix: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return self.prefix.removeprefix("/apis/").removeprefix("/api/")


KINDS = [
    Kind("/api/v1", "pods", "Pod"),
    Kind("/api/v1", "services", "Service"),
    Kind("/api/v1", "secrets", "Secret"),
    Kind("/api/v1", "configmaps", "ConfigMap"),
    Kind("/api/v1", "nodes", "Node", namespaced=False),
    Kind("/apis/coordination.k8s.io/v1", "leases", "Lease"),
    Kind("/apis/example.com/v1", "widgets", "Widget"),
]


@dataclass(frozen=True)
class Event:
    """One thing that happened; `before` and `after` are states of the object, None for none."""

    version: int
    plural: str
    key: Key
    before: Object | None
    after: Object | None


class Reply(Protocol):
    """The way back of one request."""

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Begin the answer; without a `content-length` its end is told by `send`."""

    def send(self, data: bytes, *, end: bool) -> None:
        """Send a piece."""


@dataclass(eq=False)
class Request:
    """One request as the server saw it, and how to answer it."""

    method: str
    target: str
    headers: dict[str, str]
    caller: str | None
    reply: Reply
    body: bytes = b""
    verb: str = ""
    plural: str = ""

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    def query(self, name: str, default: str = "") -> str:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True).get(name, [default])[0]


@dataclass(eq=False)
class Watch:
    """One watch at the server."""

    request: Request
    kind: Kind
    namespace: str
    columns_told: bool = False


@dataclass
class Cluster:
    """All objects with all that ever happened to them, who may read what, and who asked for what."""

    revision: int = 100
    objects: dict[str, dict[Key, Object]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    compacted: int = 100
    tokens: dict[str, str] = field(default_factory=dict)
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of user and plural that are answered 403."""
    asked: list[Request] = field(default_factory=list)
    watches: set[Watch] = field(default_factory=set)
    issued: set[int] = field(default_factory=set)
    documents: dict[str, Any] = field(default_factory=dict)
    gzip: bool = False
    chunked: bool = False
    gone_by_status: bool = False
    """Too old versions are refused by the answer's status, as etcd's are, and not by an event."""
    hold: bool = False
    """Requests are seen and not answered, until `release`."""
    pretty: bool = False
    _held: list[Request] = field(default_factory=list)
    _made_up: set[int] = field(default_factory=set)
    _uid: int = 0
    _snapshots: dict[tuple[str, int], dict[Key, Object]] = field(default_factory=dict)

    # -- what happens in the cloud

    def put(
        self, plural: str, name: str, namespace: str = "default", *, labels: Object | None = None, **more: Any
    ) -> Object:
        """Create or change an object."""
        kind = next(kind for kind in KINDS if kind.plural == plural)
        namespace = namespace if kind.namespaced else ""
        before = self.objects.setdefault(plural, {}).get((namespace, name))
        self._uid += before is None
        meta = {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            "uid": before["metadata"]["uid"] if before else f"uid-{self._uid}",
            "resourceVersion": str(self.revision + 1),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels or {},
        }
        return self._happen(plural, (namespace, name), before, {**more, "metadata": meta})

    def remove(self, plural: str, name: str, namespace: str = "default") -> None:
        """Delete an object."""
        kind = next(kind for kind in KINDS if kind.plural == plural)
        key = (namespace if kind.namespaced else "", name)
        self._happen(plural, key, self.objects[plural][key], None)

    def _happen(self, plural: str, key: Key, before: Object | None, after: Object | None) -> Object:
        self.revision += 1
        state = self.objects.setdefault(plural, {})
        if after is None:
            del state[key]
            assert before is not None
            last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.revision)}}
        else:
            state[key] = last = after
        event = Event(self.revision, plural, key, before, after)
        self.events.append(event)
        for watch in list(self.watches):
            if watch.kind.plural == plural:
                self._tell(watch, event)
        return last

    def compact(self) -> None:
        """Forget the past: watches from before now are refused by 410."""
        self.compacted = self.revision
        self.events.clear()
        self._snapshots.clear()

    def end_watches(self) -> None:
        """End all watches, as the server does when their time is over."""
        for watch in list(self.watches):
            watch.request.reply.send(b"", end=True)
        self.watches.clear()

    def bookmark(self) -> None:
        """Tell all watches that want to hear it how far all is known."""
        for watch in self.watches:
            if watch.request.query("allowWatchBookmarks") == "true":
                self._mark(watch, {})

    def release(self) -> None:
        """Answer what was held."""
        self.hold = False
        held, self._held = self._held, []
        for request in held:
            self._answer(request)

    # -- what was asked

    def count(self, verb: str, plural: str = "", *, user: str = "") -> int:
        """How many requests of this kind came."""
        return sum(
            r.verb == verb and (not plural or r.plural == plural) and (not user or self._user(r) == user)
            for r in self.asked
        )

    def last(self, plural: str) -> Request:
        """The latest request for a kind or a path."""
        return next(request for request in reversed(self.asked) if request.plural == plural)

    def seen(self) -> Counter[str]:
        """Verbs and kinds of all requests."""
        return Counter(f"{request.verb} {request.plural}" for request in self.asked)

    def made_up(self) -> set[int]:
        """Versions that somebody asked with and that the server had not given out by then."""
        return self._made_up

    # -- answers

    def dropped(self, request: Request) -> None:
        """Whoever asked has gone."""
        self.watches = {watch for watch in self.watches if watch.request is not request}

    def serve(self, request: Request) -> None:
        """Take one request."""
        kind, _, name = self._place(request.path)
        request.plural = kind.plural if kind else request.path
        watch = kind is not None and request.query("watch") in ("true", "1")
        request.verb = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}.get(
            request.method, request.method.lower()
        )
        if request.verb == "get" and kind and not name:
            request.verb = "watch" if watch else "list"
        self.asked.append(request)
        if kind is not None and (text := request.query("resourceVersion")) not in ("", "0"):
            self._made_up |= {int(text)} - self.issued
        if self.hold and request.path != "/readyz":
            self._held.append(request)
        else:
            self._answer(request)

    def _user(self, request: Request) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self.tokens.get(token) if scheme else request.caller

    def _answer(self, request: Request) -> None:
        kind, namespace, name = self._place(request.path)
        user = self._user(request)
        if request.path in ("/readyz", "/healthz"):
            self._say(request, 200, b"ok", "text/plain")
        elif user is None:
            self._status(request, 401, "Unauthorized", "Unauthorized")
        elif kind is None:
            self._other(request)
        elif (user, kind.plural) in self.denied:
            self._status(request, 403, f"{kind.plural} is forbidden: {user} cannot {request.verb} it", "Forbidden")
        elif request.verb == "watch":
            self._watch(request, kind, namespace)
        elif request.verb == "list":
            self._list(request, kind, namespace)
        elif request.verb == "get":
            found = self.objects.get(kind.plural, {}).get((namespace, name))
            if found is None:
                self._status(request, 404, f'{kind.plural} "{name}" not found', "NotFound")
            else:
                self._whole(request, kind, found)
        else:
            self._write(request, kind, namespace, name)

    @staticmethod
    def _place(path: str) -> tuple[Kind | None, str, str]:
        """Kind, namespace and name of a path; nothing for what is no resource, or a subresource."""
        for kind in KINDS:
            if path.startswith(kind.prefix + "/"):
                rest = path.removeprefix(kind.prefix + "/").split("/")
                namespace = ""
                if rest[0] == "namespaces" and len(rest) > 2:
                    namespace, rest = rest[1], rest[2:]
                if rest[0] == kind.plural and len(rest) <= 2:
                    return kind, namespace, rest[1] if len(rest) == 2 else ""
        return None, "", ""

    def _other(self, request: Request) -> None:
        if request.path in self.documents and request.method == "GET":
            self._say(request, 200, dump(self.documents[request.path]), "application/json")
        elif request.path.endswith("reviews") and request.method == "POST":
            answer = {**json.loads(request.body), "status": {"allowed": True}}
            self._say(request, 201, dump(answer), "application/json")
        else:
            self._status(request, 404, "the server could not find the requested resource", "NotFound")

    def _write(self, request: Request, kind: Kind, namespace: str, name: str) -> None:
        body = json.loads(request.body) if request.body else {}
        name = name or body.get("metadata", {}).get("name", "")
        there = self.objects.get(kind.plural, {}).get((namespace, name))
        if request.method == "POST" and there is not None:
            self._status(request, 409, f'{kind.plural} "{name}" already exists', "AlreadyExists")
            return
        if request.method != "POST" and there is None:
            self._status(request, 404, f'{kind.plural} "{name}" not found', "NotFound")
            return
        if request.method == "DELETE":
            self.remove(kind.plural, name, namespace)
            self._status(request, 200, "", "")
            return
        spec = {**((there or {}).get("spec", {}) if request.method == "PATCH" else {}), **body.get("spec", {})}
        found = self.put(kind.plural, name, namespace, labels=body.get("metadata", {}).get("labels"), spec=spec)
        self.issued.add(self.revision)
        self._say(
            request, 201 if request.method == "POST" else 200, dump(self._stamped(kind, found)), "application/json"
        )

    @staticmethod
    def _stamped(kind: Kind, obj: Object) -> Object:
        return {"kind": kind.kind, "apiVersion": kind.api_version, **obj}

    @staticmethod
    def _form(request: Request) -> str:
        """What the first clause of Accept that this server speaks asks for."""
        for clause in (request.headers.get("accept") or "*/*").split(","):
            if "protobuf" in clause:
                return "protobuf"
            for form in ("Table", "PartialObjectMetadata"):
                if f"as={form}" in clause:
                    return form
            if "json" in clause or "*/*" in clause:
                return "json"
        return "none"

    def _row(self, request: Request, kind: Kind, obj: Object) -> Object:
        meta = obj["metadata"]
        held: Object | None = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        match request.query("includeObject"):
            case "Object":
                held = self._stamped(kind, obj)
            case "None":
                held = None
        return {"cells": [meta["name"], meta["labels"].get("app", ""), "1d"], "object": held}

    @staticmethod
    def _table(rows: list[Object], meta: Object, *, columns: bool = True) -> Object:
        names = [{"name": name, "type": "string"} for name in ("Name", "App", "Age")] if columns else None
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta,
            "columnDefinitions": names,
            "rows": rows,
        }

    def _whole(self, request: Request, kind: Kind, obj: Object) -> None:
        self.issued.add(int(obj["metadata"]["resourceVersion"]))
        self._formed(request, self._shaped(request, kind, obj, {"resourceVersion": obj["metadata"]["resourceVersion"]}))

    def _shaped(self, request: Request, kind: Kind, obj: Object, meta: Object, *, columns: bool = True) -> Object:
        match self._form(request):
            case "Table":
                return self._table([self._row(request, kind, obj)], meta, columns=columns)
            case "PartialObjectMetadata":
                return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
            case _:
                return self._stamped(kind, obj)

    def _formed(self, request: Request, value: Object) -> None:
        if self._form(request) == "protobuf":
            self._say(request, 200, b"k8s\0" + dump(value), "application/vnd.kubernetes.protobuf")
        else:
            text = json.dumps(value, indent=2).encode() if self.pretty else dump(value)
            self._say(request, 200, text + b"\n", "application/json")

    def matches(self, request: Request, namespace: str, key: Key, obj: Object) -> bool:
        """Tell whether an object is in what a request asks for."""
        values = {"metadata.name": key[1], "metadata.namespace": key[0]}
        if "nodeName" in obj.get("spec", {}):
            values["spec.nodeName"] = obj["spec"]["nodeName"]
        return (
            namespace in ("", key[0])
            and label_selectors.match(label_selectors.parse(request.query("labelSelector")), obj["metadata"]["labels"])
            and field_selectors.match(field_selectors.parse(request.query("fieldSelector")), values)
        )

    def _list(self, request: Request, kind: Kind, namespace: str) -> None:
        version, start = self.revision, ""
        if token := request.query("continue"):
            told = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            version, start = told["rv"], told["start"].removeprefix("/")
        state = self._snapshots.get((kind.plural, version)) if token else dict(self.objects.get(kind.plural, {}))
        if state is None:
            self._status(request, 410, "The provided continue parameter is too old", "Expired")
            return
        self.issued.add(version)
        found = sorted((f"{key[0]}/{key[1]}" if key[0] else key[1], key, obj) for key, obj in state.items())
        found = [one for one in found if self.matches(request, namespace, one[1], one[2])]
        start = f"{namespace}/{start}" if namespace and start else start
        found = [one for one in found if one[0] >= start]
        meta: Object = {"resourceVersion": str(version)}
        limit = int(request.query("limit", "0"))
        if limit and len(found) > limit:
            self._snapshots[kind.plural, version] = state
            last = found[limit - 1][0].removeprefix(f"{namespace}/" if namespace else "")
            after = dump({"v": "meta.k8s.io/v1", "rv": version, "start": f"/{last}\0"})
            meta |= {
                "continue": base64.urlsafe_b64encode(after).rstrip(b"=").decode(),
                "remainingItemCount": len(found) - limit,
            }
            found = found[:limit]
        match self._form(request):
            case "Table":
                value = self._table([self._row(request, kind, obj) for _, _, obj in found], meta)
            case "PartialObjectMetadata":
                items = [{"metadata": obj["metadata"]} for _, _, obj in found]
                value = {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": meta,
                    "items": items,
                }
            case _:
                value = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta}
                value["items"] = [obj for _, _, obj in found]
        self._formed(request, value)

    def _watch(self, request: Request, kind: Kind, namespace: str) -> None:
        since = int(request.query("resourceVersion") or "0")
        watch = Watch(request, kind, namespace)
        if since and since < self.compacted:
            gone = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410}
            gone |= {"reason": "Expired", "message": f"too old resource version: {since} ({self.compacted})"}
            if self.gone_by_status:
                self._status(request, 410, str(gone["message"]), "Expired")
                return
            request.reply.head(200, {"content-type": "application/json"})
            request.reply.send(dump({"type": "ERROR", "object": gone}) + b"\n", end=True)
            return
        request.reply.head(200, {"content-type": "application/json"})
        self.watches.add(watch)
        if not since or request.query("sendInitialEvents") == "true":
            for key, obj in sorted(self.objects.get(kind.plural, {}).items()):
                if self.matches(request, namespace, key, obj):
                    self._line(watch, "ADDED", obj)
            if request.query("sendInitialEvents") == "true":
                self._mark(watch, {"k8s.io/initial-events-end": "true"})
            return
        for event in self.events:
            if event.version > since and event.plural == kind.plural:
                self._tell(watch, event)

    def _tell(self, watch: Watch, event: Event) -> None:
        was = event.before is not None and self.matches(watch.request, watch.namespace, event.key, event.before)
        now = event.after is not None and self.matches(watch.request, watch.namespace, event.key, event.after)
        if now:
            assert event.after is not None
            self._line(watch, "MODIFIED" if was else "ADDED", event.after)
        elif was:
            assert event.before is not None
            meta = {**event.before["metadata"], "resourceVersion": str(event.version)}
            self._line(watch, "DELETED", {**event.before, "metadata": meta})

    def _line(self, watch: Watch, what: str, obj: Object) -> None:
        version = obj["metadata"]["resourceVersion"]
        self.issued.add(int(version))
        held = self._shaped(
            watch.request, watch.kind, obj, {"resourceVersion": version}, columns=not watch.columns_told
        )
        watch.columns_told = True
        watch.request.reply.send(dump({"type": what, "object": held}) + b"\n", end=False)

    def _mark(self, watch: Watch, notes: Object) -> None:
        self.issued.add(self.revision)
        meta: Object = {"resourceVersion": str(self.revision), "creationTimestamp": None}
        held: Object = {"kind": watch.kind.kind, "apiVersion": watch.kind.api_version, "metadata": meta}
        if notes:
            meta["annotations"] = notes
        if self._form(watch.request) == "Table":
            held = self._table([{"cells": [], "object": held}], {"resourceVersion": str(self.revision)}, columns=False)
        watch.request.reply.send(dump({"type": "BOOKMARK", "object": held}) + b"\n", end=False)

    def _status(self, request: Request, code: int, message: str, reason: str) -> None:
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "message": message,
            "reason": reason,
            "code": code,
        }
        self._say(request, code, dump({**body, "status": "Success" if code < 400 else "Failure"}), "application/json")

    def _say(self, request: Request, code: int, body: bytes, kind: str) -> None:
        headers = {"content-type": kind}
        if self.gzip and "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["content-encoding"] = gzip.compress(body), "gzip"
        if request.method == "HEAD":
            request.reply.head(code, {**headers, "content-length": str(len(body))})
            request.reply.send(b"", end=True)
        elif self.chunked:
            request.reply.head(code, headers)
            for at in range(0, len(body), 1000):
                request.reply.send(body[at : at + 1000], end=False)
            request.reply.send(b"", end=True)
        else:
            request.reply.head(code, {**headers, "content-length": str(len(body))})
            request.reply.send(body, end=True)
