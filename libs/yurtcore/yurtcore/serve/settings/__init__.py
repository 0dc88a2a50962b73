"""Settings: one frozen model, read in layers, each value with its origin.

defaults < file (`--config file.toml`) < environment (`PREFIX_NAME`) < flags (`--name`). An unknown name in any layer is
an error; every error is one line that says what is wrong and what to do.
"""

from yurtcore.serve.settings.load import load, parse
from yurtcore.serve.settings.model import Duration, Flag, Settings

__all__ = ["Duration", "Flag", "Settings", "load", "parse"]
