"""Strings and numbers that several parts, Kubernetes or OpenYurt agree on, each once."""

from typing import Final

# OpenYurt's ports on every node.
PROXY_PORT: Final = 10261
"""The hub's proxy in plain HTTP, for the node's own components only."""
HUB_API_PORT: Final = 10267
"""The hub's control API: health, metrics, docs."""
PROXY_SECURE_PORT: Final = 10268
"""The hub's proxy in TLS, for callers with a token or the kubelet's certificate."""
DUMMY_IP: Final = "169.254.2.1"
"""Link-local address at which pods reach their node's hub."""

# Identities.
NODE_USER_PREFIX: Final = "system:node:"
NODES_GROUP: Final = "system:nodes"

# Labels on Nodes.
NODEPOOL_LABEL: Final = "apps.openyurt.io/nodepool"
"""The name of the node's pool."""
EDGE_WORKER_LABEL: Final = "openyurt.io/is-edge-worker"
""""true" at the edge, "false" in the cloud."""

# Objects with fixed names.
SYSTEM_NAMESPACE: Final = "kube-system"
HUB_CONFIGMAP: Final = "yurt-hub-cfg"


def node_user(node: str) -> str:
    """The Kubernetes user name of a node's kubelet."""
    return NODE_USER_PREFIX + node
