"""The older command line in terms of the newer one: flags become experiments, see :mod:`gossipsim.legacy_runner`."""

from gossipsim.legacy.flags import CONSTRAINTS, Flags
from gossipsim.legacy.modes import checks, matrix, single

__all__ = ["CONSTRAINTS", "Flags", "checks", "matrix", "single"]
