"""Convergence gates: an experiment is run anew, and what it must reach is judged; a table, check.md, an exit code.

Gates stand in the configuration (`gates`, :class:`gossipsim.config.Gate`). The JSON files beside this module are the
gates of the simulator itself: what theory says, measured on this machine.
"""

from __future__ import annotations

from pathlib import Path

from gossipsim.checks.gates import Verdict, judge
from gossipsim.checks.written import markdown, table

SHIPPED = sorted(Path(__file__).parent.glob("*.json"))

__all__ = ["SHIPPED", "Verdict", "judge", "markdown", "table"]
