"""What a site's nodes are: their names, ports and the command line of each hub. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from yurtsim.pki import Pair

from yurtctl.record import Node

POOL = "local"
"""The pool of all nodes of `yurt up`."""
COMPONENTS = "kubelet,kube-proxy,kubemark"
"""Executables that a hub takes for its node's own components; hollow ones are `kubemark`."""
PORTS = 4
"""Ports that each node needs: control API, plain, TLS, link."""


def plan(count: int, ports: Sequence[int]) -> list[Node]:
    """The nodes `node-1` to `node-COUNT` with `PORTS` of the free ports each."""
    own: Iterator[int] = iter(ports)
    return [
        Node(f"node-{number}", POOL, control=next(own), proxy=next(own), secure=next(own), link=next(own))
        for number in range(1, count + 1)
    ]


def hub_command(node: Node, root: Path, *, ca: Path, client: Pair, serving: Pair) -> list[str]:
    """The hub of one node: it knows the cloud only by its link.

    Args:
        node: Name, pool and ports.
        root: Where the hub keeps its state.
        ca: Signed the API server's certificate and all clients'.
        client: The node's identity.
        serving: What the hub shows on its TLS port.
    """
    return [
        str(Path(sys.executable).with_name("yurt-hub")),
        f"--node-name={node.name}",
        f"--nodepool-name={node.pool}",
        f"--server-addr={node.link_url}",
        "--bind-address=127.0.0.1",
        f"--serve-port={node.control}",
        "--bind-proxy-address=127.0.0.1",
        f"--proxy-port={node.proxy}",
        f"--proxy-secure-port={node.secure}",
        f"--root-dir={root}",
        f"--ca-file={ca}",
        f"--cert-file={client.cert}",
        f"--key-file={client.key}",
        f"--tls-cert-file={serving.cert}",
        f"--tls-private-key-file={serving.key}",
        f"--components={COMPONENTS}",
    ]


def links_config(nodes: Sequence[Node], target: str, control: Path) -> bytes:
    """The link process's file: one listener for each hub, on a fixed port, so that it can be started again."""
    links = [
        {
            "name": f"hub-{node.name}",
            "node": node.name,
            "pool": node.pool,
            "listen": f"127.0.0.1:{node.link}",
            "target": target,
        }
        for node in nodes
    ]
    return json.dumps({"control": str(control), "links": links}, indent=1).encode()


def ready(node: dict[str, object]) -> bool:
    """Whether a Node object says that it is Ready."""
    status = node.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
