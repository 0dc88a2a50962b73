"""Accept headers, as far as choosing among the forms that a document was kept in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

JSON: Final = "json"
AGGREGATED: Final = "v2"
AGGREGATED_BETA: Final = "v2beta1"
PROTOBUF: Final = "protobuf"
"""The forms of documents: plain JSON, aggregated discovery in two versions, and anything in protobuf."""

_GROUP: Final = "apidiscovery.k8s.io"
_LIST: Final = "APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Clause:
    """One media range of an Accept header."""

    kind: str
    """In lower case, such as `application/json` or `*/*`."""
    params: frozenset[tuple[str, str]] = frozenset()
    """Without `q`."""
    quality: float = 1.0


def media_type(aggregated: str) -> str:
    """The media type of aggregated discovery in one of its versions."""
    return f"application/json;g={_GROUP};v={aggregated};as={_LIST}"


ASK_DISCOVERY: Final = f"{media_type(AGGREGATED)},{media_type(AGGREGATED_BETA)},application/json"
"""What kubectl asks `/api` and `/apis` for."""


def clauses(accept: str) -> Sequence[Clause]:
    """The ranges of an Accept header, best first, without refused ones (q=0); an empty header takes everything."""
    found = [clause for part in accept.split(",") if (clause := _clause(part)) is not None]
    if not found and not accept.strip(" ,"):
        return (Clause("*/*"),)
    return sorted((clause for clause in found if clause.quality > 0), key=lambda clause: -clause.quality)


def form_of(content_type: str) -> str | None:
    """Which form an answer with this Content-Type has; None for one that is not kept (YAML)."""
    clause = _clause(content_type)
    if clause is None:
        return None
    if ("as", _LIST) in clause.params:
        return _aggregated(clause)
    if clause.kind in ("application/json", "application/jwk-set+json", "text/plain"):
        return JSON  # /openapi/v3 calls its JSON plain text
    return PROTOBUF if "protobuf" in clause.kind else None


def wanted(accept: str, forms: Iterable[str]) -> str | None:
    """The best form for a client among those there are; None if it takes none of them."""
    there = tuple(forms)
    for clause in clauses(accept):
        for form in there:
            if _takes(clause, form):
                return form
    return None


def takes(accept: str, content_type: str) -> bool:
    """Say whether a client takes an answer of this type, whose parameters do not matter."""
    kind = content_type.partition(";")[0].strip().lower()
    family = f"{kind.partition('/')[0]}/*"
    return any(clause.kind in (kind, family, "*/*") for clause in clauses(accept))


def _takes(clause: Clause, form: str) -> bool:
    if ("as", _LIST) in clause.params:
        return form == _aggregated(clause)
    if any(name == "as" for name, _ in clause.params):
        return False
    if form == JSON:
        return clause.kind in ("application/json", "application/jwk-set+json", "text/plain", "application/*", "*/*")
    return form == PROTOBUF and "protobuf" in clause.kind


def _aggregated(clause: Clause) -> str | None:
    params = dict(clause.params)
    version = params.get("v")
    known = clause.kind == "application/json" and params.get("g") == _GROUP
    return version if known and version in (AGGREGATED, AGGREGATED_BETA) else None


def _clause(text: str) -> Clause | None:
    kind, *rest = (part.strip() for part in text.split(";"))
    if "/" not in kind:
        return None
    quality, params = 1.0, []
    for part in rest:
        name, _, value = part.partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                return None
        else:
            params.append((name, value))
    return Clause(kind.lower(), frozenset(params), quality)
