"""Command lines of the control plane as plain data; that the programs accept them is the contract tests' part."""

from collections.abc import Callable
from pathlib import Path

import pytest
from yurtsim.controlplane import flags
from yurtsim.controlplane.flags import Files, Ports, Wishes
from yurtsim.pki import Pair

PAIR = Pair(Path("/pki/x.crt"), Path("/pki/x.key"))
PORTS = Ports(etcd=1, etcd_peer=2, etcd_health=3, api=4, controllers=5, scheduler=6)
FILES = Files(
    data=Path("/data"),
    audit=Path("/audit.log"),
    audit_policy=Path("/policy.json"),
    ca=PAIR,
    etcd_ca=PAIR,
    etcd=PAIR,
    server=PAIR,
    kubelet_client=PAIR,
    accounts=PAIR,
    controllers_config=Path("/c"),
    scheduler_config=Path("/s"),
)
Line = Callable[[Path, Ports, Files, Wishes], list[str]]
LINES: list[Line] = [flags.etcd, flags.api_server, flags.controller_manager, flags.scheduler]


@pytest.mark.parametrize("line", LINES)
def test_every_address_is_loopback(line: Line) -> None:
    text = " ".join(line(Path("/bin/x"), PORTS, FILES, Wishes()))
    assert "0.0.0.0" not in text
    assert "127.0.0.1" in text


def test_rights_are_those_of_a_real_cluster() -> None:
    """Node and RBAC authorisation with NodeRestriction, and no way around ServiceAccount admission."""
    line = flags.api_server(Path("/bin/x"), PORTS, FILES, Wishes())
    assert "--authorization-mode=Node,RBAC" in line
    assert "--enable-admission-plugins=NodeRestriction" in line
    assert not [flag for flag in line if flag.startswith(("--disable-admission", "--anonymous-auth", "--token-auth"))]


def test_wishes_are_flags_only_when_wished() -> None:
    """Without a wish the program's own default stands."""
    plain = flags.api_server(Path("/bin/x"), PORTS, FILES, Wishes())
    assert not [flag for flag in plain if "goaway" in flag or "audit" in flag]
    assert "--goaway-chance=0.02" in flags.api_server(Path("/bin/x"), PORTS, FILES, Wishes(goaway_chance=0.02))
    assert "--audit-log-path=/audit.log" in flags.api_server(Path("/bin/x"), PORTS, FILES, Wishes(audit=True))
    hasty = Wishes(node_monitor_period="2s", node_monitor_grace="25s")
    line = flags.controller_manager(Path("/bin/x"), PORTS, FILES, hasty)
    assert {"--node-monitor-period=2s", "--node-monitor-grace-period=25s"} <= set(line)
    assert "--unsafe-no-fsync" in flags.etcd(Path("/bin/x"), PORTS, FILES, Wishes())
    assert "--unsafe-no-fsync" not in flags.etcd(Path("/bin/x"), PORTS, FILES, Wishes(fsync=True))


@pytest.mark.parametrize(
    ("name", "line"),
    list(zip(["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"], LINES, strict=True)),
)
def test_extra_flags_stand_last(name: str, line: Line) -> None:
    """The last one of two equal flags wins, so a caller may replace any of ours."""
    assert line(Path("/bin/x"), PORTS, FILES, Wishes(extra={name: ("--v=4", "--x")}))[-2:] == ["--v=4", "--x"]
