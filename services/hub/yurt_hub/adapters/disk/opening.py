"""From a folder to a log that can be appended to: read, repair, clean up, and the report about it.

Repair never works on the log in place, but for cutting off what has no commit: damage is left behind by writing a new
log. On a disk that can't be written the log stays as it is, what is whole is served, and the writer tries again later.

The new log names what was given up, until the owner has taken note (`DiskLog.noted`): a crash right after a repair, or
a repair by a person, would otherwise leave a log that looks whole and lacks something.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yurtcore.errors import BadInput

from yurt_hub.adapters.disk.folder import File, Folder
from yurt_hub.adapters.disk.losses import LOST, note, read_note
from yurt_hub.adapters.disk.records import HEADER, Ident, Kind, UnknownVersionError
from yurt_hub.adapters.disk.rewrite import Rotten, TooBig, begun, compaction
from yurt_hub.adapters.disk.scan import Damage, Found, scan, text
from yurt_hub.adapters.disk.sealing import Sealer
from yurt_hub.adapters.disk.segment import LOG, NEXT, Batch, Bounds, Segment


@dataclass(slots=True)
class Report:
    """What a log held when it was read. Sizes in bytes."""

    size: int = 0
    records: int = 0
    batches: int = 0
    keys: int = 0
    sealed: int = 0
    live: int = 0
    torn: int = 0
    """Bytes at the end without a commit: a batch that a crash interrupted."""
    damaged: int = 0
    """Bad places, all of them; `damages` lists the first thousand."""
    nameless: int = 0
    """Lost records whose keys nobody knows: new ones, whose heads were hit."""
    damages: tuple[Damage, ...] = ()
    lost: frozenset[str] = frozenset()
    """Keys whose values were given up, now or by a repair that the owner has not taken note of; all of them."""
    seconds: float = 0.0
    repaired: bool = True
    """Whether the folder is in order now."""
    trouble: str = ""
    """Why it is not."""

    def tell(self, log: Any) -> None:
        """One line for the log of the process, if there is something to say."""
        if not (self.torn or self.damaged or self.trouble):
            return
        named = [f"{it.what} at {it.at} ({it.length} bytes): {', '.join(it.keys[:3])}" for it in self.damages[:5]]
        speak = log.warning if self.damaged or self.trouble else log.info
        speak(
            "disk.repaired" if self.repaired else "disk.unrepaired",
            torn=self.torn,
            damaged=self.damaged,
            places=named,
            lost=len(self.lost) + self.nameless,
            kept=self.keys,
            trouble=self.trouble,
        )


@dataclass(slots=True)
class Opened:
    """A log that was read: where to append (None or `unsure`: nowhere yet), its values, the report."""

    segment: Segment | None
    values: dict[str, bytes]
    report: Report


def opened(folder: Folder, sealer: Sealer, *, bounds: Bounds) -> Opened:
    """Read and repair; raises BadInput for a log of another format, or one that can't be opened."""
    began = time.perf_counter()
    try:
        names = folder.names()
        file = folder.open(LOG) if LOG in names else None
    except OSError as err:
        raise BadInput(f"cannot read the store on disk: {err.strerror or err}") from err
    found, report, values = Found(None, end=0), Report(), dict[str, bytes]()
    if file is not None:
        found = examined(file)
        values = unsealed(found, sealer)
        report = reported(found)
        values.pop(LOST, None)
    segment = repaired(folder, file, found, sealer, bounds, report)
    report.seconds = time.perf_counter() - began
    return Opened(segment, values, report)


def examined(file: File) -> Found:
    """Scan a log file; raises BadInput if another program wrote it, or it can't be read at all."""
    try:
        return scan(file, file.size())
    except UnknownVersionError as err:
        raise BadInput(f"{LOG} has {err}; use the program that wrote it, or move the file away to begin anew") from err
    except OSError as err:
        raise BadInput(f"cannot read {LOG}: {err.strerror or err}") from err


def unsealed(found: Found, sealer: Sealer) -> dict[str, bytes]:
    """The values; those that the key does not open are taken out of `found` and named there."""
    values: dict[str, bytes] = {}
    shut: list[bytes] = []
    for key, latest in found.latest.items():
        value = latest.value if latest.kind is Kind.PUT else sealer.unseal(key, latest.value)
        if value is None:
            shut.append(key)
            found.name(Damage(latest.at, latest.length, "sealed with another key", (text(key),)))
        else:
            values[text(key)] = value
    for key in shut:
        del found.latest[key]
    return values


def reported(found: Found) -> Report:
    """The report about a scan."""
    noted = found.latest.get(LOST.encode())
    earlier, nameless = read_note(noted.value) if noted is not None else (frozenset[str](), int(LOST in found.lost))
    return Report(
        size=found.size,
        records=found.records,
        batches=found.batches,
        keys=len(found.latest) - (noted is not None),
        sealed=sum(latest.kind is Kind.SEALED for latest in found.latest.values()),
        live=sum(latest.length for latest in found.latest.values()),
        torn=found.torn if found.ident else 0,
        damaged=found.damaged,
        nameless=found.nameless + nameless,
        damages=tuple(found.damages),
        lost=(earlier | found.lost) - {LOST},
    )


def repaired(
    folder: Folder,
    file: File | None,
    found: Found,
    sealer: Sealer,
    bounds: Bounds,
    report: Report,
    *,
    whole: bool = False,
) -> Segment | None:
    """A segment that may be appended to (or is `unsure`, or None: see `Opened`); what did not work is in the report.

    A log with damage is written anew, with `whole` every log; otherwise a torn end is cut off. Takes `file` over.
    """
    made: list[Segment] = []
    if NEXT in folder.names():
        _try(report, lambda: folder.unlink(NEXT))
    if file is None or found.ident is None:
        _try(report, lambda: made.append(begun(folder, sealer, bounds=bounds)))
        if file is not None:
            file.close()
        return made[0] if made else None
    segment = _segment(file, found, found.ident)
    if found.damaged or whole:
        batch: Batch | None = {LOST: (note(report.lost, report.nameless), False)} if found.damaged else None
        segment.unsure = not _try(report, lambda: made.append(_copied(folder, segment, sealer, bounds, batch)))
    elif found.torn:
        segment.unsure = not _try(report, lambda: _cut(file, found.end))
    if not made:
        return segment
    file.close()
    return made[0]


def _segment(file: File, found: Found, ident: Ident) -> Segment:
    segment = Segment.found(file, found, ident)
    found.latest.clear()
    return segment


def _copied(folder: Folder, segment: Segment, sealer: Sealer, bounds: Bounds, batch: Batch | None) -> Segment:
    run = compaction(folder, segment, sealer, bounds=bounds, batch=batch)
    while True:
        try:
            next(run)
        except StopIteration as done:
            copied: Segment = done.value
            return copied


def _cut(file: File, end: int) -> None:
    file.truncate(max(end, HEADER))
    file.sync()


def _try(report: Report, step: Callable[[], object]) -> bool:
    try:
        step()
    except (OSError, Rotten, TooBig) as err:
        report.repaired = False
        report.trouble = str(err) or type(err).__name__
        return False
    return True
