"""The site's facts as a table for people."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

WIDTH = 200
"""Columns where no terminal says how many there are: lines for grep, not for eyes."""
_GOOD = {"running", "ready", "up", "Ready"}
_BAD = {"ended", "failed", "dead", "NotReady", "blackhole", "reset"}


def size(count: int) -> str:
    """Bytes in words: 999 B, 1.2 KB, 3.4 MB."""
    value = float(count)
    units = ["B", "KB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" or value >= 99.5 else f"{value:.1f} {units[0]}"


def table(facts: dict[str, Any]) -> Group:
    """Everything that `facts.gather` found."""
    parts: list[RenderableType] = [_head(facts), _processes(facts["processes"])]
    if facts["nodes"]:
        parts += [Text(), _nodes(facts["nodes"])]
    if facts["links"] is not None:
        parts += [Text(), _links(facts["links"])]
    parts += [Text(f"! {line}", style="red") for line in facts["problems"]]
    return Group(*parts)


def _head(facts: dict[str, Any]) -> Text:
    pid = facts["supervisor"]["pid"] if facts["supervisor"]["running"] else None
    text = Text.assemble("site ", _word(facts["phase"]), f" in {facts['state']}")
    if pid:
        text.append(f", supervisor {pid}")
    if facts["error"]:
        text.append(f"\n{facts['error']}", style="red")
    return text


def _processes(processes: list[dict[str, Any]]) -> Table:
    out = _plain("PROCESS", "PID", "STATE", "ADDRESSES")
    for one in processes:
        places = one["addresses"] | ({"docs": one["docs"]} if one["docs"] else {})
        state = _word(one["state"])
        if one["restarts"]:
            state.append(f", restarts: {one['restarts']}", style="yellow")
        words = "\n".join(f"{what} {where}" for what, where in places.items())
        out.add_row(one["name"], str(one["pid"] or "-"), state, words)
    return out


def _nodes(nodes: list[dict[str, Any]]) -> Table:
    out = _plain("NODE", "POOL", "STATE", "PODS", "HUB", "UPSTREAM")
    for one in nodes:
        state = {True: "Ready", False: "NotReady", None: "unknown"}[one["ready"]]
        pods = f"{one['pods']['running']}/{one['pods']['all']} running" if one["pods"] else "unknown"
        hub = one["hub"]
        lit = "no answer" if hub is None else "ready" if hub["ready"] else "not ready"
        upstream = _upstream(hub) if hub else ""
        out.add_row(one["name"], one["pool"], _word(state), pods, _word(lit), upstream)
    return out


def _upstream(hub: dict[str, Any]) -> str:
    """What the hub thinks of its API servers, and what it holds open towards them."""
    servers = ", ".join(f"{one['state']} for {one['since']:.0f} s" for one in hub["servers"])
    return f"{servers}; {hub['connections']} connections, {hub['streams']} streams"


def _links(links: list[dict[str, Any]]) -> Table:
    out = _plain("LINK", "NODE", "POOL", "STATE", "UP", "DOWN", "HELD", "OPEN", "IN ALL")
    for one in links:
        passed = one["bytes"]
        out.add_row(
            one["name"],
            one["node"],
            one["pool"],
            _word(one["state"]),
            size(passed["up"]),
            size(passed["down"]),
            size(one["held"]),
            str(one["open"]),
            str(one["total"]),
        )
    return out


def _plain(*heads: str) -> Table:
    out = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for head in heads:
        out.add_column(head, overflow="fold", no_wrap=head not in {"ADDRESSES", "HUB", "UPSTREAM"})
    return out


def _word(word: str) -> Text:
    first = word.split(",", maxsplit=1)[0].split(" ", maxsplit=1)[0]
    return Text(word, style="green" if first in _GOOD else "red" if first in _BAD else "yellow")


def summary(site: Any, root: str, kubeconfig: str, *, took: float, detached: bool, default: bool) -> str:
    """What a person needs once the site is ready: addresses, kubeconfig, what to try."""
    count = len(site.nodes)
    lines = [f"Ready in {took:.0f} s: {count} node{'s' if count > 1 else ''}, pods running.", ""]
    lines.append(f"  cloud       {site.server}")
    lines += [f"  {node.name:<11} {node.control_url}/docs (hub)" for node in site.nodes]
    lines += [f"  kubeconfig  {kubeconfig} (its token holds for a day)", "", "Try:"]
    if not default:
        lines.append(f"  export YURT_STATE={root}")
    first = site.nodes[0].name
    tries = {
        "yurt get pods -A -o wide": "what runs where",
        f"yurt get nodes --via {first}": "the same cloud, through the node's hub",
        "yurt status": "every process, node and link",
        f"yurt cut {first}; yurt status; yurt heal": "a dead link, and a whole one",
        f"yurt logs hub-{first} -f": "what the hub says",
        "yurt down": "end it" if detached else "end it; so does Ctrl-C here",
    }
    return "\n".join(lines + [f"  {what:<42} {why}" for what, why in tries.items()])
