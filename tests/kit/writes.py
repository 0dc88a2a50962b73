"""A process that writes to a disk log until it is killed: `python writes.py FOLDER [MAX_FILE_BYTES]`.

State number n says `n` under "count" and under one of fifty keys; each number that was flushed is printed.
"""

import resource
import sys
from pathlib import Path

from yurt_hub.adapters.disk import DiskLog, Sealer
from yurt_hub.adapters.disk.log import Tuning
from yurtcore.errors import Retry

KEYS = 50


def value(number: int) -> bytes:
    """What a key holds since state `number`."""
    return b"%d " % number * (number % 97)


def main() -> None:
    """Write for ever."""
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    log = DiskLog.open(
        folder,
        sealer=Sealer(bytes(32)),
        quota_bytes=16 * 1024 * 1024,
        batch_within=0.001,
        tuning=Tuning(compact_above=20_000, group=2_000),
    )
    number = int(dict(log.load()).get("count", b"0"))
    while True:
        number += 1
        key = f"pods/{number % KEYS}"
        with log.together():
            log.put(key, value(number), secret=key.endswith("7"))
            log.put("count", b"%d" % number)
        if number % 13 == 0:
            try:
                log.flush().result(30)
            except Retry as err:
                print("stopped", log.stats().full, err, flush=True)  # noqa: T201 (the parent reads it)
                if sys.stdin.readline():
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                continue
            print(number, log.stats().compactions, flush=True)  # noqa: T201 (the parent reads it)


if __name__ == "__main__":
    main()
