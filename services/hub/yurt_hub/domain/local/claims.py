"""What a token says of itself, unproven: reading a JWT (RFC 7519) of the kinds that an API server accepts."""

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ACCOUNT_PREFIX: Final = "system:serviceaccount:"
LARGEST: Final = 16 * 1024
"""Characters of a token that is looked into; those of service accounts have about 1,200."""

_PART: Final = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Claims:
    """The parts of a JWT that are asked for here."""

    algorithm: str
    key_id: str
    issuer: str
    subject: str
    audiences: frozenset[str]
    expires: float | None
    """Wall seconds; None if the token does not say."""
    not_before: float | None
    private: Mapping[str, Any]
    """What Kubernetes adds: namespace, serviceaccount, pod, node; empty for tokens of others."""
    signed: bytes
    signature: bytes

    @property
    def account(self) -> str | None:
        """The service account, if subject and Kubernetes' own claim name the same one."""
        namespace, holder = self.private.get("namespace"), self.private.get("serviceaccount")
        name = holder.get("name") if isinstance(holder, dict) else None
        named = f"{ACCOUNT_PREFIX}{namespace}:{name}"
        return named if isinstance(namespace, str) and isinstance(name, str) and self.subject == named else None


def read_claims(token: str) -> Claims | None:
    """Read a compact JWS with JSON claims; None for everything else. Proves nothing."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > LARGEST or not all(map(_PART.fullmatch, parts)):
        return None
    try:
        head, body = (_object(_decode(part)) for part in parts[:2])
        if "crit" in head:
            return None  # it demands what nobody here understands
        signature = _decode(parts[2])
        audience = body.get("aud", [])
        return Claims(
            algorithm=_text(head, "alg"),
            key_id=_text(head, "kid"),
            issuer=_text(body, "iss"),
            subject=_text(body, "sub"),
            audiences=frozenset(_texts([audience] if isinstance(audience, str) else audience)),
            expires=_seconds(body, "exp"),
            not_before=_seconds(body, "nbf"),
            private=_private(body),
            signed=token.rpartition(".")[0].encode(),
            signature=signature,
        )
    except (ValueError, TypeError, RecursionError):
        return None


def token_hash(token: str) -> str:
    """The name of a token that nobody can use as one."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def identity_of(token: str, issuer: str | None) -> str | None:
    """Under which name the hub keeps what a token may read; None for an empty token.

    The account, for a token of the cluster's own issuer; `token:<hash>` for all others, also while the issuer is not
    known (None): a token of somebody else's may carry any subject, and the cloud may know its caller by another name.
    The claims are unproven, so the name is worth what the cloud, or `Verifier.check`, says of the token.
    """
    if not token:
        return None
    claims = read_claims(token) if issuer else None
    if claims is not None and claims.issuer == issuer and claims.expires is not None and claims.account is not None:
        return claims.account
    return f"token:{token_hash(token)}"


def _private(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("kubernetes.io")
    return found if isinstance(found, dict) else {}


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as err:
        raise ValueError("not base64url") from err


def _object(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found


def _text(holder: Mapping[str, Any], name: str) -> str:
    found = holder.get(name, "")
    if not isinstance(found, str):
        raise TypeError(f"{name} is no text")
    return found


def _texts(found: object) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError("no list of texts")
    return found


def _seconds(holder: Mapping[str, Any], name: str) -> float | None:
    found = holder.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or abs(found) > 1e15:
        raise ValueError(f"{name} is no time")
    return float(found)
