# ruff: noqa: PLC0415, FBT002  `yurt --help` must be quick, so commands import what they need; flags have typer's form
"""The `yurt` command line: what it takes, and which module does it. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from yurtcore.errors import BadInput, Missing, Retry, YurtError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from yurtsim.links import LinkControl

    from yurtctl.folder import Folder

app = typer.Typer(
    name="yurt",
    help="One Kubernetes cluster across a cloud and many edge sites: the local site, and what to do with it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
plane = typer.Typer(help="The programs of the local control plane.", no_args_is_help=True)
app.add_typer(plane, name="controlplane")

State = Annotated[
    Path | None,
    typer.Option(
        envvar="YURT_STATE", help="State folder of the site [default: $XDG_STATE_HOME/yurt].", show_default=False
    ),
]
Target = Annotated[str | None, typer.Argument(help="A pool, a node, pool/node or a link; everything by default.")]
Via = Annotated[str | None, typer.Option(metavar="NODE", help="Ask through this node's hub instead of the cloud.")]
Output = Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="Form of the answer.")]


def main() -> int:
    """Run the command line; errors are one line on stderr and an exit code: 2 input, 3 not found, 4 unreachable."""
    try:
        app()
    except YurtError as err:
        sys.stderr.write(f"yurt: {err}\n")
        return exit_code(err)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return 0


def exit_code(err: YurtError) -> int:
    """What a script may know of an error."""
    match err:
        case BadInput():
            return 2
        case Missing():
            return 3
        case Retry():
            return 4
        case _:
            return 1


def _folder(state: Path | None) -> Folder:
    from yurtctl.folder import Folder

    return Folder(state)


def _version(wanted: bool) -> None:  # noqa: FBT001  a callback of typer's form
    if wanted:
        typer.echo(f"yurt {version('yurtctl')}")
        raise typer.Exit


@app.callback()
def _options(
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    pass


@app.command()
def up(
    nodes: Annotated[int, typer.Option(min=1, max=50, help="How many nodes.")] = 1,
    nodes_kind: Annotated[
        Literal["hollow"], typer.Option(help="hollow: real kubelet and kube-proxy, stand-in containers.")
    ] = "hollow",
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once it is ready; end it by `yurt down`.")
    ] = False,
    state: State = None,
) -> None:
    """Start a local site: control plane, links, hubs and nodes; Ctrl-C ends it."""
    from yurtctl.begin import begin

    begin(_folder(state), nodes=nodes, nodes_kind=nodes_kind, detach=detach)


@app.command()
def down(state: State = None) -> None:
    """End the local site: no process, port or folder stays."""
    from yurtctl import detached

    detached.down(_folder(state))


@app.command()
def status(output: Output = "table", state: State = None) -> None:
    """Show every process, node and link of the local site."""
    import asyncio

    from yurtctl import facts

    found = asyncio.run(facts.gather(_folder(state)))
    if output == "json":
        typer.echo(json.dumps(found, indent=2))
        return
    from rich.console import Console

    from yurtctl import show

    width = None if sys.stdout.isatty() else show.WIDTH
    Console(highlight=False, width=width).print(show.table(found))


@app.command()
def cut(
    target: Target = None,
    how: Annotated[
        Literal["blackhole", "reset", "delay", "rate", "oneway"], typer.Option(help="What the link suffers.")
    ] = "blackhole",
    ms: Annotated[float | None, typer.Option(help="delay: milliseconds in each direction.")] = None,
    rate: Annotated[int | None, typer.Option(help="rate: bytes a second in each direction.")] = None,
    way: Annotated[Literal["up", "down"] | None, typer.Option(help="oneway: the direction that falls silent.")] = None,
    state: State = None,
) -> None:
    """Cut links to the cloud, or make them bad; delay and rate add up."""
    met = _steer(state, lambda links: links.cut(target, how, ms=ms, rate=rate, way=way))
    typer.echo("\n".join(f"{name} {how}" for name in met))


@app.command()
def heal(target: Target = None, state: State = None) -> None:
    """Make links whole."""
    met = _steer(state, lambda links: links.heal(target))
    typer.echo("\n".join(f"{name} up" for name in met))


@app.command()
def kubeconfig(
    node: Annotated[str | None, typer.Argument(help="Through this node's hub; the cloud by default.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print the file itself, not its path.")] = False,
    state: State = None,
) -> None:
    """Print the path of a kubeconfig whose token holds for half a day at least."""
    found = _kubeconfig(state, node)
    typer.echo(found.read_text() if raw else found)


@app.command(context_settings={"ignore_unknown_options": True})
def get(
    what: Annotated[list[str] | None, typer.Argument(help="What `kubectl get` takes.", metavar="...")] = None,
    via: Via = None,
    state: State = None,
) -> None:
    """Ask the cluster: `kubectl get`, at the cloud or through a node's hub."""
    _kubectl(state, via, ["get", *(what or [])])


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def kubectl(
    what: Annotated[list[str] | None, typer.Argument(help="kubectl's command line.", metavar="...")] = None,
    via: Via = None,
    state: State = None,
) -> None:
    """Run kubectl, at the cloud or through a node's hub; options of ours go before its command."""
    _kubectl(state, via, what or [])


@app.command()
def logs(
    process: Annotated[str | None, typer.Argument(help="As `yurt status` names it; all by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 20,
    state: State = None,
) -> None:
    """Show the logs of the site's processes."""
    from yurtctl import logs as those

    folder = _folder(state)
    chosen = those.choose(folder, process)
    width = max((len(name) for name in chosen), default=0) if process is None else 0

    def line(name: str, text: str) -> None:
        typer.echo(f"{name:<{width}} | {text}" if width else text)

    for name, log in chosen.items():
        for text in those.tail(log, lines):
            line(name, text)
    if follow:
        try:
            for name, text in those.follow(chosen, lambda: folder.running):
                line(name, text)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


@plane.command()
def path() -> None:
    """Print the folder of the control plane's programs."""
    from yurtsim.controlplane import known_path

    found = known_path()
    if found is None:
        raise Missing("no control plane yet: `yurt controlplane fetch` or `yurt controlplane build` brings one")
    typer.echo(found)


@plane.command()
def fetch() -> None:
    """Download the official release into the cache."""
    from yurtsim.controlplane import fetch as way

    typer.echo(way(_say))


@plane.command()
def build() -> None:
    """Build the programs with Go into the cache."""
    from yurtsim.controlplane import build as way

    typer.echo(way(_say))


def _steer(state: Path | None, wish: Callable[[LinkControl], Coroutine[Any, Any, list[str]]]) -> list[str]:
    """Tell the link process of the site that runs; the names of the links that heard it."""
    import asyncio

    from yurtsim.links import LinkControl

    folder = _folder(state)
    folder.read()
    return asyncio.run(wish(LinkControl(folder.links_socket)))


def _kubeconfig(state: Path | None, node: str | None) -> Path:
    import asyncio

    from yurtctl import access

    folder = _folder(state)
    return asyncio.run(access.fresh(folder, folder.read(), node))


def _kubectl(state: Path | None, via: str | None, arguments: list[str]) -> None:
    from yurtctl import kubectl as those

    those.become(_folder(state), _kubeconfig(state, via), arguments)


def _say(text: str) -> None:
    typer.echo(text, err=True)
