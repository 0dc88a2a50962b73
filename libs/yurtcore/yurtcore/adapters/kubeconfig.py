"""Kubeconfigs that our own tools write: JSON (which is YAML too), one context in force."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yurtcore.adapters import files
from yurtcore.errors import BadInput


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Where a server is and how to show who we are; bytes are PEM. Its repr would show secrets, so it has none."""

    server: str
    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    token: str | None = None
    token_file: Path | None = None


def read(path: Path | str) -> Credentials:
    """The credentials of the current context; raises BadInput with one line when the file is of no use."""
    data = files.read(path, what="kubeconfig", limit=1024 * 1024)
    try:
        tree = json.loads(data)
    except ValueError as err:
        raise BadInput(
            f"kubeconfig {path} is not JSON; only JSON kubeconfigs are read here (kubectl reads them too)"
        ) from err
    if not isinstance(tree, dict):
        raise BadInput(f"kubeconfig {path} holds no object")
    context = _named(tree, "context", tree.get("current-context"), path)
    cluster = _named(tree, "cluster", context.get("cluster"), path)
    user = _named(tree, "user", context.get("user"), path) if context.get("user") else {}
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise BadInput(f"kubeconfig {path} names no server")
    folder = Path(path).parent
    token_file = user.get("tokenFile")
    return Credentials(
        server=server.rstrip("/"),
        ca=_pem(cluster, "certificate-authority", folder),
        cert=_pem(user, "client-certificate", folder),
        key=_pem(user, "client-key", folder),
        token=user.get("token") or None,
        token_file=folder / token_file if token_file else None,
    )


def _named(tree: Mapping[str, Any], kind: str, name: object, path: Path | str) -> dict[str, Any]:
    for entry in tree.get(f"{kind}s") or []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(kind), dict):
            return dict(entry[kind])
    raise BadInput(f"kubeconfig {path} has no {kind} {name!r}")


def _pem(section: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    """Inline data wins over a file's name, as in client-go; a relative name starts at the kubeconfig's folder."""
    if inline := section.get(f"{key}-data"):
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, TypeError, ValueError) as err:
            raise BadInput(f"{key}-data in the kubeconfig is not base64") from err
    name = section.get(key)
    return files.read(folder / name, what=key) if name else None
