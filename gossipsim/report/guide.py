"""The decay of the consensus error that mixing alone would give, to be laid over the recorded one.

Without gradients, sqrt(consensus error) shrinks by at most slem = max(|lambda_2|, |lambda_n|) per round (by
``expected_slem`` in the mean square where rounds are random), so that after round k0

    consensus(k) = consensus(k0) slem^(2 (k - k0)).

In pure gossip this is what is seen, once the slowest mode dominates; with gradients, which pull the nodes apart again,
a curve leaves the line where the two are in balance.

Source: Xiao and Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossipsim.report.curves import Curve
from gossipsim.results import Cell, Run, is_finite

NAME = "mixing alone: × slem² per round"
MOST = 4  # in one panel
_POINTS = 60
_HIGH = 0.5  # of the largest value: a guide begins where a curve first gets there
_EXACT = 1e-6  # a slem below is that of a network that reaches the mean at once


@dataclass(frozen=True)
class Guide:
    """``x`` and ``y`` as in a curve; ``slem`` is that of one round."""

    topology: str
    slem: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def slem(run: Run) -> float | None:
    """By how much a round of its network shrinks sqrt(consensus); None where that is not known, or is no decay."""
    certificate = run.summary.get("network") or {}
    found = certificate.get("expected_slem", certificate.get("slem"))
    return float(found) if is_finite(found) and _EXACT < found < 1 - 1e-12 else None


def guides(
    drawn: Sequence[tuple[Cell, Curve]], x: str, topology_of: Callable[[str], str], *, lowest: float
) -> list[Guide]:
    """One for each topology and slem, from near the peak of the highest of its curves down to `lowest`.

    ``topology_of``: cell label -> topology. None at all where there would be too many to be told apart.
    """
    highest: dict[tuple[str, float], tuple[float, Cell, Curve]] = {}
    for cell, line in drawn:
        speed = slem(cell.complete[0])
        peak = float(line.mean.max())
        if speed is None or peak <= 0:
            continue
        key = topology_of(cell.labels["cell"]), round(speed, 9)
        if key not in highest or peak > highest[key][0]:
            highest[key] = peak, cell, line
    if len(highest) > MOST:
        return []
    found = [_guide(name, speed, cell, line, x, lowest) for (name, speed), (_, cell, line) in highest.items()]
    return [one for one in found if one is not None]


def _guide(topology: str, speed: float, cell: Cell, line: Curve, x: str, lowest: float) -> Guide | None:
    start = int(np.argmax(line.mean >= _HIGH * line.mean.max()))
    rounds = _rounds(cell.complete[0], x, line.x)
    level, left = float(line.mean[start]), float(rounds[-1] - rounds[start])
    if left <= 0 or level <= lowest:
        return None
    needed = math.log(lowest / level) / (2 * math.log(speed))
    after = np.linspace(0, min(left, needed), _POINTS)
    places = np.interp(rounds[start] + after, rounds[start:], line.x[start:])
    return Guide(topology, speed, places, level * speed ** (2 * after))


def _rounds(run: Run, x: str, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rounds at places of the horizontal axis, between evaluations by proportion."""
    known = [(record[x], record["round"]) for record in run.history if {x, "round"} <= record.keys()]
    at, rounds = np.array(known, dtype=float).reshape(-1, 2).T
    return np.interp(places, at, rounds) if len(at) else np.zeros_like(places)
