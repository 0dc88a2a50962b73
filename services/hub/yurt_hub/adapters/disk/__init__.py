"""What the hub keeps on disk: an append-only log of keys and values, repaired when opened, compacted as it goes."""

from yurt_hub.adapters.disk.log import DiskLog, Stats
from yurt_hub.adapters.disk.opening import Report
from yurt_hub.adapters.disk.sealing import Sealer, given_key, own_key

__all__ = ["DiskLog", "Report", "Sealer", "Stats", "given_key", "own_key"]
