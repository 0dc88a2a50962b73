"""Kubernetes paths: built from a resource's coordinates, and read the way kube-apiserver reads them.

Reading follows `RequestInfoFactory.NewRequestInfo` (k8s.io/apiserver/pkg/endpoints/request): what a request is about
must mean the same to us and to the server behind us, odd spellings included. It is total: any text gives a `Target`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

from yurtcore.errors import BadInput
from yurtcore.wire.integers import int64
from yurtcore.wire.selectors import fields, labels

_NO_QUERY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
_PREFIX_VERBS: Final = ("proxy", "watch")
_NAMESPACE_SUBRESOURCES: Final = ("status", "finalize")
_VERBS: Final = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?=//)")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Gvr:
    """A resource by API group ("" for the core group), version and plural name."""

    group: str
    version: str
    resource: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a request's target is about; the method is not part of it (see `verb`).

    For anything but a resource request only `path` and `query` say something. Texts are percent-decoded.
    """

    is_resource: bool
    group: str
    version: str
    resource: str
    subresource: str
    namespace: str
    name: str
    """From the path; else, for reads of a set, from a field selector that demands one `metadata.name`."""
    path: str
    query: Mapping[str, tuple[str, ...]]
    watch: bool
    """A GET is answered with a stream of events: no name in the path and `?watch`, or the old `/watch/` prefix."""
    name_in_path: bool = False
    """The path itself names the object (`name` may also come from a field selector)."""
    prefix_verb: str = ""
    """"watch" or "proxy" for the old paths that carry their verb (`/api/v1/watch/pods`), else ""."""

    @property
    def gvr(self) -> Gvr:
        """Group, version and resource as one value."""
        return Gvr(self.group, self.version, self.resource)


def path(gvr: Gvr, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    """The path of a set, an object or its subresource; every part is percent-encoded."""
    parts = ["", "apis", gvr.group] if gvr.group else ["", "api"]
    parts.append(gvr.version)
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(gvr.resource)
    if name:
        parts.append(quote(name, safe=""))
        if subresource:
            parts += [quote(part, safe="") for part in subresource.split("/")]
    return "/".join(parts)


def parse_target(target: str) -> Target:
    """Read the target of a request line (`/path?query`, or an absolute URL); never raises."""
    raw_path, _, raw_query = target.partition("?")
    if not raw_path.startswith("/") and (scheme := _SCHEME.match(raw_path)):
        _, slash, rest = raw_path[scheme.end() + 2 :].partition("/")
        raw_path = slash + rest
    text = unquote(raw_path) if "%" in raw_path else raw_path
    query = _parse_query(raw_query) if raw_query else _NO_QUERY
    parts = text.strip("/").split("/")
    if len(parts) < 3 or parts[0] not in ("api", "apis") or (parts[0] == "apis" and len(parts) < 4):
        return Target(
            is_resource=False, group="", version="", resource="", subresource="", namespace="", name="", path=text,
            query=query, watch=False,
        )  # fmt: skip
    group, version, rest_parts = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    return _resource_target(group, version, rest_parts, text, query)


def verb(method: str, target: Target) -> str:
    """The verb that Kubernetes authorises and audits; for anything but resources the method in lower case.

    "" is the verb of a method that the resource API does not know.
    """
    if not target.is_resource:
        return method.lower()
    if target.prefix_verb:
        return target.prefix_verb
    plain = _VERBS.get(method, "")
    if target.name_in_path:
        return plain
    if plain == "get":
        return "watch" if target.watch else "list"
    return "deletecollection" if plain == "delete" else plain


def _resource_target(
    group: str, version: str, parts: list[str], text: str, query: Mapping[str, tuple[str, ...]]
) -> Target:
    prefix_verb = namespace = subresource = name = resource = ""
    if parts[0] in _PREFIX_VERBS:
        prefix_verb, parts = parts[0], parts[1:]
    if parts and parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    if parts:
        resource = parts[0]
    if len(parts) > 1:
        name = parts[1]
    if len(parts) > 2 and prefix_verb != "proxy":
        subresource = parts[2]
    in_path = bool(name)
    watch = prefix_verb == "watch"
    if not in_path and not prefix_verb and query:
        watch = _is_true(query.get("watch"))
        if "metadata.name" in query.get("fieldSelector", ("",))[0]:
            name = _selected_name(query)
    return Target(
        is_resource=True, group=group, version=version, resource=resource, subresource=subresource,
        namespace=namespace, name=name, path=text, query=query, watch=watch, name_in_path=in_path,
        prefix_verb=prefix_verb,
    )  # fmt: skip


def _parse_query(raw: str) -> Mapping[str, tuple[str, ...]]:
    """As Go's `URL.Query()`: pairs that it can't read (a semicolon, a broken escape) are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in raw.split("&"):
        if not pair or ";" in pair:
            continue
        key, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            if _BAD_ESCAPE.search(pair):
                continue
            key, value = unquote_plus(key), unquote_plus(value)
        found[key] = (*found[key], value) if key in found else (value,)
    return MappingProxyType(found)


def _is_true(values: tuple[str, ...] | None) -> bool:
    """Kubernetes reads a parameter as false when absent, "0" or "false" in any case; all else is true."""
    return values is not None and values[0] != "0" and values[0].lower() != "false"


def _selected_name(query: Mapping[str, tuple[str, ...]]) -> str:
    """The one name that the field selector demands; "" when a parameter beside it does not parse, as the server."""
    for key in ("timeoutSeconds", "limit"):
        values = query.get(key)
        if values and int64(values[0]) is None:
            return ""
    try:
        labels.parse(query.get("labelSelector", ("",))[0])
        selector = fields.parse(query["fieldSelector"][0])
    except BadInput:
        return ""
    name = fields.exact(selector, "metadata.name") or ""
    return "" if name in (".", "..") or "/" in name or "%" in name else name
