"""`yurt up` to `yurt down`, as a person uses it: the real command, the real parts, a state folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.controlplane

WITHIN = 120.0
"""Seconds that anything may take on a busy machine."""


class Yurt:
    """The command, bound to one state folder."""

    def __init__(self, state: Path, binaries: Path) -> None:
        self.state = state
        self.env = os.environ | {"YURT_STATE": str(state), "YURT_CONTROLPLANE": str(binaries)}
        self.command = [sys.executable, "-m", "yurtctl"]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end, however that is."""
        return subprocess.run(
            [*self.command, *arguments], env=self.env, capture_output=True, text=True, timeout=280, check=False
        )

    def ok(self, *arguments: str) -> str:
        """Run it, and be content with success alone."""
        done = self(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def status(self) -> dict[str, Any]:
        return json.loads(self.ok("status", "-o", "json"))

    def process(self, name: str) -> dict[str, Any]:
        return next(one for one in self.status()["processes"] if one["name"] == name)

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def own(self) -> dict[int, str]:
        """Every process of this site, the supervisor too: each has the state folder in its command line."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(self.state) in words:
                    found[int(path.parent.name)] = words
        return found


def until(holds: Callable[[], bool], what: str) -> None:
    """Look until it holds; another process decides when, and tells nobody."""
    end = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def ports(status: dict[str, Any]) -> list[int]:
    """Every TCP port that the site says it listens on."""
    found = re.findall(r"127\.0\.0\.1:(\d+)", json.dumps(status))
    return sorted({int(port) for port in found})


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for init to take note does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def yurt(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yurt]:
    """A site of two nodes that is up."""
    made = Yurt(tmp_path_factory.mktemp("up") / "s", binaries)
    try:
        told = made.ok("up", "--detach", "--nodes", "2")
        assert "Ready in" in told
        assert "2 nodes" in told
        yield made
    finally:
        made("down")


def test_status_shows_every_process_node_and_link(yurt: Yurt) -> None:
    """After `up --detach` every node is Ready, pods run on them, and all traffic of a hub has crossed its link."""
    status = yurt.status()
    assert status["phase"] == "ready"
    assert status["problems"] == []
    assert {one["state"] for one in status["processes"]} == {"running"}
    names = [one["name"] for one in status["processes"]]
    assert names[:5] == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "links"]
    assert {name for name in names if name.endswith("node-2")} == {"hub-node-2", "kubelet-node-2", "kube-proxy-node-2"}
    for process in status["processes"]:
        assert Path(f"/proc/{process['pid']}").exists()
        assert Path(process["log"]).exists()
    assert [node["ready"] for node in status["nodes"]] == [True, True]
    assert sum(node["pods"]["running"] for node in status["nodes"]) == 3
    for node in status["nodes"]:
        assert node["hub"]["ready"]
        assert node["hub"]["streams"] > 5
    for link in status["links"]:
        assert link["state"] == "up"
        assert min(link["bytes"].values()) > 1000
    assert "node-2" in yurt.ok("status")


def test_every_hub_has_a_docs_page(yurt: Yurt) -> None:
    for process in yurt.status()["processes"]:
        if process["docs"]:
            with urllib.request.urlopen(process["docs"], timeout=20) as page:  # noqa: S310  an address of our own
                assert b"swagger" in page.read().lower()


def test_get_asks_the_cloud_or_a_hub_as_an_ordinary_account(yurt: Yurt) -> None:
    for via in ([], ["--via", "node-2"]):
        assert yurt.ok("get", "pods", "-n", "demo", "--no-headers", *via).count(" Running ") == 3
        assert "system:serviceaccount:demo:yurt-demo" in yurt.ok("kubectl", *via, "auth", "whoami")
        refused = yurt("get", "secrets", "-A", *via)
        assert refused.returncode == 1
        assert "cannot list resource" in refused.stderr
    written = ["create", "configmap", "up-test", "--from-literal=a=b", "-o", "name"]
    assert yurt.ok("kubectl", "--via", "node-1", "-n", "demo", *written) == "configmap/up-test\n"
    assert (yurt.state / "kubectl-cache" / "discovery").is_dir()
    assert yurt.ok("get", "cm", "up-test", "-n", "demo", "-o", "jsonpath={.data.a}") == "b"


def test_a_kubeconfig_is_its_owners_alone_and_works_by_itself(yurt: Yurt) -> None:
    path = Path(yurt.ok("kubeconfig", "node-1").strip())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yurt.ok("kubeconfig", "node-1", "--raw") == path.read_text() + "\n"
    assert json.loads(path.read_text())["clusters"][0]["cluster"]["server"] != yurt.status()["cloud"]["server"]
    unknown = yurt("kubeconfig", "node-9")
    assert unknown.returncode == 3
    assert "node-1, node-2" in unknown.stderr


def test_a_token_that_ends_soon_is_replaced(yurt: Yurt) -> None:
    before = yurt.ok("kubeconfig", "--raw")
    assert yurt.ok("kubeconfig", "--raw") == before
    (yurt.state / "kubeconfigs" / ".expires.json").write_text('{"expires": "2026-01-01T00:00:00Z"}')
    assert yurt.ok("kubeconfig", "--raw") != before
    assert yurt.ok("get", "nodes", "--via", "node-1")


def test_a_cut_link_carries_nothing_and_a_healed_one_everything(yurt: Yurt) -> None:
    """`cut` meets the node that it names; the other nodes and the cloud go on; `heal` brings it back."""
    assert yurt.ok("cut", "node-1") == "hub-node-1 blackhole\n"
    states = {link["name"]: link["state"] for link in yurt.status()["links"]}
    assert states == {"hub-node-1": "blackhole", "hub-node-2": "up"}
    assert yurt("get", "nodes", "--via", "node-1", "--request-timeout=3s").returncode == 1
    assert "node-1" in yurt.ok("get", "nodes", "--via", "node-2")

    def down() -> bool:
        hub = next(node["hub"] for node in yurt.status()["nodes"] if node["name"] == "node-1")
        return hub is not None and any(link["state"] == "down" for link in hub["servers"])

    until(down, "the hub of the cut node sees that its link is down")
    was = {link["name"]: link["bytes"] for link in yurt.status()["links"]}
    assert {link["name"]: link["bytes"] for link in yurt.status()["links"]}["hub-node-1"] == was["hub-node-1"]
    assert yurt.ok("heal") == "hub-node-1 up\nhub-node-2 up\n"
    until(lambda: not down(), "the hub of the healed node has the cloud again")
    assert "node-1" in yurt.ok("get", "nodes", "--via", "node-1")
    until(lambda: all(node["ready"] for node in yurt.status()["nodes"]), "every node is Ready after the heal")


def test_a_bad_link_still_serves(yurt: Yurt) -> None:
    yurt.ok("cut", "local", "--how", "delay", "--ms", "20")
    yurt.ok("cut", "local/node-2", "--how", "rate", "--rate", "200000")
    states = [link["state"] for link in yurt.status()["links"]]
    assert states == ["delay 20 ms", "delay 20 ms, rate 200000 B/s"]
    for node in ("node-1", "node-2"):
        assert "Ready" in yurt.ok("get", "nodes", "--via", node)
    yurt.ok("heal", "local")
    assert [link["state"] for link in yurt.status()["links"]] == ["up", "up"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cut", "pool-9"], 3, "there are: hub-node-1, hub-node-2, local, node-1, node-2"),
        (["cut", "--how", "delay"], 2, "delay needs ms"),
        (["cut", "--rate", "5"], 2, "no meaning for blackhole"),
        (["logs", "nobody"], 3, "there are: etcd"),
        (["get", "pods", "--via", "node-9"], 3, "there are: node-1, node-2"),
        (["up"], 2, "runs in"),
        (["up", "--detach"], 2, "runs in"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(yurt: Yurt, arguments: list[str], code: int, words: str) -> None:
    done = yurt(*arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert {link["state"] for link in yurt.status()["links"]} == {"up"}


@pytest.mark.parametrize("name", ["hub-node-1", "kubelet-node-1", "links", "kube-apiserver"])
def test_a_killed_process_is_started_again_and_the_node_goes_on(yurt: Yurt, name: str) -> None:
    """What dies comes back on the same ports; status counts it and the log names it."""
    before = yurt.process(name)
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: yurt.process(name)["restarts"] == before["restarts"] + 1, f"{name} is started again")
    after = yurt.process(name)
    assert after["pid"] != before["pid"]
    assert after["addresses"] == before["addresses"]
    assert f"{name} was ended by SIGKILL" in yurt.ok("logs", "supervisor", "-n", "100")

    def well() -> bool:
        status = yurt.status()
        return not status["problems"] and all(node["ready"] and node["hub"]["ready"] for node in status["nodes"])

    until(well, f"the site is well after {name} was killed")
    assert "node-1" in yurt.ok("get", "nodes", "--via", "node-1")


def test_logs_show_one_or_all_and_follow(yurt: Yurt) -> None:
    assert len(yurt.ok("logs", "hub-node-1", "-n", "3").splitlines()) == 3
    everybody = yurt.ok("logs", "-n", "1")
    assert re.search(r"^hub-node-2 +\| ", everybody, re.MULTILINE)
    with yurt.popen("logs", "hub-node-2", "-f", "-n", "0") as follower:
        assert follower.stdout is not None
        # a link that goes and comes is worth a line of the hub's log
        until(lambda: _cut_and_heal(yurt, follower), "the hub's log goes on")
        assert "event" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        follower.communicate()
    assert follower.returncode == 130


def _cut_and_heal(yurt: Yurt, follower: subprocess.Popen[str]) -> bool:
    yurt.ok("cut", "node-2", "--how", "reset")
    yurt("get", "nodes", "--via", "node-2", "--request-timeout=3s")
    yurt.ok("heal")
    return bool(select.select([follower.stdout], [], [], 1)[0])


def test_down_leaves_no_process_port_or_folder(binaries: Path, tmp_path: Path) -> None:
    yurt = Yurt(tmp_path / "s", binaries)
    yurt.ok("up", "--detach")
    status = yurt.status()
    pids = [one["pid"] for one in status["processes"]] + [status["supervisor"]["pid"]]
    open_ports = [port for port in ports(status) if listens(port)]
    assert len(open_ports) >= 5
    yurt.ok("down")
    assert [pid for pid in pids if alive(pid)] == []
    assert yurt.own() == {}
    assert [port for port in open_ports if listens(port)] == []
    assert list(tmp_path.iterdir()) == []
    again = yurt("down")
    assert again.returncode == 3
    assert "nothing to end" in again.stderr


def test_ctrl_c_ends_a_site_in_the_foreground(binaries: Path, tmp_path: Path) -> None:
    yurt = Yurt(tmp_path / "s", binaries)
    with yurt.popen("up", f"--state={yurt.state}") as up:
        assert up.stdout is not None
        until(lambda: "Try:" in up.stdout.readline(), "the summary is printed")  # type: ignore[union-attr]
        assert len(yurt.own()) >= 8
        up.send_signal(signal.SIGINT)
        up.communicate()
    assert up.returncode == 0
    assert yurt.own() == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["starting the control plane", "starting links and nodes"])
def test_a_stop_while_it_starts_leaves_nothing(binaries: Path, tmp_path: Path, step: str) -> None:
    yurt = Yurt(tmp_path / "s", binaries)
    record = yurt.state / "site.json"
    with yurt.popen("up", f"--state={yurt.state}") as up:
        until(lambda: record.exists() and step in record.read_text(), f"it is {step}")
        up.send_signal(signal.SIGTERM)
        up.communicate()
    assert up.returncode == 0
    assert yurt.own() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_killed_supervisor_takes_its_processes_along(binaries: Path, tmp_path: Path) -> None:
    """After SIGKILL nothing runs on unseen; status says so, and `down` removes the rest."""
    yurt = Yurt(tmp_path / "s", binaries)
    yurt.ok("up", "--detach")
    os.kill(yurt.status()["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: not yurt.own(), "the supervisor's processes end with it")
    status = yurt.status()
    assert status["phase"] == "dead"
    assert {one["state"] for one in status["processes"]} == {"ended"}
    assert yurt("heal").returncode == 4
    yurt.ok("down")
    assert list(tmp_path.iterdir()) == []
