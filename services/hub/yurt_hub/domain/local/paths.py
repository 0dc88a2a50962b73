"""Which paths of an API server are documents about itself."""

import enum
import re
from typing import Final


class Kind(enum.Enum):
    """What a path leads to."""

    DISCOVERY = "discovery"
    ABOUT = "about"
    """The version, and what tokens are checked with."""
    OPENAPI = "openapi"
    HEALTH = "health"


VERSION: Final = "/version"
JWKS: Final = "/openid/v1/jwks"
ISSUER: Final = "/.well-known/openid-configuration"
FIRST: Final = (VERSION, JWKS, ISSUER)
ROOTS: Final = ("/api", "/apis")

_DISCOVERY: Final = re.compile(r"/api(/v[0-9a-z]+)?|/apis(/[^/]+){0,2}")
_OPENAPI: Final = re.compile(r"/openapi/v2|/openapi/v3(/.*)?")
_HEALTH: Final = re.compile(r"/(healthz|livez|readyz)(/.*)?")


def plain(path: str) -> str:
    """A path without the slash at its end that some clients write."""
    return path.rstrip("/") or "/"


def kind_of(path: str) -> Kind | None:
    """What a path without its query leads to; None if it is no document about the server."""
    path = plain(path)
    if path in FIRST:
        return Kind.ABOUT
    if _DISCOVERY.fullmatch(path):
        return Kind.DISCOVERY
    if _OPENAPI.fullmatch(path):
        return Kind.OPENAPI
    return Kind.HEALTH if _HEALTH.fullmatch(path) else None
