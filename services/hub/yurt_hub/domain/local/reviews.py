"""Questions about rights and tokens, and the last answers that the cloud gave to them.

Lit, every review passes to the cloud. Dark, the same question by the same caller gets its last answer while that is
fresh enough, and 503 otherwise: a guess about rights is worse than none. The reference answers 502 or an echo.

A TokenRequest counts among them: a kubelet that starts anew asks for the tokens of its pods in the same words, and the
last one is as good as ever until it ends. The reference makes up a token that nobody accepts.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec
from yurtcore.wire.gvr import Target

from yurt_hub.domain.local import accepts
from yurt_hub.domain.local.answers import NOT_CACHED, Local, missing, warning
from yurt_hub.domain.local.claims import read_claims
from yurt_hub.domain.local.ports import Answer, Recorder
from yurt_hub.domain.local.protobuf import MAGIC, fields, last, unwrap

PREFIX: Final = "r/"
MOST: Final = 1000
"""Answers kept; the one that nobody asked for longest goes first."""
LIMIT: Final = 4 * 1024 * 1024
"""Bytes of all answers together."""
BODY_LIMIT: Final = 16 * 1024
"""Bytes of a question or an answer; a larger one is not kept. The usual ones have 0.3 to 1 KB."""
RIGHTS_FRESH: Final = 24 * 3600.0
"""Rights change rarely, and who asks in the dark is mostly a kubelet about its operator's `exec` and `logs`: a day
carries a site over a night and its next shift; after that a right that was taken away must not live on."""
TOKEN_FRESH: Final = 3600.0
"""For tokens that do not say when they end, and for those that were refused."""
SAME_FRESH: Final = 600.0
"""Seconds between two records of one answer that stays the same."""

_KINDS: Final = {
    ("authorization.k8s.io", "subjectaccessreviews"): RIGHTS_FRESH,
    ("authorization.k8s.io", "localsubjectaccessreviews"): RIGHTS_FRESH,
    ("authorization.k8s.io", "selfsubjectaccessreviews"): RIGHTS_FRESH,
    ("authorization.k8s.io", "selfsubjectrulesreviews"): RIGHTS_FRESH,
    ("authentication.k8s.io", "tokenreviews"): TOKEN_FRESH,
    ("authentication.k8s.io", "selfsubjectreviews"): RIGHTS_FRESH,
}


class Kept(msgspec.Struct):
    """One answer."""

    content_type: bytes
    body: bytes
    at: float
    """Wall time of the last answer."""
    until: float
    """Wall time after which it is worth nothing."""
    written: float = 0.0


def is_review(verb: str, target: Target) -> bool:
    """Say whether a request is a question that is answered at once and leaves nothing behind."""
    if verb != "create":
        return False
    return _asks_for_token(target) or ((target.group, target.resource) in _KINDS and not target.subresource)


def _asks_for_token(target: Target) -> bool:
    return (target.group, target.resource, target.subresource) == ("", "serviceaccounts", "token")


class Reviews:
    """The last answers; `now` is wall time in seconds. They are sealed on disk: a TokenReview repeats its token."""

    def __init__(self, recorder: Recorder, *, most: int = MOST) -> None:
        self._recorder = recorder
        self._most = most
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Take up the answers of an earlier run from all records there are; damaged ones are dropped."""
        found: list[tuple[str, Kept]] = []
        for key, value in records:
            if key.startswith(PREFIX):
                try:
                    found.append((key.removeprefix(PREFIX), msgspec.msgpack.decode(value, type=Kept)))
                except msgspec.MsgspecError:
                    self._recorder.drop(key)
        self._kept.update(sorted(found, key=lambda pair: pair[1].at))
        self._size = sum(len(kept.body) for kept in self._kept.values())
        self._make_room()

    def learn(self, target: Target, identity: str, question: bytes, answer: Answer, now: float) -> None:
        """Take the cloud's answer to a review; anything but 200 or 201, and whatever is too large, is not kept."""
        if answer.status not in (200, 201) or max(len(question), len(answer.body)) > BODY_LIMIT:
            return
        if "dryRun" in target.query:
            return
        key = _key(target, identity, question)
        kind = answer.headers.get(b"content-type", b"application/json")
        until = now + _fresh(target, question, answer.body, now)
        before = self._kept.pop(key, None)
        kept = Kept(kind, answer.body, now, until, before.written if before is not None else 0.0)
        self._kept[key] = kept
        self._size += len(kept.body) - (len(before.body) if before is not None else 0)
        if before is None or before.body != kept.body or now - kept.written >= SAME_FRESH:
            kept.written = now
            self._recorder.put(PREFIX + key, msgspec.msgpack.encode(kept), secret=True)
        self._make_room()

    def answer(self, target: Target, identity: str, question: bytes, accept: str, now: float) -> Local:
        """Answer a review in the dark."""
        key = _key(target, identity, question)
        kept = self._kept.get(key)
        if kept is None:
            return missing(f"the cloud cannot be reached, and it did not answer this {target.resource} request before")
        if now >= kept.until:
            age = round(now - kept.at)
            return missing(f"the cloud cannot be reached, and its answer to this {target.resource} is {age} s old")
        if not accepts.takes(accept, kept.content_type.decode("latin-1")):
            return missing("the cloud cannot be reached, and its answer is kept in another format than the accepted")
        self._kept.move_to_end(key)
        return Local(201, ((b"Content-Type", kept.content_type), NOT_CACHED, warning(now - kept.at)), kept.body)

    def _make_room(self) -> None:
        while len(self._kept) > self._most or self._size > LIMIT:
            key, gone = self._kept.popitem(last=False)
            self._size -= len(gone.body)
            self._recorder.drop(PREFIX + key)


def canonical(body: bytes) -> bytes:
    """The same bytes for the same question: JSON with its keys in order and no blanks, all else as it is."""
    if body.startswith(MAGIC):
        return body
    try:
        return json.dumps(json.loads(body), separators=(",", ":"), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return body


def _key(target: Target, identity: str, question: bytes) -> str:
    parts = (identity.encode(), target.path.encode(), canonical(question))
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()


def _fresh(target: Target, question: bytes, answer: bytes, now: float) -> float:
    if _asks_for_token(target):
        given = read_claims(_given(answer))
        return max(0.0, given.expires - now) if given is not None and given.expires is not None else 0.0
    fresh = _KINDS.get((target.group, target.resource), 0.0)
    if target.resource != "tokenreviews" or not _authenticated(answer):
        return fresh
    claims = read_claims(_token(question))
    if claims is None or claims.expires is None:
        return fresh
    return max(0.0, claims.expires - now)


def _given(answer: bytes) -> str:
    """The token in the answer to a TokenRequest."""
    try:
        if answer.startswith(MAGIC):
            return last(last(unwrap(answer), 3), 1).decode()
        return str(json.loads(answer)["status"]["token"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _token(question: bytes) -> str:
    try:
        if question.startswith(MAGIC):
            return last(last(unwrap(question), 2), 1).decode()
        return str(json.loads(question)["spec"]["token"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _authenticated(answer: bytes) -> bool:
    try:
        if answer.startswith(MAGIC):
            return any(key == 1 and value == 1 for key, value in fields(last(unwrap(answer), 3)))
        return json.loads(answer)["status"].get("authenticated") is True
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
