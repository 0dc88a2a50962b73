"""Callers of a cluster: service accounts with rights and a token; and what the API server noted about requests."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.hub import LOOK_EVERY, WITHIN, until
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import Missing
from yurtsim.controlplane import ControlPlane

RBAC = "/apis/rbac.authorization.k8s.io/v1"
CONFIGMAPS = ({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},)


@dataclass(frozen=True)
class Account:
    """A service account with a token of a day."""

    namespace: str
    name: str
    token: str

    @property
    def user(self) -> str:
        """Its name as Kubernetes writes it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


def admin(cloud: ControlPlane) -> KubeClient:
    """Return a client for the cluster's admin, straight to the API server."""
    return KubeClient.from_kubeconfig(cloud.admin_kubeconfig, user_agent="yurt-test-admin")


async def account(
    kube: KubeClient, namespace: str, name: str, *, rules: Sequence[Mapping[str, Any]] = CONFIGMAPS
) -> Account:
    """Make a service account that may do what `rules` say in its namespace, and take a token for it."""
    home = f"/api/v1/namespaces/{namespace}"
    await kube.apply(home, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, "yurt-test")
    await kube.create(f"{home}/serviceaccounts", {"metadata": {"name": name}})
    await kube.create(f"{RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": name}, "rules": list(rules)})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    await kube.create(f"{RBAC}/namespaces/{namespace}/rolebindings", binding)
    return Account(namespace, name, await token(kube, namespace, name))


async def cluster_account(
    kube: KubeClient, namespace: str, name: str, *, rules: Sequence[Mapping[str, Any]]
) -> Account:
    """Make a service account that may do what `rules` say everywhere, by the ClusterRole `NAMESPACE-NAME`."""
    made = await account(kube, namespace, name, rules=())
    await kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": f"{namespace}-{name}"}, "rules": list(rules)})
    binding = {
        "metadata": {"name": f"{namespace}-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"{namespace}-{name}"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    await kube.create(f"{RBAC}/clusterrolebindings", binding)
    return made


async def token(kube: KubeClient, namespace: str, name: str) -> str:
    """Return a new token of a service account, good for a day."""
    home = f"/api/v1/namespaces/{namespace}"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}
    made = await kube.create(f"{home}/serviceaccounts/{name}/token", asked)
    return str(made["status"]["token"])


async def there(kube: KubeClient, path: str) -> dict[str, Any]:
    """Wait for an object that a controller makes."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                return await kube.get(path)
            except Missing:
                await asyncio.sleep(LOOK_EVERY)


class Audit:
    """The lines that the API server wrote to its audit log since this was made, or ever."""

    def __init__(self, cloud: ControlPlane, *, whole: bool = False) -> None:
        self._path: Path = cloud.audit_log
        self._from = self._path.stat().st_size if self._path.exists() and not whole else 0

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every whole line so far."""
        with self._path.open("rb") as log:
            log.seek(self._from)
            for line in log:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def by(self, agent: str) -> list[dict[str, Any]]:
        """The lines of clients whose User-Agent starts with `agent`."""
        return [line for line in self.lines() if line.get("userAgent", "").startswith(agent)]

    def watches(self, agent: str) -> dict[str, tuple[str, str]]:
        """The watches of such clients that have begun to be answered and have not ended: agent and target by audit id.

        A target stands without the version that it begins at.
        """
        found: dict[str, tuple[str, str]] = {}
        for line in self.by(agent):
            if line["verb"] == "watch" and line["stage"] == "ResponseStarted":
                found[line["auditID"]] = (line["userAgent"], re.sub(r"&resourceVersion=\d+", "", line["requestURI"]))
            elif line["verb"] == "watch":
                found.pop(line["auditID"], None)
        return found

    def begun(self, agent: str) -> Counter[str]:
        """How many watches of each such client have begun to be answered."""
        lines = self.by(agent)
        return Counter(one["userAgent"] for one in lines if (one["verb"], one["stage"]) == ("watch", "ResponseStarted"))

    async def has(self, agent: str, **fields: object) -> dict[str, Any]:
        """Wait for a line of `agent` with these top-level fields."""
        found: list[dict[str, Any]] = []

        def noted() -> bool:
            found[:] = [line for line in self.by(agent) if fields.items() <= line.items()]
            return bool(found)

        await until(noted, f"the API server noted {agent} {fields}")
        return found[0]
