"""Strings and numbers that several parts, Kubernetes or OpenYurt agree on, each once."""

from typing import Final

# OpenYurt's ports on every node.
PROXY_PORT: Final = 10261
"""Plain HTTP, for the node's own components only."""
HUB_API_PORT: Final = 10267
"""The hub's control API: health, metrics, pods, upgrades."""
PROXY_SECURE_PORT: Final = 10268
"""TLS, for callers with a token or the kubelet's certificate."""
SECURE_PORT: Final = PROXY_SECURE_PORT
DUMMY_IP: Final = "169.254.2.1"
"""Link-local address under which pods of a node reach its hub."""

# Identities.
NODE_USER_PREFIX: Final = "system:node:"
NODES_GROUP: Final = "system:nodes"
HUB_GROUP: Final = "openyurt:yurthub"
"""Organisation in a hub's own client certificate, beside `system:nodes`."""
MASTERS_GROUP: Final = "system:masters"
AUTHENTICATED_GROUP: Final = "system:authenticated"
ANONYMOUS_USER: Final = "system:anonymous"
SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"
KUBE_PROXY_USER: Final = "system:kube-proxy"

# Labels and annotations.
NODEPOOL_LABEL: Final = "apps.openyurt.io/nodepool"
"""On a Node: the name of its pool."""
EDGE_WORKER_LABEL: Final = "openyurt.io/is-edge-worker"
"""On a Node: "true" at the edge, "false" in the cloud."""
HOSTNAME_LABEL: Final = "kubernetes.io/hostname"
SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
"""On an EndpointSlice: the Service it belongs to."""

# Objects with fixed names.
SYSTEM_NAMESPACE: Final = "kube-system"
HUB_CONFIGMAP: Final = "yurt-hub-cfg"
LEASE_NAMESPACE: Final = "kube-node-lease"


def node_user(node: str) -> str:
    """The Kubernetes user name of a node's kubelet."""
    return NODE_USER_PREFIX + node
