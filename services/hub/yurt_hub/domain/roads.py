"""Why a request is answered as it is, whatever it asks: the store's word on reads, and who answers the rest."""

import json

from msgspec import structs
from yurtcore.wire.gvr import Gvr, Target, parse_target, verb
from yurtcore.wire.names import NODE_USER_PREFIX

from yurt_hub.domain.asked import asked as asked_set
from yurt_hub.domain.kept import explain as kept_explain
from yurt_hub.domain.kept.explain import Asked, Explained
from yurt_hub.domain.kept.store import Found
from yurt_hub.domain.kept_facts import Kept
from yurt_hub.domain.local.answers import Local
from yurt_hub.domain.local.beats import Act
from yurt_hub.domain.local.documents import is_document
from yurt_hub.domain.local.reviews import is_review
from yurt_hub.domain.local.writes import dark_write

_GONE = "the cloud cannot be reached"


def explain(kept: Kept, asked: Asked) -> Explained:
    """Explain one request as the hub would take it now; total for any method and target."""
    target = parse_target(asked.target)
    told = kept_explain.explain(kept.store, kept.agents(), asked, kept.wall())
    if asked.identity == f"{NODE_USER_PREFIX}{kept.node}" and (act := kept.beats.act(asked.method, target)):
        return _lease(kept, told, act)
    if is_review(verb(asked.method, target), target):
        why = "the last answer of the cloud to the same question while it is fresh, else 503"
        return structs.replace(told, lit="the cloud; its answer is remembered", dark=0, dark_why=why)
    if asked.method not in ("GET", "HEAD"):
        return _dark(told, dark_write(told.verb, target, asked.identity, lambda *what: _has(kept, *what)))
    if not target.is_resource:
        return _document(kept, told, target)
    what = asked_set(asked.target.encode("latin-1", "replace"), told.verb)
    if what is None:
        return structs.replace(
            told, what="", dark=503, dark_why="this is no plain read of a resource, so it is not kept"
        )
    if what.verb == "watch":
        return _watch(kept, told, asked)
    return told


def _lease(kept: Kept, told: Explained, act: Act) -> Explained:
    if act is Act.RENEW:
        lit = "the hub, at once; it renews the node's Lease at the cloud itself"
        why = "the hub answers; nothing is sent while the cloud is gone"
        known = 200 if kept.beats.known else 503
        return structs.replace(told, lit=lit, dark=known, dark_why=why if known == 200 else "the Lease was never seen")
    lit = "the cloud; the hub learns the Lease from it"
    local = kept.beats.created() if act is Act.CREATE else kept.beats.read(kept.wall())
    why = "the node's Lease as the hub knows it" if local.status == 200 else _message(local)
    return structs.replace(told, lit=lit, dark=local.status, dark_why=why)


def _document(kept: Kept, told: Explained, target: Target) -> Explained:
    found = kept.documents.answer(target.path, target.query, "application/json, */*", "", now=kept.wall(), why=_GONE)
    lit = "the cloud; the hub keeps a copy" if is_document(target.path) else "the cloud"
    if found is None:
        return structs.replace(told, lit=lit, dark=503, dark_why=f"{_GONE}; {target.path} is its to answer")
    why = "the document as the cloud gave it last" if found.status < 400 else _message(found)
    return structs.replace(told, lit=lit, dark=found.status, dark_why=why)


def _watch(kept: Kept, told: Explained, asked: Asked) -> Explained:
    what = asked_set(asked.target.encode("latin-1", "replace"), "watch")
    assert what is not None  # noqa: S101 - the caller looked
    coverage = kept.store.find(what.key, asked.identity)
    lit = "the hub, from its own watch of the set at the cloud" if told.kept else "the cloud"
    if coverage is None:
        why = kept.store.missing(what.key, asked.identity)
        return structs.replace(told, lit=lit, dark=503, dark_why=why, version=0)
    return structs.replace(
        told, lit=lit, dark=200, dark_why="told from what is kept; goes on at heal", version=coverage.version
    )


def _dark(told: Explained, local: Local) -> Explained:
    return structs.replace(told, lit="the cloud", dark=local.status, dark_why=_message(local))


def _has(kept: Kept, gvr: Gvr, namespace: str, name: str) -> bool:
    return isinstance(kept.store.get(gvr, namespace, name, f"{NODE_USER_PREFIX}{kept.node}"), Found)


def _message(local: Local) -> str:
    return str(json.loads(local.body).get("message", ""))
