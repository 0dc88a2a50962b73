"""Nodes as data: what is started for them is what the hub and the links take."""

from __future__ import annotations

from pathlib import Path

import pytest
from yurt_hub.settings import HubSettings
from yurtcore.serve.settings import load
from yurtctl.nodes import PORTS, hub_command, links_config, plan, ready
from yurtsim.links.__main__ import read
from yurtsim.pki import Pair

NODES = plan(2, range(1001, 1001 + 2 * PORTS))


def test_every_node_has_ports_of_its_own() -> None:
    ports = [port for node in NODES for port in (node.control, node.proxy, node.secure, node.link)]
    assert sorted(ports) == list(range(1001, 1009))
    assert [node.name for node in NODES] == ["node-1", "node-2"]


def test_the_hub_takes_its_command_line_and_knows_the_cloud_by_its_link_alone() -> None:
    command = hub_command(
        NODES[0],
        Path("/r"),
        ca=Path("/ca"),
        client=Pair(Path("/c"), Path("/k")),
        serving=Pair(Path("/sc"), Path("/sk")),
    )
    assert Path(command[0]).exists()
    cfg, _ = load(HubSettings, command[1:], env_prefix="YURT_TEST_NONE", prog="yurt-hub")
    assert cfg.server_addr == (NODES[0].link_url,)
    assert (cfg.node_name, cfg.nodepool_name, cfg.root_dir) == ("node-1", "local", Path("/r"))
    assert (cfg.listen.admin_port, cfg.listen.proxy_port, cfg.listen.secure_port) == (1001, 1002, 1003)
    assert {cfg.listen.admin, cfg.listen.proxy} == {"127.0.0.1"}
    assert cfg.files.serving_pair == (Path("/sc"), Path("/sk"))
    assert (cfg.files.ca, cfg.files.cert, cfg.files.client_key) == (Path("/ca"), Path("/c"), Path("/k"))
    assert "kubemark" in cfg.components


def test_the_links_take_their_file(tmp_path: Path) -> None:
    (tmp_path / "links.json").write_bytes(links_config(NODES, "127.0.0.1:6443", tmp_path / "s"))
    control, links = read(tmp_path / "links.json")
    assert control == tmp_path / "s"
    assert links[1] == {
        "name": "hub-node-2",
        "node": "node-2",
        "pool": "local",
        "listen": f"127.0.0.1:{NODES[1].link}",
        "target": "127.0.0.1:6443",
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": "True"}]}, True),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, False),
        ({"conditions": []}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_node_is_ready_when_it_says_so(status: object, *, expected: bool) -> None:
    assert ready({"status": status}) is expected
