"""What a table for a paper holds, before it is typeset: cells by metrics, or one metric by two axes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gossipsim.config.names import short_paths
from gossipsim.report import metrics as names
from gossipsim.report.ranking import explain, marks
from gossipsim.results import LABELS, Cell, Summary
from gossipsim.results.long import named


@dataclass(frozen=True)
class Number:
    """``mark`` is best, tie or nothing; ``seeds`` is told where seeds are lacking: ``2 of 3``."""

    summary: Summary
    mark: str = ""
    seeds: str = ""


@dataclass(frozen=True)
class Line:
    """Labels, then an entry per column; lines of one `block` were compared with each other."""

    labels: list[str]
    numbers: list[Number | None]
    block: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """``heads`` are above the labels; ``metrics`` are those of the ``columns``, which are titles."""

    heads: list[str]
    columns: list[str]
    metrics: list[str]
    lines: list[Line]
    cells: list[Cell]

    def note(self, *, best: str, tie: str, spread: str) -> str:
        """What numbers and marks mean, and over how many seeds."""
        counts = sorted({len(cell.complete) for cell in self.cells if cell.complete})
        seeds = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}" if counts else ""
        marked = any(number and number.mark for line in self.lines for number in line.numbers)
        within = "Best and ties are told within each column and block of lines." if marked else ""
        parts = (explain(self.cells, best=best, tie=tie, spread=spread), within, f"{seeds} seeds." if seeds else "")
        return " ".join(filter(None, parts))


def listing(cells: Sequence[Cell], metrics: Sequence[str] | None = None) -> Grid:
    """A line per cell, best first, and a column per metric.

    Raises:
        ValueError: for a metric that no complete run has recorded.
    """
    recorded = _recorded(cells)
    chosen = list(metrics) if metrics else names.main_metrics(recorded)
    _check_metrics(chosen, recorded)
    heads = [label for label in LABELS if label == "optimizer" or len({cell.labels[label] for cell in cells}) > 1]
    lines = []
    for block, members in _blocks(cells).items():
        ordered = names.ranked(members, chosen[0]) if chosen else members
        marked = {metric: marks(ordered, metric) for metric in chosen}
        for position, cell in enumerate(ordered):
            numbers = [_number(cell, metric, marked[metric][position]) for metric in chosen]
            lines.append(Line([*(cell.labels[head] for head in heads), _seeds(cell)], numbers, block))
    return Grid([*heads, "n"], [names.label(metric) for metric in chosen], chosen, lines, list(cells))


def pivot(cells: Sequence[Cell], swept: Sequence[str], rows: Sequence[str], columns: str, metric: str | None) -> Grid:
    """A line per value of `rows`, a column per value of `columns`, one metric.

    Compared are the values of the last of `rows`, in each column; its other axes make blocks of lines, and so do tasks
    and models that differ. An axis is task, model, optimizer (a tuned one without what was chosen for it), cell, or a
    swept path, also its short form.

    Raises:
        ValueError: for an axis or a metric that does not exist, and where several cells fall into one place.
    """
    recorded = _recorded(cells)
    metric = metric or names.primary(recorded)
    if metric is None:
        raise ValueError("no complete run has recorded a metric to rank by; give --metrics")
    _check_metrics([metric], recorded)
    axes = Axes(swept)
    lines_by = [label for label in ("task", "model") if len({cell.labels[label] for cell in cells}) > 1]
    asked = list(map(axes.named, rows))
    lines_by = [label for label in lines_by if label not in {*asked, axes.named(columns)}] + asked
    across = axes.named(columns)
    places: dict[tuple[str, ...], dict[str, Cell]] = {}
    for cell in cells:
        line = places.setdefault(tuple(axes.value(cell, axis) for axis in lines_by), {})
        if other := line.get(axes.value(cell, across)):
            differ = [axis for axis in (*LABELS[:3], *swept) if axes.value(cell, axis) != axes.value(other, axis)]
            known = [axis for axis in differ if axis not in {*lines_by, across}] or ["cell"]
            raise ValueError(
                f"several cells in one place of the table: they differ in {', '.join(known)}; add it to --rows, or "
                f"take one value: --where '{axes.short(known[0])}={axes.value(other, known[0])}'"
            )
        line[axes.value(cell, across)] = cell
    titles = list(dict.fromkeys(axes.value(cell, across) for cell in cells))
    ordered = {k: places[k] for block in dict.fromkeys(k[:-1] for k in places) for k in places if k[:-1] == block}
    marked = _pivot_marks(ordered, titles, metric)
    lines = [
        Line(
            list(labels),
            [_number(line.get(title), metric, marked.get((labels, title), ""), told=True) for title in titles],
            labels[:-1],
        )
        for labels, line in ordered.items()
    ]
    return Grid([axes.short(axis) for axis in lines_by], titles, [metric] * len(titles), lines, list(cells))


def _pivot_marks(
    places: dict[tuple[str, ...], dict[str, Cell]], titles: Sequence[str], metric: str
) -> dict[tuple[tuple[str, ...], str], str]:
    """Best and ties of each column, among the lines of each block."""
    marked = {}
    for title in titles:
        for block in dict.fromkeys(labels[:-1] for labels in places):
            found = {k: line[title] for k, line in places.items() if k[:-1] == block and title in line}
            for labels, mark in zip(found, marks(list(found.values()), metric), strict=True):
                marked[labels, title] = mark
    return marked


@dataclass(frozen=True)
class Axes:
    """The axes of a table by their full and their short names."""

    swept: Sequence[str]

    def named(self, given: str) -> str:
        """The axis that was meant.

        Raises:
            ValueError: naming those there are.
        """
        full = {self.short(axis): axis for axis in (*LABELS, *self.swept)} | {axis: axis for axis in self.swept}
        if given not in full:
            raise ValueError(f"{given!r} is not an axis of this experiment; there are {', '.join(full)}")
        return full[given]

    def short(self, axis: str) -> str:
        if axis not in self.swept:
            return axis
        short = dict(zip(self.swept, short_paths(self.swept), strict=True))[axis]
        return axis if short in LABELS else short

    def value(self, cell: Cell, axis: str) -> str:
        """What a cell has at an axis, in words."""
        if axis == "optimizer" and cell.tuned is not None:
            return str(cell.tuned["optimizer"])
        if axis in LABELS and axis not in self.swept:
            return cell.labels[axis]
        value = named(axis, cell.swept.get(axis, ""))
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def where(self, cells: Sequence[Cell], conditions: Sequence[str]) -> list[Cell]:
        """The cells that meet all conditions ``axis=value``.

        Raises:
            ValueError: for a condition that none meets, naming the values there are.
        """
        kept = list(cells)
        for condition in conditions:
            given, equals, wanted = condition.partition("=")
            if not equals:
                raise ValueError(f"--where {condition}: write axis=value")
            axis = self.named(given)
            values = dict.fromkeys(self.value(cell, axis) for cell in kept)
            kept = [cell for cell in kept if self.value(cell, axis) == wanted]
            if not kept:
                raise ValueError(f"--where {condition}: no cell; {given} is one of {', '.join(values)}")
        return kept


def _recorded(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for run in cell.complete for name in run.last))


def _check_metrics(metrics: Sequence[str], recorded: Sequence[str]) -> None:
    for metric in metrics:
        if metric not in recorded:
            raise ValueError(f"no complete run has recorded {metric!r}; there are {', '.join(recorded) or 'none'}")


def _block(cell: Cell) -> tuple[str, ...]:
    return cell.labels["task"], cell.labels["model"]


def _blocks(cells: Sequence[Cell]) -> dict[tuple[str, ...], list[Cell]]:
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        found.setdefault(_block(cell), []).append(cell)
    return found


def _seeds(cell: Cell) -> str:
    complete, planned = len(cell.complete), len(cell.runs)
    return str(complete) if complete == planned else f"{complete} of {planned}"


def _number(cell: Cell | None, metric: str, mark: str, *, told: bool = False) -> Number | None:
    summary = None if cell is None else cell.summary(metric)
    if cell is None or summary is None:
        return None
    return Number(summary, mark, _seeds(cell) if told and len(cell.complete) < len(cell.runs) else "")
