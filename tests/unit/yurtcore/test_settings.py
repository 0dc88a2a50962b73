"""Settings come from four layers, and every mistake is one line."""

import tomllib
from enum import Enum
from pathlib import Path
from typing import Annotated, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, ValidationError, model_validator
from yurtcore.errors import BadInput
from yurtcore.serve.settings import Duration, Flag, Settings, load, parse


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Link(Settings):
    """How hard we hold on to a server."""

    probe_every: Duration = 2.0
    """Seconds between
    probes of one server."""
    misses: int = Field(default=2, ge=1)


class Program(Settings):
    """A program for these tests."""

    node_name: str
    """Name of the node."""
    servers: Annotated[tuple[str, ...], Flag("server-addr")] = ()
    port: int = Field(default=10267, ge=0, le=65535)
    chatty: bool = False
    colour: Colour = Colour.RED
    grace: Annotated[Duration, Flag("kubelet-health-grace-period")] = 40.0
    limit: Duration | None = None
    token: SecretStr = SecretStr("")
    link: Link = Link()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.port == 1 and self.chatty:
            raise ValueError("--chatty does not go with --port=1")
        return self


NOT_AN_INTEGER = "input should be a valid integer, unable to parse string as an integer"
FOREIGN = {"enable-iptables": "it has had no effect since OpenYurt 1.7; leave it out"}


def read(*argv: str, environ: dict[str, str] | None = None) -> Program:
    return parse(Program, argv, env_prefix="YURT_T", prog="t", foreign=FOREIGN, environ=environ or {})[0]


def wrong(*argv: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        read(*argv, environ=environ)
    assert "\n" not in caught.value.why
    return caught.value.why


def test_defaults_hold_where_nothing_is_given() -> None:
    assert read("--node-name=n") == Program(node_name="n")


def test_each_layer_wins_over_the_one_below(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('node-name = "file"\nport = 1\nchatty = false\nlink.misses = 5\n')
    environ = {"YURT_T_CONFIG": str(file), "YURT_T_PORT": "2", "YURT_T_NODE_NAME": "environment"}
    found = read("--node-name=flag", environ=environ)
    assert (found.node_name, found.port, found.link.misses) == ("flag", 2, 5)


@pytest.mark.parametrize(
    "text",
    [
        'node-name = "n"\nlink-probe-every = "3s"',
        'node_name = "n"\n[link]\nprobe_every = "3s"',
        'node-name = "n"\n[link]\nprobe-every = 3',
    ],
)
def test_a_file_may_use_flag_names_or_field_names_and_tables(tmp_path: Path, text: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(text)
    assert read("--config", str(file)).link.probe_every == 3.0


def test_flags_take_their_value_in_both_ways_and_switches_take_none() -> None:
    found = read("--node-name", "n", "--port=7", "--chatty", "--colour", "blue", "--limit", "1m")
    assert (found.node_name, found.port, found.chatty, found.colour, found.limit) == ("n", 7, True, Colour.BLUE, 60.0)
    assert read("--node-name=n", "--chatty", "--chatty=false").chatty is False


def test_a_value_may_begin_with_dashes() -> None:
    assert read("--node-name", "--odd").node_name == "--odd"


def test_a_list_is_comma_separated_and_its_flag_may_be_repeated() -> None:
    assert read("--node-name=n", "--server-addr", "a, b", "--server-addr=c").servers == ("a", "b", "c")
    assert read("--node-name=n", environ={"YURT_T_SERVER_ADDR": "a,b"}).servers == ("a", "b")


def test_durations_are_written_as_go_writes_them() -> None:
    environ = {"YURT_T_LINK__PROBE_EVERY": "1m30s"}
    found = read("--node-name=n", "--kubelet-health-grace-period=500ms", environ=environ)
    assert (found.grace, found.link.probe_every) == (0.5, 90.0)


def test_words_after_two_dashes_are_the_rest() -> None:
    found, rest = parse(Program, ["--node-name=n", "--", "--x", "y"], env_prefix="YURT_T_", prog="t", environ={})
    assert (found.node_name, rest) == ("n", ["--x", "y"])


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        ([], "--node-name is required; give it, or set YURT_T_NODE_NAME"),
        (["--node-name"], "--node-name needs a value: --node-name=VALUE"),
        (["--node-nam=x"], "--node-nam is not known; did you mean --node-name?"),
        (["--xyzzy"], "--xyzzy is not known; see --help"),
        (["-v=4"], "-v is not known; flags begin with two dashes, see --help"),
        (["n"], "'n' is not expected here; flags begin with --, a switch is set by --flag=false"),
        (["--enable-iptables=false"], f"--enable-iptables is not supported: {FOREIGN['enable-iptables']}"),
        (["--node-name=n", "--colour=green"], "--colour=\"green\": input should be 'red' or 'blue'"),
        (["--node-name=n", "--port=1", "--chatty"], "--chatty does not go with --port=1"),
        (["--node-name=n", "--link-misses=0"], '--link-misses="0": input should be greater than or equal to 1'),
        (
            ["--node-name=n", "--link-probe-every=3"],
            "--link-probe-every=\"3\": '3' is not a duration; write it like 40s, 1m30s or 500ms",
        ),
        (["--config=/nowhere/t.toml"], "cannot read --config /nowhere/t.toml: No such file or directory"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(argv: list[str], why: str) -> None:
    assert wrong(*argv) == why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nodename = 1", "nodename in {} is not known; did you mean node-name?"),
        ("[link]\nq = 1", "link.q in {} is not known; remove it"),
        ("enable-iptables = true", "enable-iptables in {} is not supported: " + FOREIGN["enable-iptables"]),
        ('port = "x"\nnode-name = "n"', f'--port="x": {NOT_AN_INTEGER} (from file {{}})'),
    ],
)
def test_a_wrong_key_or_value_in_the_file_is_told_with_the_file(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(text)
    assert wrong("--config", str(file)) == why.format(file)


def test_a_file_that_is_not_toml_is_told_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("node-name: n\n")
    assert wrong("--config", str(file)).startswith(f"{file} is not a TOML file: ")


def test_a_wrong_variable_is_told_with_its_name() -> None:
    assert wrong("--node-name=n", environ={"YURT_T_PORTT": "1"}) == (
        "environment variable YURT_T_PORTT is not known; did you mean port?"
    )
    assert wrong("--node-name=n", environ={"YURT_T_PORT": "70000"}) == (
        '--port="70000": input should be less than or equal to 65535 (from environment YURT_T_PORT)'
    )
    assert wrong("--node-name=n", environ={"YURT_T_LINK_MISSES": "3"}) == (
        "environment variable YURT_T_LINK_MISSES is not known; did you mean YURT_T_LINK__MISSES?"
    )


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_ours() -> None:
    environ = {
        "YURT_T_SERVICE_HOST": "10.0.0.1",
        "YURT_T_SERVICE_PORT_HTTP": "80",
        "YURT_T_PORT_80_TCP_ADDR": "10.0.0.1",
        "YURT_TX": "1",
        "PATH": "/bin",
    }
    assert read("--node-name=n", environ=environ) == Program(node_name="n")


def test_several_mistakes_are_counted_and_the_first_is_told() -> None:
    assert wrong("--port=x", "--link-misses=y") == (
        "--node-name is required; give it, or set YURT_T_NODE_NAME (and 2 more)"
    )


def test_a_secret_is_never_shown_in_a_message_or_a_listing(capsys: pytest.CaptureFixture[str]) -> None:
    class Strict(Settings):
        token: SecretStr = Field(default=SecretStr(""), max_length=3)

    with pytest.raises(SystemExit):
        load(Strict, ["--token=hunter2"], env_prefix="S", prog="s", environ={})
    with pytest.raises(SystemExit):
        load(Program, ["--node-name=n", "--token=hunter2", "--print-config"], env_prefix="S", prog="s", environ={})
    out, err = capsys.readouterr()
    assert "hunter2" not in out + err
    assert '"********"' in out


def test_a_wrong_input_ends_the_program_with_code_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(Program, ["--port=x"], env_prefix="YURT_T", prog="yurt-t", environ={})
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err == "yurt-t: --node-name is required; give it, or set YURT_T_NODE_NAME (and 1 more)\n"


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--version"], ["--node-name=n", "--print-config"]])
def test_asking_ends_the_program_with_code_0(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(Program, argv, env_prefix="YURT_T", prog="yurt-t", environ={})
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (0, "")
    assert out.strip()


def test_help_lists_every_flag_with_default_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(Program, ["--help"], env_prefix="YURT_T", prog="yurt-t", environ={})
    out, _ = capsys.readouterr()
    assert "  --node-name VALUE  (required)\n        Name of the node.\n" in out
    assert '  --link-probe-every DURATION  (default "2s")\n        Seconds between probes of one server.\n' in out
    assert "  --chatty  (default false)\n" in out


def test_the_printed_config_names_origins_and_is_a_config_file_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.toml"
    file.write_text("port = 7\n")
    argv = [f"--config={file}", "--server-addr=https://a:1,https://b:2", "--colour=blue"]
    environ = {"YURT_T_NODE_NAME": 'é"\n'}
    with pytest.raises(SystemExit):
        load(Program, [*argv, "--print-config"], env_prefix="YURT_T", prog="t", environ=environ)
    out, _ = capsys.readouterr()
    origins = {line.split(" ")[0]: line.rpartition("# ")[2] for line in out.splitlines() if not line.startswith("#")}
    assert origins["port"] == f"file {file}"
    assert origins["node-name"] == "environment YURT_T_NODE_NAME"
    assert origins["server-addr"] == "flag --server-addr"
    assert origins["link-misses"] == "default"
    again = tmp_path / "again.toml"
    again.write_text("\n".join(line for line in out.splitlines() if not line.startswith("token")))
    assert read("--config", str(again)) == parse(Program, argv, env_prefix="YURT_T", prog="t", environ=environ)[0]
    assert tomllib.loads(out)["token"] == "********"


def test_settings_are_frozen() -> None:
    found = read("--node-name=n")
    with pytest.raises(ValidationError, match="frozen"):
        found.port = 1


@given(
    st.lists(
        st.text(max_size=8) | st.sampled_from(["--port", "--chatty", "--config", "--node-name=n", "--", "--=", "-"]),
        max_size=6,
    )
)
def test_any_command_line_is_read_or_refused_in_one_line(argv: list[str]) -> None:
    try:
        read(*argv)
    except BadInput as err:
        assert err.why  # noqa: PT017  all three outcomes are right
        assert "\n" not in err.why  # noqa: PT017
    except SystemExit as end:
        assert end.code == 0  # noqa: PT017
