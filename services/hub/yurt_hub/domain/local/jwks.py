"""The keys that a cluster signs tokens with, as it publishes them (RFC 7517, and OpenID discovery for the issuer)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Keys:
    """What tokens of the cluster's own issuer are proven by."""

    issuer: str = ""
    """Empty while it is not known."""
    keys: tuple[Mapping[str, Any], ...] = ()
    """JWKs, for signatures only."""
    at: float = 0.0
    """Wall time when the cloud gave or confirmed them: no later moment lies before it."""

    def fitting(self, key_id: str) -> tuple[Mapping[str, Any], ...]:
        """The keys with this id; all of them for a token that names none, as the API server tries them."""
        return tuple(key for key in self.keys if key.get("kid") == key_id) if key_id else self.keys


def read_keys(configuration: bytes | None, jwks: bytes | None, at: float) -> Keys:
    """Read the documents at `paths.ISSUER` and `paths.JWKS`; one that is absent or damaged leaves its part empty."""
    issuer = _object(configuration).get("issuer")
    found = _object(jwks).get("keys")
    keys = [key for key in found if isinstance(key, dict)] if isinstance(found, list) else []
    return Keys(
        issuer if isinstance(issuer, str) else "",
        tuple(key for key in keys if key.get("use", "sig") == "sig"),
        at,
    )


def _object(data: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
