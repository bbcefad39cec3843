"""The table of a task and model: mean and standard deviation per cell, ranked, with the best and its ties marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gossipsim.report import metrics as names
from gossipsim.report.style import Styles
from gossipsim.results import Cell, higher_is_better

_MARKED = {*names.PRIMARY, "fw_gap"} - {"consensus"}  # a small consensus error alone is no success


@dataclass(frozen=True)
class Entry:
    """One number of the table; ``mark`` is best, tie or nothing, ``value`` is what sorting uses."""

    text: str
    value: float | None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """One cell."""

    colour: str
    optimizer: str
    cell: str
    seeds: str
    entries: list[Entry]


@dataclass(frozen=True)
class Table:
    """Rows in order of the primary metric; ``columns`` are metrics."""

    primary: str | None
    columns: list[str]
    rows: list[Row]
    ties: bool


def table(cells: Sequence[Cell], styles: Styles) -> Table:
    """The table of the cells of one task and model.

    Within a column the best mean is marked, and as ties those whose distance from it is at most the larger of the
    two standard deviations. Cells with diverged seeds are ranked behind the others and never marked.
    """
    recorded = {name for cell in cells for run in cell.complete for name in run.last}
    columns = [name for name in names.COLUMNS if name in recorded]
    primary = names.primary(recorded)
    ordered = names.ranked(cells, primary) if primary else list(cells)
    marks = {name: _marks(ordered, name) for name in columns}
    rows = [
        Row(
            colour=styles(cell.labels["optimizer"], cell.labels["cell"]).colour,
            optimizer=cell.labels["optimizer"],
            cell=cell.labels["cell"],
            seeds=_seeds(cell),
            entries=[_entry(cell, name, marks[name][position]) for name in columns] + [_seconds(cell)],
        )
        for position, cell in enumerate(ordered)
    ]
    return Table(primary, [*columns, "train_seconds"], rows, any("tie" in column for column in marks.values()))


def _entry(cell: Cell, metric: str, mark: str) -> Entry:
    mean, std = cell.statistics(metric)
    return Entry(names.with_spread(mean, std, metric), mean, mark)


def _seconds(cell: Cell) -> Entry:
    taken = [run.timing[-1]["train_seconds"] for run in cell.complete if run.timing]
    mean = sum(taken) / len(taken) if taken else None
    return Entry("" if mean is None else f"{mean:.3g}", mean)


def _seeds(cell: Cell) -> str:
    """``3``, or ``1 of 3 (1 diverged, 1 failed)``."""
    complete, planned = len(cell.complete), len(cell.runs)
    if complete == planned:
        return str(complete)
    others: dict[str, Any] = {}
    for run in cell.runs:
        if run.status != "complete":
            others[run.status] = others.get(run.status, 0) + 1
    return f"{complete} of {planned} ({', '.join(f'{count} {status}' for status, count in others.items())})"


def _marks(cells: Sequence[Cell], metric: str) -> list[str]:
    """``best``, ``tie`` or nothing for each cell; nothing at all where there is nothing to compare."""
    statistics = [cell.statistics(metric) if not cell.diverged else (None, None) for cell in cells]
    means = [mean for mean, _ in statistics if mean is not None and math.isfinite(mean)]
    if metric not in _MARKED or len(means) < 2:
        return [""] * len(cells)
    best = max(means) if higher_is_better(metric) else min(means)
    spread = max(std or 0.0 for mean, std in statistics if mean == best)
    return [_mark(mean, std, best, spread) for mean, std in statistics]


def _mark(mean: float | None, std: float | None, best: float, spread: float) -> str:
    if mean is None or not math.isfinite(mean):
        return ""
    if mean == best:
        return "best"
    return "tie" if abs(mean - best) <= max(std or 0.0, spread) else ""
