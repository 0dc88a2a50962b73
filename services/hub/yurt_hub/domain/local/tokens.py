"""Whose token it is while no API server can be asked.

Tokens of service accounts are proven by what the cluster publishes: its issuer and its keys. All other tokens are
worth what the cloud said of them last. What cannot be known here: that a pod, an account or a Secret behind a token is
gone; such a token works in the dark until it expires.

Audiences: the API server takes a token that names one of its own. They are learnt from tokens that it took; a token
with several of them proves only that one of the several is right, so in the dark it takes all of them together.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from yurt_hub.domain.local.claims import Claims, identity_of, read_claims, token_hash
from yurt_hub.domain.local.jwks import Keys
from yurt_hub.domain.local.ports import Recorder

AUDIENCES: Final = "t/audiences"
PREFIX: Final = "t/token/"
LEEWAY: Final = 60.0
"""Seconds that clocks may differ, as the API server allows."""
OPAQUE_FRESH: Final = 3600.0
"""How long a token that says nothing of itself is worth what the cloud said of it."""
MOST: Final = 1000
"""Tokens remembered; the one that came longest ago goes first."""
MOST_AUDIENCES: Final = 16
NOTE_EVERY: Final = 60.0
"""Seconds for which one token is not looked at again while the cloud takes it."""
WRITE_EVERY: Final = 600.0
"""Seconds between two records of one token."""

ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "ES384"})
"""What is checked here; never `none`, and nothing with a shared secret."""

Proves: TypeAlias = Callable[[Mapping[str, Any], str, bytes, bytes], bool]
"""Says whether a key (a JWK) and an algorithm bear out this signature of these bytes."""


class Verified(msgspec.Struct, frozen=True):
    """The token is good."""

    identity: str
    expires: float
    """Wall time up to which that holds."""


class Rejected(msgspec.Struct, frozen=True):
    """The token is no good: 401, and the caller is not told why."""

    why: str


class Unknowable(msgspec.Struct, frozen=True):
    """Only the cloud can tell: 503."""

    why: str


Verdict: TypeAlias = Verified | Rejected | Unknowable


class Seen(msgspec.Struct):
    """What the cloud said of one token."""

    identity: str
    good: bool
    at: float
    written: float = 0.0


class Verifier:
    """Judges tokens by kept keys and remembered answers; `now` is wall time in seconds.

    `proves` is asked only in the dark, about tokens of the cluster's issuer.
    """

    def __init__(self, proves: Proves, recorder: Recorder) -> None:
        self._proves = proves
        self._recorder = recorder
        self._keys = Keys()
        self._audiences: list[frozenset[str]] = []
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._proven: OrderedDict[str, tuple[str, float, float]] = OrderedDict()
        """By hash: account, not before, expires."""
        self._names: dict[str, str | None] = {}
        self._noted: dict[str, float] = {}
        """By token, as these two are asked with every request: its identity, and when it was noted as accepted."""

    @property
    def issuer(self) -> str | None:
        """The cluster's issuer, None while it is not known."""
        return self._keys.issuer or None

    def renew(self, keys: Keys) -> None:
        """Use these keys from now on."""
        if (keys.issuer, keys.keys) != (self._keys.issuer, self._keys.keys):
            self._proven.clear()
            self._names.clear()
            self._noted.clear()
        self._keys = keys

    def load(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier run knew from all records there are; damaged ones are dropped."""
        found: list[tuple[str, Seen]] = []
        for key, value in records:
            try:
                if key == AUDIENCES:
                    self._audiences = [
                        frozenset(names) for names in msgspec.msgpack.decode(value, type=list[list[str]])
                    ]
                elif key.startswith(PREFIX):
                    found.append((key.removeprefix(PREFIX), msgspec.msgpack.decode(value, type=Seen)))
            except msgspec.MsgspecError:
                self._recorder.drop(key)
        self._seen.update(sorted(found, key=lambda pair: pair[1].at))
        self._make_room()

    def identity_of(self, token: str) -> str | None:
        """Under which name the hub keeps what the token may read; see `claims.identity_of`."""
        try:
            return self._names[token]
        except KeyError:
            found = identity_of(token, self.issuer)
            if len(self._names) >= MOST:
                self._names.clear()
            self._names[token] = found
            return found

    def accepted(self, token: str, now: float) -> None:
        """The cloud took this token: it answered a request with it by 2xx, 403 or 404."""
        noted = self._noted.get(token)
        if noted is not None and 0 <= now - noted < NOTE_EVERY:
            return
        if len(self._noted) >= MOST:
            self._noted.clear()
        self._noted[token] = now
        claims = self._own(token)
        if claims is not None:
            self._learn_audiences(claims.audiences)
            self._forget(token_hash(token))
            return
        self._remember(token, Seen(self.identity_of(token) or "", good=True, at=now))

    def refused(self, token: str, now: float) -> None:
        """The cloud answered 401 to a request with this token."""
        self._remember(token, Seen("", good=False, at=now))
        self._noted.pop(token, None)

    def check(self, token: str, now: float) -> Verdict:
        """Judge a token in the dark."""
        name = token_hash(token)
        seen = self._seen.get(name)
        if seen is not None and not seen.good:
            return Rejected("the cloud refused it when it was asked last")
        now = max(now, self._keys.at)  # a clock that was set back does not bring an old token to life
        proven = self._proven.get(name)
        if proven is not None:
            self._proven.move_to_end(name)
            return _in_time(*proven, now)
        claims = self._own(token)
        if claims is None:
            return self._opaque(token, seen, now)
        verdict = self._judge(claims, now)
        if isinstance(verdict, Verified):
            self._proven[name] = (verdict.identity, claims.not_before or 0.0, claims.expires or 0.0)
            if len(self._proven) > MOST:
                self._proven.popitem(last=False)
        return verdict

    def _own(self, token: str) -> Claims | None:
        """The claims of a token that says that it comes from the cluster's issuer and when it ends."""
        claims = read_claims(token)
        if claims is None or claims.expires is None or not self._keys.issuer or claims.issuer != self._keys.issuer:
            return None
        return claims

    def _judge(self, claims: Claims, now: float) -> Verdict:
        if claims.algorithm not in ALGORITHMS:
            return Rejected("its algorithm is not one of those that the cluster signs with")
        if claims.account is None:
            return Rejected("its subject is not the service account that it names")
        late = _in_time(claims.account, claims.not_before or 0.0, claims.expires or 0.0, now)
        if isinstance(late, Rejected):
            return late
        if not self._keys.keys:
            return Unknowable("the cluster's keys are not kept here")
        fitting = self._keys.fitting(claims.key_id)
        if not fitting:
            return Unknowable("it is signed with a key that is not kept here")
        if not any(self._proves(key, claims.algorithm, claims.signed, claims.signature) for key in fitting):
            return Rejected("its signature is wrong")
        if self._meant_for_us(claims.audiences):
            return late
        return Unknowable("the cloud took no token for such an audience while it could be asked")

    def _meant_for_us(self, audiences: frozenset[str]) -> bool:
        # The API server's own audience is its issuer, unless it is told otherwise.
        known = self._audiences or [frozenset({self._keys.issuer})]
        return any(some <= audiences for some in known)

    def _opaque(self, token: str, seen: Seen | None, now: float) -> Verdict:
        if not token:
            return Rejected("it is empty")
        if seen is None:
            return Unknowable("the cloud did not see it before")
        if now >= seen.at + OPAQUE_FRESH:
            return Unknowable(f"the cloud saw it last {round(now - seen.at)} s ago")
        # Not the name that was current then: an issuer that became known since makes another one.
        return Verified(self.identity_of(token) or seen.identity, seen.at + OPAQUE_FRESH)

    def _learn_audiences(self, audiences: frozenset[str]) -> None:
        if not audiences or any(some <= audiences for some in self._audiences):
            return
        self._audiences = [*self._audiences, audiences][-MOST_AUDIENCES:]
        self._proven.clear()
        names = [sorted(some) for some in self._audiences]
        self._recorder.put(AUDIENCES, msgspec.msgpack.encode(names), secret=False)

    def _remember(self, token: str, seen: Seen) -> None:
        name = token_hash(token)
        before = self._seen.pop(name, None)
        self._seen[name] = seen
        seen.written = before.written if before is not None else 0.0
        if before is None or before.good != seen.good or seen.at - seen.written >= WRITE_EVERY:
            seen.written = seen.at
            # Sealed: a short token could be found by its hash.
            self._recorder.put(PREFIX + name, msgspec.msgpack.encode(seen), secret=True)
        self._make_room()

    def _forget(self, name: str) -> None:
        if self._seen.pop(name, None) is not None:
            self._recorder.drop(PREFIX + name)

    def _make_room(self) -> None:
        while len(self._seen) > MOST:
            self._forget(next(iter(self._seen)))


def _in_time(identity: str, not_before: float, expires: float, now: float) -> Verified | Rejected:
    if now >= expires + LEEWAY:
        return Rejected(f"it expired {round(now - expires)} s ago")
    if now + LEEWAY < not_before:
        return Rejected("it is not valid yet")
    return Verified(identity, expires + LEEWAY)
