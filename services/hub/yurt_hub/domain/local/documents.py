"""What an API server says about itself: discovery, its version, its token keys, and OpenAPI where somebody asked.

Lit, these pass like everything else; the hub fetches a copy when a link comes up and from time to time, and asks with
the ETag it has, so that nothing is sent when nothing has changed. Dark, they are answered as the cloud gave them last.
The reference keeps five such paths.

A kubectl with an empty cache folder asks `/api` and `/apis` as aggregated lists (25 KB on Kubernetes 1.34 without own
kinds). The 24 plain documents behind them are 26 KB more and come without ETags; they are fetched again only when the
aggregated ones changed. OpenAPI is 6 MB, so only what passes is kept.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from yurt_hub.domain.local import accepts, groups, paths
from yurt_hub.domain.local.answers import NOT_CACHED, Local, missing, warning
from yurt_hub.domain.local.jwks import Keys, read_keys
from yurt_hub.domain.local.paths import Kind
from yurt_hub.domain.local.ports import Answer, Recorder

PREFIX: Final = "d/"
CONFIRMED: Final = "d/confirmed"
LIMIT: Final = 4 * 1024 * 1024
"""Bytes of all documents as kept, deflated; all of OpenAPI is 0.8 MB, discovery with 500 own kinds 0.1 MB."""
BODY_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one document; a larger one is not kept."""

_KEPT_HEADERS: Final = (b"Content-Type", b"ETag", b"Vary", b"Cache-Control", b"Expires", b"Last-Modified")


class Document(msgspec.Struct):
    """One document in one form."""

    path: str
    form: str
    headers: list[tuple[bytes, bytes]]
    packed: bytes
    """The body, deflated."""
    at: float
    """Wall time when the cloud last gave or confirmed it."""
    basis: str = ""
    """For plain discovery: which aggregated lists it was fetched beside."""
    asked: float = 0.0
    """Wall time when somebody asked for it; decides who goes first when there is no room."""

    @property
    def key(self) -> str:
        """Its name among all documents."""
        return f"{self.path}|{self.form}"

    @property
    def etag(self) -> str:
        """The ETag as it was sent, with its quotes; "" if there was none."""
        return next((value.decode("latin-1") for name, value in self.headers if name == b"ETag"), "")

    @property
    def body(self) -> bytes:
        """The document itself."""
        return zlib.decompress(self.packed)

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return len(self.packed) + 512


class Ask(msgspec.Struct, frozen=True):
    """A document to fetch: where, in which form, and what is there already."""

    path: str
    accept: str
    etag: str = ""
    basis: str = ""


def is_document(path: str) -> bool:
    """Say whether a path is one that is kept once it was answered."""
    return paths.kind_of(paths.plain(path)) not in (None, Kind.HEALTH)


class Documents:
    """All documents kept; `now` is wall time in seconds."""

    def __init__(self, recorder: Recorder, *, limit: int = LIMIT) -> None:
        self._recorder = recorder
        self._limit = limit
        self._kept: dict[str, Document] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Take up the documents of an earlier run from all records there are; damaged ones are dropped."""
        confirmed: dict[str, float] = {}
        for key, value in records:
            if not key.startswith(PREFIX):
                continue
            try:
                if key == CONFIRMED:
                    confirmed = msgspec.msgpack.decode(value, type=dict[str, float])
                    continue
                found = msgspec.msgpack.decode(value, type=Document)
                found.body  # noqa: B018 (a body that cannot be read is no document)
                self._take(found)
            except (msgspec.MsgspecError, zlib.error):
                self._recorder.drop(key)
        for name, at in confirmed.items():
            if name in self._kept:
                self._kept[name].at = max(self._kept[name].at, at)

    def wants(self, path: str) -> bool:
        """Say whether the answer to a GET that passes should be shown to `learn`: OpenAPI, or what is not here yet."""
        kind = paths.kind_of(path)
        if kind is Kind.OPENAPI:
            return True
        return kind is not None and kind is not Kind.HEALTH and not self._forms(paths.plain(path))

    def learn(self, path: str, answer: Answer, now: float, *, basis: str = "") -> bool:
        """Take an answer of the cloud to a GET; says whether a document changed.

        304 confirms the document with the ETag that came; 404 and 410 remove a path. Whatever else went wrong changes
        nothing. `basis` stands in the `Ask` that led here; answers that were on their way to somebody else have none.
        """
        path = paths.plain(path)
        kind = paths.kind_of(path)
        if kind in (None, Kind.HEALTH):
            return False
        if answer.status == 304:
            self._confirm(path, answer.headers.get(b"etag", b"").decode("latin-1"), now)
            return False
        if answer.status in (404, 410):
            gone = tuple(self._of(path))
            for kept in gone:
                self._drop(kept)
            return bool(gone)
        if answer.status != 200 or len(answer.body) > BODY_LIMIT:
            return False
        sent = accepts.form_of(answer.headers.get(b"content-type", b"").decode("latin-1"))
        if sent is None:
            return False
        headers = [(name, answer.headers[name.lower()]) for name in _KEPT_HEADERS if name.lower() in answer.headers]
        asked = now if kind is Kind.OPENAPI else 0.0
        before = self._kept.get(f"{path}|{sent}")
        tag = answer.headers.get(b"etag", b"").decode("latin-1")
        if before is not None and before.basis == basis and _same(before, tag, answer.body):
            before.at, before.asked = now, max(before.asked, asked)
            return False
        made = Document(path, sent, headers, zlib.compress(answer.body, 1), now, basis, asked)
        self._take(made)
        self._recorder.put(PREFIX + made.key, msgspec.msgpack.encode(made), secret=False)
        self._make_room()
        return True

    def confirmed(self, now: float) -> None:
        """After a whole round of fetching: drop what is served no more, and write down what is true now."""
        basis, served = self.basis, {*paths.ROOTS, *self._listed()}
        for kept in tuple(self._kept.values()):
            if kept.basis and kept.path not in served:
                self._drop(kept)
            elif kept.basis == basis:
                kept.at = now
        self._recorder.put(
            CONFIRMED, msgspec.msgpack.encode({k: doc.at for k, doc in self._kept.items()}), secret=False
        )

    def first(self) -> list[Ask]:
        """What to fetch whenever a link has come up: enough for a kubectl with an empty cache, and for tokens."""
        out = []
        for path in (*paths.FIRST, *paths.ROOTS):
            forms = (accepts.AGGREGATED, accepts.AGGREGATED_BETA) if path in paths.ROOTS else (accepts.JSON,)
            there = next((self._kept[f"{path}|{form}"] for form in forms if f"{path}|{form}" in self._kept), None)
            accept = accepts.ASK_DISCOVERY if path in paths.ROOTS else "application/json, */*"
            out.append(Ask(path, accept, there.etag if there is not None else ""))
        return out

    def rest(self) -> list[Ask]:
        """Plain discovery that was not fetched beside the lists that are kept now."""
        basis = self.basis
        listed = self._listed()
        stale = [path for path in (*paths.ROOTS, *listed) if self._basis_of(path) != basis]
        return [Ask(path, "application/json", basis=basis) for path in stale] if listed else []

    @property
    def basis(self) -> str:
        """What tells one state of discovery from another."""
        roots = [self._best(root, accepts.ASK_DISCOVERY) for root in paths.ROOTS]
        return "+".join((doc.etag or str(zlib.crc32(doc.packed))) if doc is not None else "-" for doc in roots)

    def body(self, path: str) -> bytes | None:
        """The document at a path as kubectl would ask for it, None if it is not kept."""
        found = self._best(path, accepts.ASK_DISCOVERY)
        return found.body if found is not None else None

    def keys(self) -> Keys:
        """What tokens are proven with, as far as it is kept."""
        found = self._kept.get(f"{paths.JWKS}|{accepts.JSON}")
        return read_keys(self.body(paths.ISSUER), self.body(paths.JWKS), found.at if found is not None else 0.0)

    def answer(
        self, path: str, query: Mapping[str, tuple[str, ...]], accept: str, if_none_match: str, *, now: float, why: str
    ) -> Local | None:
        """Answer a GET in the dark; None if the path is none of ours. `why` is what keeps the cloud away."""
        path = paths.plain(path)
        kind = paths.kind_of(path)
        if kind is None:
            return None
        if kind is Kind.HEALTH:
            return missing(f"{path} is the API server's to answer, and {why}")
        found = self._best(path, accept) or self._group(path, accept)
        if found is None:
            there = ", ".join(self._forms(path))
            lacking = f"only as {there}, which the request does not accept" if there else "not"
            return missing(f"{why}; the document {path} was {lacking} kept while it could be")
        found.asked = now
        return _told(found, query.get("hash", ("",))[0], if_none_match, now)

    def _best(self, path: str, accept: str) -> Document | None:
        form = accepts.wanted(accept, self._forms(path))
        return self._kept[f"{path}|{form}"] if form is not None else None

    def _group(self, path: str, accept: str) -> Document | None:
        """`/apis/<group>` stands in the plain list of groups, word for word."""
        if accepts.wanted(accept, (accepts.JSON,)) is None:
            return None
        listed = self._kept.get(f"/apis|{accepts.JSON}")
        body = groups.one(path, listed.body) if listed is not None else None
        if listed is None or body is None:
            return None
        return Document(path, accepts.JSON, listed.headers, zlib.compress(body, 1), listed.at)

    def _forms(self, path: str) -> tuple[str, ...]:
        forms = (accepts.AGGREGATED, accepts.AGGREGATED_BETA, accepts.JSON, accepts.PROTOBUF)
        return tuple(form for form in forms if f"{path}|{form}" in self._kept)

    def _listed(self) -> list[str]:
        return [path for root in paths.ROOTS for path in groups.versions(root, self.body(root))]

    def _basis_of(self, path: str) -> str:
        found = self._kept.get(f"{path}|{accepts.JSON}")
        return found.basis if found is not None else ""

    def _confirm(self, path: str, etag: str, now: float) -> None:
        for kept in self._of(path):
            if etag and same_tag(kept.etag, etag):
                kept.at = now

    def _of(self, path: str) -> Iterator[Document]:
        return (self._kept[f"{path}|{form}"] for form in self._forms(path))

    def _take(self, made: Document) -> None:
        before = self._kept.pop(made.key, None)
        self.size += made.size - (before.size if before is not None else 0)
        self._kept[made.key] = made

    def _drop(self, kept: Document) -> None:
        del self._kept[kept.key]
        self.size -= kept.size
        self._recorder.drop(PREFIX + kept.key)

    def _make_room(self) -> None:
        """OpenAPI that nobody asked for of late goes first, then plain discovery; never what a kubectl begins with."""
        if self.size <= self._limit:
            return
        spare = [doc for doc in self._kept.values() if doc.path not in (*paths.FIRST, *paths.ROOTS)]
        spare.sort(key=lambda doc: (paths.kind_of(doc.path) is not Kind.OPENAPI, doc.asked, doc.at))
        for kept in spare:
            self._drop(kept)
            if self.size <= self._limit:
                return


def _same(kept: Document, tag: str, body: bytes) -> bool:
    """Say whether an answer is what is kept; where both have a tag, without a look at 2 MB of OpenAPI."""
    if tag and kept.etag:
        return same_tag(kept.etag, tag)
    return kept.body == body


def same_tag(one: str, other: str) -> bool:
    """Compare two ETags weakly (RFC 9110, 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def _told(found: Document, asked_hash: str, if_none_match: str, now: float) -> Local:
    """The answer with a document: 304 if the client has it, 301 if it asks for another state of it by its hash."""
    age = warning(now - found.at)
    tag = found.etag
    current = tag.removeprefix("W/").strip('"')
    if asked_hash and current and asked_hash != current:
        # As the API server does: the address carries the hash of what there is now.
        location = f"{found.path}?hash={current}".encode("latin-1")
        return Local(301, ((b"Location", location), NOT_CACHED, age))
    known = [part.strip() for part in if_none_match.split(",")]
    if tag and ("*" in known or any(same_tag(tag, part) for part in known)):
        return Local(304, (*((k, v) for k, v in found.headers if k != b"Content-Type"), age))
    return Local(200, (*found.headers, age), found.body)
