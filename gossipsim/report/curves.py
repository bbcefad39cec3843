"""A curve of one cell: mean and standard deviation over its complete seeds.

Step by step where all seeds are at the same place of the horizontal axis after a step. Where they are not, as with
simulated time, every seed is interpolated linearly between its records, over the stretch that all of them have
covered: the spread is then that of what they have reached in the same time, not that of the times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossipsim.results import Cell, Run, is_finite

MOST_POINTS = 1000  # more than a column-width figure can show


@dataclass(frozen=True)
class Curve:
    """``x``, ``mean`` and ``std`` have one entry per record; ``std`` is None for a single seed."""

    optimizer: str
    cell: str
    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64] | None

    @property
    def advances(self) -> bool:
        """Whether there is anything along the horizontal axis (a single node sends no bytes)."""
        return bool(self.x[-1] > self.x[0])


def horizontal(runs: Iterable[Run]) -> str:
    """``epoch`` where epochs tell records apart, else ``step`` (runs counted in steps)."""
    for run in runs:
        epochs = [record.get("epoch") for record in run.history]
        if None in epochs or len(set(epochs)) < len(epochs):
            return "step"
    return "epoch"


def further_axes(runs: Sequence[Run], across: str) -> list[str]:
    """The axes beside `across` that were recorded: bytes and time, and those along which curves look different.

    They look the same where the one axis is the other times a number that all runs share.
    """
    found, distinct = [], [across]
    for axis in ("step", "round", "bytes_sent", "sim_time", "gradient_evals"):
        if axis == across or not any(axis in run.last for run in runs):
            continue
        new = not any(_proportional(runs, axis, other) for other in distinct)
        if new:
            distinct.append(axis)
        if new or axis in {"bytes_sent", "sim_time"}:
            found.append(axis)
    return found


def _proportional(runs: Iterable[Run], one: str, other: str) -> bool:
    ratios = [
        record[one] / record[other] for run in runs for record in run.history if record.get(other) and one in record
    ]
    return not ratios or max(ratios) - min(ratios) <= 0.02 * max(ratios)


def curve(cell: Cell, x: str, y: str, *, records: str = "history") -> Curve | None:
    """The curve of `y` against `x` over the complete seeds of a cell; None where there is nothing to draw.

    A record counts where its values are finite, and where seeds are matched by step, when all of them have them.
    """
    seeds = [_by_step(getattr(run, records), x, y) for run in cell.complete]
    steps = sorted(set.intersection(*map(set, seeds))) if seeds else []
    if len(steps) < 2:
        return None
    points = np.array([[seed[step] for step in steps] for seed in seeds])  # (seeds, records, 2)
    places, values = points[0, :, 0], points[:, :, 1]
    if (points[:, :, 0] != places).any():
        places, values = _interpolated([np.array([seed[step] for step in sorted(seed)]) for seed in seeds])
    if len(places) < 2:
        return None
    stride = -(-len(places) // MOST_POINTS)
    shown = sorted({*range(0, len(places), stride), len(places) - 1})
    places, values = places[shown], values[:, shown]
    return Curve(
        optimizer=cell.labels["optimizer"],
        cell=cell.labels["cell"],
        x=places,
        mean=values.mean(axis=0),
        std=values.std(axis=0, ddof=1) if len(seeds) > 1 else None,
    )


def _interpolated(seeds: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where any seed has a record and all of them have been, (places,), and their values there, (seeds, places).

    Of records at one place the last one counts.
    """
    low, high = max(seed[0, 0] for seed in seeds), min(seed[-1, 0] for seed in seeds)
    places = np.unique(np.concatenate([[low, high], *(seed[:, 0] for seed in seeds)]))
    places = places[(places >= low) & (places <= high)]
    values = []
    for seed in seeds:
        reached, last = np.unique(seed[::-1, 0], return_index=True)
        values.append(np.interp(places, reached, seed[::-1, 1][last]))
    return places, np.array(values)


def _by_step(records: Sequence[dict[str, Any]], x: str, y: str) -> dict[int, tuple[float, float]]:
    return {
        record["step"]: (float(record[x]), float(record[y]))
        for record in records
        if is_finite(record.get(x)) and is_finite(record.get(y))
    }
