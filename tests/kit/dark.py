"""The cloud taken away from a hub and given back, and kubectl as a person finds it: with an empty cache folder."""

import asyncio
import itertools
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kit.hub import Site, ask, request, until
from kit.pump import Got
from yurtcore.adapters.kube import KubeClient
from yurtcore.wire.names import HUB_CONFIGMAP, SYSTEM_NAMESPACE
from yurtsim.controlplane import ControlPlane
from yurtsim.pki import Pair
from yurtsim.processes import Child

CONFIG: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/configmaps/{HUB_CONFIGMAP}"
_AGE = re.compile(r"\b(?:\d+[dhms])+\b|<unknown>")
_MOVES = re.compile(r"^(\s*(?:RenewTime|AcquireTime):).*$", re.MULTILINE)
_BLANKS = re.compile(r" {2,}")


async def cut(site: Site) -> None:
    """Let nothing through any more, and wait until the hub has noticed."""
    after = len(site.hub.lines())
    await site.link.cut()
    await site.hub.said("link.changed", after=after, now="down")


async def heal(site: Site) -> None:
    """Let everything through, and wait until the hub has noticed."""
    after = len(site.hub.lines())
    await site.link.heal()
    await site.hub.said("link.changed", after=after, now="up")


async def start_again(site: Site) -> None:
    """Kill the hub (SIGKILL) and start it; it answers on its ports when this returns."""
    site.hub.child.kill()
    after = len(site.hub.lines())
    await site.hub.child.start()
    await site.hub.said("hub.started", after=after)


async def keep_answers_of(kube: KubeClient, site: Site, *agents: str) -> None:
    """Name agents in `yurt-hub-cfg`, `*` for everyone, and wait until this hub has taken note of them."""
    data = {"cache_agents": ", ".join(agents)}
    await kube.apply(
        CONFIG,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": HUB_CONFIGMAP}, "data": data},
        "yurt-test",
    )
    names = set(agents) - {"*"}

    def noted() -> bool:
        told = [line for line in site.hub.lines() if line.get("event") == "agents.changed"]
        return bool(told) and names <= set(told[-1]["names"]) and told[-1]["everyone"] == ("*" in agents)

    await until(noted, f"the hub keeps the answers of {agents}")


@dataclass(frozen=True)
class Said:
    """What kubectl printed, and its exit code."""

    code: int
    out: str
    err: str


class Kubectl:
    """kubectl with one kubeconfig; each call gets a cache folder that did not exist before, unless it names one."""

    def __init__(self, cloud: ControlPlane, config: Path, caches: Path) -> None:
        self._cloud, self._config, self._caches = cloud, config, caches
        self._number = itertools.count()

    def command(self, *args: str, cache: str | None = None) -> list[str]:
        """Return the command line."""
        folder = self._caches / (cache or f"{self._config.name}-{next(self._number)}")
        return [
            str(self._cloud.binaries / "kubectl"),
            f"--kubeconfig={self._config}",
            f"--cache-dir={folder}",
            "--request-timeout=30s",
            *args,
        ]

    async def __call__(self, *args: str, cache: str | None = None) -> Said:
        process = await asyncio.create_subprocess_exec(
            *self.command(*args, cache=cache),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(90):
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def out(self, *args: str, cache: str | None = None) -> str:
        """Return what it printed; the test fails with its words if it fails."""
        said = await self(*args, cache=cache)
        assert said.code == 0, said.err
        return said.out

    def watching(self, *args: str, log: Path) -> "Watching":
        """Return `kubectl get ARGS -w`, not yet started, whose events stand in `log`."""
        command = self.command("get", *args, "-w", "--output-watch-events", "--no-headers")
        command.remove("--request-timeout=30s")
        return Watching(f"kubectl get -w {' '.join(args)}", command, log=log)


class Watching(Child):
    """A kubectl that watches."""

    def events(self) -> list[tuple[str, str]]:
        """Return type and name of each event so far, of objects in one namespace."""
        rows = [line.split() for line in self.log.read_text().splitlines() if not line.startswith("Warning:")]
        return [(row[0], row[1]) for row in rows]


def table(text: str) -> list[list[str]]:
    """Return the cells of tables, without those under AGE."""
    rows: list[list[str]] = []
    age: int | None = None
    for line in text.splitlines():
        if row := _BLANKS.split(line.rstrip()):
            if "NAME" in row:
                age = row.index("AGE") if "AGE" in row else None
            rows.append([cell for at, cell in enumerate(row) if at != age])
    return rows


def ageless(text: str) -> str:
    """Return what `describe` printed without what time alone changes."""
    return _BLANKS.sub("  ", _MOVES.sub(r"\1", _AGE.sub("AGE", text)))


@dataclass(frozen=True)
class Reader:
    """A caller of a hub's TLS port, with a token or a certificate; each question on a connection of its own."""

    site: Site
    token: str | None = None
    pair: Pair | None = None
    agent: str = "coredns/1.12 (linux)"
    """Of those whose answers are kept without being named; an empty one sends no User-Agent."""

    async def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Got:
        """Return the answer."""
        sent = request(target, *headers, method=method, token=self.token, agent=self.agent, body=body)
        return await ask(await self.site.hub.secure(self.pair), sent.replace(b"User-Agent: \r\n", b""))

    async def read(self, target: str, *headers: str) -> dict[str, Any]:
        """Return the object of a 200."""
        got = await self.ask(target, *headers)
        assert got.status == 200, got.body
        found: dict[str, Any] = json.loads(got.body)
        return found

    async def names(self, target: str, *headers: str) -> list[str]:
        """Return the names in a list."""
        return [one["metadata"]["name"] for one in (await self.read(target, *headers))["items"]]

    async def refused(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> tuple[int, str]:
        """Return code and message of an answer that is a Status of its own code."""
        got = await self.ask(target, *headers, method=method, body=body)
        said = json.loads(got.body)
        assert (said["kind"], said["status"], said["code"]) == ("Status", "Failure", got.status), got.body
        return got.status, said["message"]

    def by(self, agent: str) -> "Reader":
        """Return the same caller under another User-Agent."""
        return replace(self, agent=agent)
