"""A curve of one cell: mean and standard deviation over its complete seeds, step by step."""

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


def curve(cell: Cell, x: str, y: str, *, records: str = "history") -> Curve | None:
    """The curve of `y` against `x` over the complete seeds of a cell; None where there is nothing to draw.

    Seeds are matched by step; a step counts when every complete seed has finite values there.
    """
    seeds = [_by_step(getattr(run, records), x, y) for run in cell.complete]
    steps = sorted(set.intersection(*map(set, seeds))) if seeds else []
    if len(steps) < 2:
        return None
    stride = -(-len(steps) // MOST_POINTS)
    steps = sorted({*steps[::stride], steps[-1]})
    points = np.array([[seed[step] for step in steps] for seed in seeds])  # (seeds, records, 2)
    return Curve(
        optimizer=cell.labels["optimizer"],
        cell=cell.labels["cell"],
        x=points[:, :, 0].mean(axis=0),
        mean=points[:, :, 1].mean(axis=0),
        std=points[:, :, 1].std(axis=0, ddof=1) if len(seeds) > 1 else None,
    )


def _by_step(records: Sequence[dict[str, Any]], x: str, y: str) -> dict[int, tuple[float, float]]:
    return {
        record["step"]: (float(record[x]), float(record[y]))
        for record in records
        if is_finite(record.get(x)) and is_finite(record.get(y))
    }
