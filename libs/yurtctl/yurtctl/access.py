"""Who a person is on the local site: an account that may read much and write in one namespace, and its kubeconfigs.

`system:masters` is for seeding only, so what `yurt up` hands out is the token of a ServiceAccount, good for a day.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from yurtcore.adapters.files import write_atomic
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import Missing
from yurtcore.wire.gvr import Gvr, path
from yurtsim.pki import Pki, kubeconfig

from yurtctl.folder import Folder
from yurtctl.record import Site

NAMESPACE = "demo"
ACCOUNT = "yurt-demo"
MANAGER = "yurt"
DAY = 86_400
"""Seconds that a token holds."""
FRESH = DAY // 2
"""Seconds that must be left of a token that is handed out again."""

_RBAC = "rbac.authorization.k8s.io"
_ROLES = Gvr(_RBAC, "v1", "clusterroles")
_CLUSTER_BINDINGS = Gvr(_RBAC, "v1", "clusterrolebindings")
_BINDINGS = Gvr(_RBAC, "v1", "rolebindings")
_ACCOUNTS = Gvr("", "v1", "serviceaccounts")
_READ = ["get", "list", "watch"]
_ROLE_REF = {"apiGroup": _RBAC, "kind": "ClusterRole"}
_SUBJECT = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
_RULES = [
    {"apiGroups": [""], "resources": ["nodes", "persistentvolumes", "events"], "verbs": _READ},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": _READ},
    {"apiGroups": ["apps.openyurt.io", "raven.openyurt.io", "iot.openyurt.io"], "resources": ["*"], "verbs": _READ},
    {"apiGroups": ["node.k8s.io", "storage.k8s.io", "certificates.k8s.io", _RBAC], "resources": ["*"], "verbs": _READ},
]


def rights() -> list[tuple[str, dict[str, Any]]]:
    """Paths and objects: the account, its reading everywhere (no Secrets), its writing in its own namespace."""

    def named(kind: str, api: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        place = {"namespace": namespace} if namespace else {}
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name} | place}

    rbac = f"{_RBAC}/v1"
    role = named("ClusterRole", rbac, ACCOUNT) | {"rules": _RULES}
    views = named("ClusterRoleBinding", rbac, f"{ACCOUNT}-view") | {"roleRef": _ROLE_REF | {"name": "view"}}
    reads = named("ClusterRoleBinding", rbac, ACCOUNT) | {"roleRef": _ROLE_REF | {"name": ACCOUNT}}
    edits = named("RoleBinding", rbac, ACCOUNT, NAMESPACE) | {"roleRef": _ROLE_REF | {"name": "edit"}}
    account = named("ServiceAccount", "v1", ACCOUNT, NAMESPACE)
    return [
        (path(_ACCOUNTS, namespace=NAMESPACE, name=ACCOUNT), account),
        (path(_ROLES, name=ACCOUNT), role),
        (path(_CLUSTER_BINDINGS, name=f"{ACCOUNT}-view"), views | {"subjects": [_SUBJECT]}),
        (path(_CLUSTER_BINDINGS, name=ACCOUNT), reads | {"subjects": [_SUBJECT]}),
        (path(_BINDINGS, namespace=NAMESPACE, name=ACCOUNT), edits | {"subjects": [_SUBJECT]}),
    ]


async def grant(admin: KubeClient) -> None:
    """Make the account and its rights; may be repeated."""
    for where, obj in rights():
        await admin.apply(where, obj, MANAGER, force=True)


async def mint(admin: KubeClient, folder: Folder, site: Site) -> None:
    """Get a token of a day and write every kubeconfig with it."""
    where = path(_ACCOUNTS, namespace=NAMESPACE, name=ACCOUNT, subresource="token")
    wish = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": DAY}}
    got = (await admin.create(where, wish))["status"]
    ca = Pki(folder.cloud / "pki").authority().cert
    folder.kubeconfigs.mkdir(exist_ok=True, mode=0o700)
    servers = {None: site.server} | {node.name: node.secure_url for node in site.nodes}
    for name, server in servers.items():
        write_atomic(folder.kubeconfig(name), kubeconfig(server, ca=ca, token=got["token"]))
    write_atomic(_expiry(folder), json.dumps({"expires": got["expirationTimestamp"]}).encode())


async def fresh(folder: Folder, site: Site, node: str | None = None) -> Path:
    """The kubeconfig of the cloud or through a node's hub, with half a day left at least.

    Raises:
        Missing: When there is no such node.
        Retry: When a new token is needed and the cloud does not answer.
    """
    if node is not None and site.node(node) is None:
        known = ", ".join(one.name for one in site.nodes) or "none"
        raise Missing(f"no node of the name {node!r}; there are: {known}")
    if _left(folder) < FRESH:
        async with KubeClient.from_kubeconfig(folder.cloud / "kubeconfigs" / "admin") as admin:
            await mint(admin, folder, site)
    return folder.kubeconfig(node)


def _expiry(folder: Folder) -> Path:
    return folder.kubeconfigs / ".expires.json"


def _left(folder: Folder) -> float:
    """Seconds that the token at hand still holds."""
    try:
        text = json.loads(_expiry(folder).read_bytes())["expires"]
    except FileNotFoundError:
        return 0.0
    return datetime.fromisoformat(text).timestamp() - time.time()
