"""Flags: the reference's names, its rules, and one line for what is wrong."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.settings import FOREIGN, HubSettings
from yurtcore.errors import BadInput
from yurtcore.serve.settings import parse
from yurtcore.serve.settings.model import leaves

GOOD = ("--node-name=n1", "--server-addr=https://10.0.0.1:6443")


def read(*flags: str, good: bool = True) -> HubSettings:
    argv = [*(GOOD[: 1 if flags and flags[0].startswith("--server-addr") else 2] if good else ()), *flags]
    return parse(HubSettings, argv, env_prefix="YURT_HUB", prog="yurt-hub", foreign=FOREIGN, environ={})[0]


def wrong(*flags: str, good: bool = True) -> str:
    with pytest.raises(BadInput) as told:
        read(*flags, good=good)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_two_flags_are_enough() -> None:
    """Everything else has the reference's default, or the kubelet's own files."""
    cfg = read()
    assert cfg.server_addr == ("https://10.0.0.1:6443",)
    assert (cfg.working_mode, cfg.link.lb_mode, cfg.listen.admin, cfg.listen.proxy) == (
        "edge",
        "rr",
        "127.0.0.1",
        "127.0.0.1",
    )
    assert (cfg.listen.admin_port, cfg.listen.proxy_port, cfg.listen.secure_port) == (10267, 10261, 10268)
    assert cfg.files.client_key == cfg.files.cert
    assert cfg.files.serving_pair is None


def test_hub_001_node_name_and_server_addr_are_required() -> None:
    """The node's name is asked for first, as in the reference."""
    assert "--node-name is required" in wrong(good=False)
    assert "--node-name is required" in wrong("--server-addr=https://a", good=False)
    assert "node name is empty" in wrong("--node-name=", "--server-addr=https://a", good=False)
    assert "--server-addr is required" in wrong("--node-name=n1", good=False)
    assert "no API server" in wrong("--node-name=n1", "--server-addr=", good=False)


def test_hub_002_unknown_modes_are_refused() -> None:
    assert "--working-mode" in wrong("--working-mode=foo")
    assert "edge or cloud" in wrong("--working-mode=foo")
    assert "edge" in wrong("--working-mode=local")
    assert "--lb-mode" in wrong("--lb-mode=foo")
    assert "--bootstrap-mode" in wrong("--bootstrap-mode=token")


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("https://a", ("https://a:443",)),
        ("https://a:6443/", ("https://a:6443",)),
        ("https://[fd00::1]:6443", ("https://[fd00::1]:6443",)),
        ("//a:6443", ("https://a:6443",)),
        ("https://a:1, https://b:2", ("https://a:1", "https://b:2")),
    ],
)
def test_api_servers_are_written_one_way(written: str, read_as: tuple[str, ...]) -> None:
    assert read(f"--server-addr={written}").server_addr == read_as


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1.2.3.4:6443", "write https://1.2.3.4:6443"),
        ("name:6443", "write https://name:6443"),
        ("http://a:80", "write https://a:80"),
        ("https://", "not of the form"),
        ("https://a:6443/api", "not of the form"),
        ("https://u:p@a:6443", "not of the form"),
        ("https://a?x=1", "not of the form"),
        ("https://a:99999", "no valid port"),
        ("https://a:x", "no valid port"),
        ("https://a,https://a:443", "twice"),
    ],
)
def test_a_wrong_api_server_is_told_with_what_to_write(written: str, hint: str) -> None:
    assert hint in wrong(f"--server-addr={written}")


@given(st.text(max_size=30))
def test_any_text_is_an_api_server_or_one_line(text: str) -> None:
    try:
        servers = read(f"--server-addr={text}").server_addr
    except BadInput as told:
        assert "\n" not in str(told)  # noqa: PT017 (either outcome is right)
    else:
        assert all(server.startswith("https://") and server.rpartition(":")[2].isdigit() for server in servers)


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--bind-address=10.0.0.1", "loopback"),
        ("--bind-address=0.0.0.0", "every address"),
        ("--bind-proxy-address=0.0.0.0", "every address"),
        ("--bind-proxy-address=::", "every address"),
        ("--bind-proxy-address=localhost", "not an IP address"),
        ("--proxy-port=70000", "--proxy-port"),
        ("--heartbeat-interval-seconds=0", "--heartbeat-interval-seconds"),
        ("--heartbeat-timeout-seconds=x", "--heartbeat-timeout-seconds"),
        ("--components=", "serve nobody"),
        ("--limits-memory=7", "--limits-memory"),
        ("--limits-memory=lots", "--limits-memory"),
        ("--limits-disk=15", "--limits-disk"),
        ("--limits-disk=65537", "--limits-disk"),
        ("--disk-cache=/x", "did you mean --disk-cache-path?"),
        ("--tls-private-key-file=/k", "--tls-cert-file"),
        ("--proxy-prot=1", "did you mean --proxy-port?"),
    ],
)
def test_a_wrong_value_is_told_with_its_flag(flag: str, hint: str) -> None:
    assert hint in wrong(flag)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_each_other_flag_of_the_reference_has_its_reason(name: str) -> None:
    assert wrong(f"--{name}=x") == f"--{name} is not supported: {FOREIGN[name]}"


def test_a_pair_may_share_one_file() -> None:
    files = read("--tls-cert-file=/a.pem").files
    assert files.serving_pair is not None
    assert files.serving_pair[0] == files.serving_pair[1]


def test_link_flags_reach_the_policy() -> None:
    policy = read(
        "--lb-mode=priority",
        "--heartbeat-interval-seconds=5",
        "--heartbeat-timeout-seconds=1",
        "--heartbeat-healthy-threshold=3",
        "--heartbeat-failed-retry=4",
    ).link.policy()
    assert (policy.mode, policy.interval, policy.timeout, policy.healthy_threshold, policy.misses_to_down) == (
        "priority",
        5.0,
        1.0,
        3,
        4,
    )


def test_the_store_is_in_the_state_folder_within_bounds_unless_told_otherwise() -> None:
    cfg = read()
    assert (cfg.disk_cache_path, cfg.limits.memory, cfg.limits.disk) == (None, 64, 512)
    cfg = read("--disk-cache-path=/mnt/cache", "--limits-memory=32", "--limits-disk=128")
    assert (str(cfg.disk_cache_path), cfg.limits.memory, cfg.limits.disk) == ("/mnt/cache", 32, 128)


def test_print_config_tells_where_the_bounds_of_the_store_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*GOOD, "--limits-memory=32", "--print-config"]
    with pytest.raises(SystemExit) as end:
        parse(HubSettings, argv, env_prefix="YURT_HUB", prog="h", environ={"YURT_HUB_LIMITS__DISK": "64"})
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert not end.value.code
    assert "limits-memory = 32 # flag --limits-memory" in told
    assert "limits-disk = 64 # environment YURT_HUB_LIMITS__DISK" in told
    assert "# disk-cache-path is not set # default" in told


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_flag_that_is_offered_instead_exists(name: str) -> None:
    flags = {leaf.flag for leaf in leaves(HubSettings)}
    assert name not in flags
    assert set(re.findall(r"--([a-z-]+)", FOREIGN[name])) <= flags
