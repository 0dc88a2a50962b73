"""The real control plane: its programs found, fetched or built; started and stopped without leftovers."""

from yurtsim.controlplane.finder import build, fetch, find, known_path
from yurtsim.controlplane.flags import Wishes
from yurtsim.controlplane.plane import ControlPlane

__all__ = ["ControlPlane", "Wishes", "build", "fetch", "find", "known_path"]
