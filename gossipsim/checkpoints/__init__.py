"""The state of a run on disk: keyed by node, whole or absent, readable by any number of processes.

:mod:`~gossipsim.checkpoints.trees` knows how a state becomes bytes, :mod:`~gossipsim.checkpoints.files` how bytes
become files that can be trusted.
"""

from gossipsim.checkpoints.files import FOLDER, Checkpoint, Damaged, Folder
from gossipsim.checkpoints.frequency import Frequency
from gossipsim.checkpoints.trees import Packed, Tree, Unsaveable, collect, deal, is_tree, spread

__all__ = [
    "FOLDER",
    "Checkpoint",
    "Damaged",
    "Folder",
    "Frequency",
    "Packed",
    "Tree",
    "Unsaveable",
    "collect",
    "deal",
    "is_tree",
    "spread",
]
