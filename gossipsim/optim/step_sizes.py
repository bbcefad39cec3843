"""Step sizes of Frank-Wolfe methods as functions of the step t = 0, 1, ...: gamma_t in [0, 1].

| name | formula | source | |---|---|---| | "2/(t+2)" = "agnostic" | 2/(t+2) | Jaggi, ICML 2013: f - f* <= 2 L
D^2/(t+2) on convex f, no constant needed | | "1/(t+1)" = "harmonic" | 1/(t+1) | the iterate is the average of
the vertices so far | | "1/sqrt(t+1)" | 1/sqrt(t+1) | nonconvex f: smallest gap O(1/sqrt t) (Lacoste-Julien,
arXiv 1607.00345) | | a number in (0, 1] | constant | |
"""

from __future__ import annotations

import math
from collections.abc import Callable

StepSize = Callable[[int], float]
"""Maps t = 0, 1, ... to gamma_t in [0, 1]."""

RULES: dict[str, StepSize] = {
    "2/(t+2)": lambda t: 2 / (t + 2),
    "1/(t+1)": lambda t: 1 / (t + 1),
    "1/sqrt(t+1)": lambda t: 1 / math.sqrt(t + 1),
}
ALIASES = {"agnostic": "2/(t+2)", "harmonic": "1/(t+1)"}


def step_size(rule: str | float | StepSize) -> StepSize:
    """The rule with that name, a constant, or the callable itself.

    Raises:
        ValueError: for an unknown name or a constant outside (0, 1].

    >>> step_size("agnostic")(0), step_size("harmonic")(1), step_size(0.1)(5)
    (1.0, 0.5, 0.1)
    """
    if isinstance(rule, str):
        name = ALIASES.get(rule, rule.replace(" ", ""))
        if name not in RULES:
            allowed = ", ".join(repr(key) for key in (*RULES, *ALIASES))
            raise ValueError(f"step_size must be one of {allowed} or a number in (0, 1], got {rule!r}")
        return RULES[name]
    if isinstance(rule, (int, float)):
        if isinstance(rule, bool) or not 0 < rule <= 1:
            raise ValueError(f"step_size must lie in (0, 1], got {rule}")
        constant = float(rule)
        return lambda t: constant
    return rule
