"""Convergence gates: an experiment is run anew, and what it must reach is judged; a table, check.md, an exit code.

Gates stand in the configuration (`gates`, :class:`gossipsim.config.Gate`). :mod:`gossipsim.checks.theory` holds what
our own strategies and graphs claim against what they do.
"""

from __future__ import annotations

from gossipsim.checks.gates import Verdict, judge
from gossipsim.checks.theory import named, shipped
from gossipsim.checks.told import tell_theory
from gossipsim.checks.written import markdown, plain, table

__all__ = ["Verdict", "judge", "markdown", "named", "plain", "shipped", "table", "tell_theory"]
