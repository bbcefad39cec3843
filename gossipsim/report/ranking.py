"""The table of a task and model: mean and standard deviation per cell, ranked, with the best and its ties marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gossipsim.report import metrics as names
from gossipsim.report.style import Styles
from gossipsim.results import Cell, compare, higher_is_better

MARKED = {*names.PRIMARY, "fw_gap"} - {"consensus"}  # a small consensus error alone is no success


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
    """Rows in order of the primary metric; ``columns`` are metrics; ``note`` says what numbers and marks mean."""

    primary: str | None
    columns: list[str]
    rows: list[Row]
    note: str


def table(cells: Sequence[Cell], styles: Styles) -> Table:
    """The table of the cells of one task and model, marked as :func:`marks` says.

    Cells with diverged seeds are ranked behind the others and never marked.
    """
    recorded = {name for cell in cells for run in cell.complete for name in run.last}
    columns = [name for name in names.COLUMNS if name in recorded]
    primary = names.primary(recorded)
    ordered = names.ranked(cells, primary) if primary else list(cells)
    marked = {name: marks(ordered, name) for name in columns}
    rows = [
        Row(
            colour=styles(cell.labels["optimizer"], cell.labels["cell"]).colour,
            optimizer=cell.labels["optimizer"],
            cell=cell.labels["cell"],
            seeds=seeds(cell),
            entries=[_entry(cell, name, marked[name][position]) for name in columns] + [_seconds(cell)],
        )
        for position, cell in enumerate(ordered)
    ]
    return Table(primary, [*columns, "train_seconds"], rows, explain(ordered, best="★", tie="≈"))


def _entry(cell: Cell, metric: str, mark: str) -> Entry:
    mean, std = cell.statistics(metric)
    return Entry(names.with_spread(mean, std, metric), mean, mark)


def _seconds(cell: Cell) -> Entry:
    taken = [run.timing[-1]["train_seconds"] for run in cell.complete if run.timing]
    mean = sum(taken) / len(taken) if taken else None
    return Entry("" if mean is None else f"{mean:.3g}", mean)


def seeds(cell: Cell) -> str:
    """``3``, or ``1 of 3 (1 diverged, 1 failed)``."""
    complete, planned = len(cell.complete), len(cell.runs)
    if complete == planned:
        return str(complete)
    others: dict[str, Any] = {}
    for run in cell.runs:
        if run.status != "complete":
            others[run.status] = others.get(run.status, 0) + 1
    return f"{complete} of {planned} ({', '.join(f'{count} {status}' for status, count in others.items())})"


def marks(cells: Sequence[Cell], metric: str) -> list[str]:
    """``best``, ``tie`` or nothing for each cell; nothing at all where there is nothing to compare.

    A tie is a cell whose difference to the best has a 95% confidence interval that contains 0. A cell with one seed
    has no interval: it may have the best number, but it ties with none.
    """
    if metric not in MARKED:
        return [""] * len(cells)
    means = {number: mean for number, cell in enumerate(cells) if (mean := _mean(cell, metric)) is not None}
    if len(means) < 2:
        return [""] * len(cells)
    first = (max if higher_is_better(metric) else min)(means, key=lambda number: means[number])
    return [_mark(cell, cells[first], metric, means.get(n), means[first]) for n, cell in enumerate(cells)]


def _mean(cell: Cell, metric: str) -> float | None:
    """What a cell is judged by; None with diverged seeds, which flatter the others."""
    mean, _ = cell.statistics(metric)
    return None if mean is None or cell.diverged or not math.isfinite(mean) else mean


def _mark(cell: Cell, best: Cell, metric: str, mean: float | None, best_mean: float) -> str:
    if mean is None:
        return ""
    if mean == best_mean:
        return "best"
    apart = compare(cell, best, metric)
    return "tie" if apart is not None and apart.undecided else ""


def explain(cells: Sequence[Cell], *, best: str, tie: str, spread: str = "standard deviation") -> str:
    """What numbers and marks of a table mean; `best` and `tie` are how it shows them, `spread` is what follows ±."""
    numbers = [len(cell.complete) for cell in cells if cell.complete]
    several, alone = max(numbers, default=0) > 1, 1 in numbers
    said = {
        f"Mean ± {spread} over complete seeds, at the last evaluation.": several,
        "A tuned optimizer is shown with the values that validation chose.": any(cell.tuned for cell in cells),
    }
    if len(numbers) > 1:
        said |= {
            f"One seed per cell: {best} is the best number, which does not show that others are worse.": not several,
            f"{best} is the best mean; {tie} is not told from it by the seeds: the 95% confidence interval of the "
            "difference (paired by seed, Welch's where seeds are not shared) contains 0. No correction for the number "
            "of cells.": several,
            "A cell with one seed has no interval and is not marked as tied.": several and alone,
            "Cells with diverged seeds are ranked last and not marked.": any(cell.diverged for cell in cells),
        }
    return " ".join(sentence for sentence, applies in said.items() if applies)
