"""Reading discovery lists: which versions there are, and what is said of one group."""

import json
from typing import Any


def versions(root: str, body: bytes | None) -> list[str]:
    """Paths of all group versions that a list at `/api` or `/apis` names, aggregated or plain, in its order."""
    listed = _read(body)
    match listed.get("kind"):
        case "APIGroupDiscoveryList":
            named = [
                f"{_name(item)}/{version.get('version')}"
                for item in _dicts(listed, "items")
                for version in _dicts(item, "versions")
            ]
        case "APIGroupList":
            named = [
                str(version.get("groupVersion"))
                for item in _dicts(listed, "groups")
                for version in _dicts(item, "versions")
            ]
        case "APIVersions":
            named = [str(version) for version in listed.get("versions") or ()]
        case _:
            named = []
    return [f"{root}/{name.lstrip('/')}" for name in named]


def one(path: str, body: bytes) -> bytes | None:
    """The document at `/apis/<group>`, made of the plain list at `/apis`; None if the list has no such group."""
    for item in _dicts(_read(body), "groups"):
        if path == f"/apis/{item.get('name')}":
            return json.dumps({"kind": "APIGroup", "apiVersion": "v1", **item}, separators=(",", ":")).encode() + b"\n"
    return None


def _name(item: dict[str, Any]) -> str:
    metadata = item.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _read(body: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _dicts(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
