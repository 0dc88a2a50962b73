"""The link process: `python -m yurtsim.links --config FILE`.

The file (YAML or JSON) has `control`, the path of the control socket, and `links`, a list of what `Links.add` takes.
It is ready when the control socket answers, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import yaml
from yurtcore.errors import BadInput
from yurtcore.flow.stop import until_told

from yurtsim.links.control import Control
from yurtsim.links.links import Links


def read(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The control socket's path and the links to open first.

    Raises:
        BadInput: When the file cannot be read or says something else.
    """
    try:
        got = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as err:
        raise BadInput(f"cannot read {path}: {err}") from err
    if not isinstance(got, dict) or not isinstance(got.get("control"), str) or set(got) - {"control", "links"}:
        raise BadInput(f"{path} needs `control`, the path of a socket, and may have `links`; nothing else")
    links = got.get("links") or []
    if not isinstance(links, list) or not all(isinstance(one, dict) for one in links):
        raise BadInput(f"`links` in {path} is a list of objects with name, target, node, pool, listen")
    return Path(got["control"]), links


async def run(control: Path, wanted: list[dict[str, Any]]) -> None:
    """Carry traffic until a signal comes."""
    async with until_told(signal.SIGTERM, signal.SIGINT) as stop, Links() as links:
        for one in wanted:
            try:
                links.add(**one)
            except TypeError as err:
                raise BadInput(f"the link {one!r}: {err}") from err
        async with Control(links, control):
            await stop.wait()


def main(argv: list[str] | None = None) -> int:
    """Run the link process; exit code 2 and one line for bad input."""
    parser = argparse.ArgumentParser(prog="yurtsim.links", description="Links to the cloud that can be cut.")
    parser.add_argument("--config", type=Path, required=True, help="YAML or JSON: control, links")
    args = parser.parse_args(argv)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()
    try:
        asyncio.run(run(*read(args.config)))
    except BadInput as err:
        sys.stderr.write(f"yurtsim.links: {err}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
