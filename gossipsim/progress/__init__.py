"""How far runs are: pace and time left, titles that fit, and the table of bars that `run` and `watch` draw.

Nothing here trains or imports torch; :mod:`gossipsim.progress.snapshot` reads an experiment's state from its files.
"""

from gossipsim.progress.estimate import Estimate, Pace, UnderWay, Work
from gossipsim.progress.snapshot import RunState, Snapshot, read_snapshot
from gossipsim.progress.table import Line, Overall, draw
from gossipsim.progress.text import HEADLINES, STATUS_STYLES, clock, headline, per_second, short_title, values_of

__all__ = [
    "HEADLINES",
    "STATUS_STYLES",
    "Estimate",
    "Line",
    "Overall",
    "Pace",
    "RunState",
    "Snapshot",
    "UnderWay",
    "Work",
    "clock",
    "draw",
    "headline",
    "per_second",
    "read_snapshot",
    "short_title",
    "values_of",
]
