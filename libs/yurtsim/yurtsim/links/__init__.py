"""Links to the cloud that can be cut: one process through which everything that is at the edge reaches the cloud.

Every process at the edge has a listener of its own here, grouped by node and pool. Links are steered while they run:
black hole, reset, delay, rate limit, one way, and whole again; bytes and connections are counted by listener and
direction. `Links` works inside a process, `python -m yurtsim.links --config FILE` is the process, `LinkControl`
steers it.
"""

from yurtsim.links.control import Control, LinkControl
from yurtsim.links.line import Spec
from yurtsim.links.links import Links
from yurtsim.links.modes import UP, How, Mode, Way

__all__ = ["UP", "Control", "How", "LinkControl", "Links", "Mode", "Spec", "Way"]
