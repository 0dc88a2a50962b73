"""`yurt-hub fsck`: look at the store on disk of a hub that is stopped, and mend it if asked.

A hub mends its store by itself when it starts. This is for a person who wants to know before, or after something odd.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from yurtcore.errors import BadInput

from yurt_hub.adapters.disk.folder import DiskFolder
from yurt_hub.adapters.disk.opening import examined, repaired, reported, unsealed
from yurt_hub.adapters.disk.records import HEADER
from yurt_hub.adapters.disk.sealing import KEY, Sealer, given_key
from yurt_hub.adapters.disk.segment import LOG, NEXT, Bounds

CLEAN: Final = 0
DAMAGED: Final = 1
BAD_INPUT: Final = 2


@dataclass(frozen=True, slots=True)
class Place:
    """A bad stretch of the log and the keys that were lost with it."""

    at: int
    length: int
    what: str
    keys: tuple[str, ...]


@dataclass(slots=True)
class Finding:
    """What was found; sizes in bytes."""

    path: str
    verdict: str
    """`clean`; `torn`: a crash interrupted the last batch, and the hub goes on from the one before; `damaged`."""
    size: int
    live: int
    dead: int
    """Older values, dropped keys, commits."""
    torn: int
    records: int
    batches: int
    keys: int
    sealed: int
    sealed_checked: bool
    """Whether a key was given and each sealed value tried with it."""
    damaged: int
    nameless: int
    leftover: bool
    """An unfinished compaction is there; the hub removes it."""
    repaired: bool = False
    size_after: int | None = None
    trouble: str = ""
    """Why a repair did not work."""
    places: list[Place] = field(default_factory=list)


def fsck_main(argv: Sequence[str]) -> int:
    """Check the folder that the words name; 0 clean, 1 damage found (repaired or not), 2 wrong input."""
    try:
        asked = _parser().parse_args(argv)
        finding = check(
            asked.folder,
            key=given_key(asked.seal_key_file) if asked.seal_key_file else None,
            repair=asked.repair,
        )
    except BadInput as err:
        print(f"yurt-hub fsck: {err}", file=sys.stderr)  # noqa: T201 (for the person who asked)
        return BAD_INPUT
    shown = json.dumps(asdict(finding), indent=2) if asked.output == "json" else as_text(finding)
    print(shown)  # noqa: T201 (what was asked for)
    return CLEAN if finding.verdict == "clean" else DAMAGED


def check(path: Path, *, key: bytes | None = None, repair: bool = False) -> Finding:
    """Read the store in a folder, and with `repair` write it anew without what is damaged, torn or dead.

    With a `key`, sealed values that it does not open count as damage. Raises BadInput if there is no store, a hub uses
    it, or another program wrote it.
    """
    folder = DiskFolder.claim(path, make=False)
    try:
        names = folder.names()
        if LOG not in names:
            raise BadInput(f"there is no {LOG} in {path}; give the folder of --disk-cache-path")
        file = folder.open(LOG)
        found = examined(file)
        sealer = Sealer(key or bytes(KEY))
        if key is not None:
            unsealed(found, sealer)
        report = reported(found)
        finding = Finding(
            path=str(path / LOG),
            verdict="damaged" if report.damaged else "torn" if report.torn else "clean",
            size=report.size,
            live=report.live,
            dead=max(0, found.end - HEADER - report.live),
            torn=report.torn,
            records=report.records,
            batches=report.batches,
            keys=report.keys,
            sealed=report.sealed,
            sealed_checked=key is not None,
            damaged=report.damaged,
            nameless=report.nameless,
            leftover=NEXT in names,
            places=[Place(it.at, it.length, it.what, it.keys) for it in report.damages],
        )
        if repair:
            bounds = Bounds(quota=4 * (report.size + 1024 * 1024), compact_above=0, group=1024 * 1024)
            segment = repaired(folder, file, found, sealer, bounds, report, whole=True)
            finding.repaired, finding.trouble = report.repaired, report.trouble
            if segment is not None:
                finding.size_after = segment.file.size()
                segment.file.close()
        else:
            file.close()
    finally:
        folder.close()
    return finding


def as_text(finding: Finding) -> str:
    """Show the finding to a person."""
    checked = "all tried with the key" if finding.sealed_checked else "not tried: no --seal-key-file"
    lines = [
        f"{finding.path}: {finding.verdict}",
        f"  size     {finding.size} bytes: {finding.live} live, {finding.dead} dead, {finding.torn} torn",
        f"  records  {finding.records} in {finding.batches} batches; {finding.keys} keys",
        f"  sealed   {finding.sealed} ({checked})",
    ]
    for place in finding.places:
        keys = ", ".join(map(ascii, place.keys[:5])) + (f" and {len(place.keys) - 5} more" if place.keys[5:] else "")
        lines.append(f"  damage   at {place.at}, {place.length} bytes: {place.what}{': ' + keys if keys else ''}")
    if finding.damaged > len(finding.places):
        lines.append(f"  damage   {finding.damaged - len(finding.places)} more places")
    if finding.torn:
        lines.append("  torn     a crash interrupted the last batch; the hub goes on from the one before")
    if finding.leftover:
        lines.append("  leftover an unfinished compaction; the hub removes it")
    if finding.repaired:
        lines.append(f"  repaired {finding.size_after} bytes now")
    elif finding.trouble:
        lines.append(f"  not repaired: {finding.trouble}")
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; see yurt-hub fsck --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="yurt-hub fsck", description="Check the store on disk of a hub that is stopped.")
    parser.add_argument("folder", type=Path, help="the store's folder (--disk-cache-path of the hub)")
    parser.add_argument(
        "--repair", action="store_true", help="write the store anew: without damage, torn end, dead bytes"
    )
    parser.add_argument("--seal-key-file", type=Path, help="try the sealed values with this key")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="how to show what was found")
    return parser
