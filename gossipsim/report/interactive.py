"""The curves that a reader explores in report.html: numbers for its script, names for its HTML.

No name of a user's is in the numbers, so that none can be taken for code; the script finds curves by their position.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gossipsim.config.names import display, short_paths
from gossipsim.report import metrics as names
from gossipsim.report import svg
from gossipsim.report.curves import Curve, curve, horizontal
from gossipsim.report.style import Style, Styles
from gossipsim.results import COUNTERS, Cell, is_finite, is_number
from gossipsim.spec import is_spec

AXES = ("epoch", "step", "round", "bytes_sent", "sim_time", "gradient_evals", "lmo_calls")
MOST_NUMBERS = 160_000  # of all sections together: about 1.2 MB
MOST_POINTS, FEWEST_POINTS = 250, 24  # of a curve
MOST_METRICS = 24
SHOWN_AT_FIRST = 12  # curves, where there are more than can be told apart
TOLD_APART = 24

_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")


@dataclass(frozen=True)
class Filter:
    """A dimension in which curves differ, and its values in order of appearance."""

    title: str
    values: list[str]


@dataclass(frozen=True)
class Item:
    """A curve in the legend; ``tags`` are the positions of its values in the filters."""

    number: int
    text: str
    title: str
    sample: Markup
    tags: list[int]
    shown: bool


@dataclass(frozen=True)
class Group:
    """The curves of one optimizer."""

    title: str
    colour: str | None
    items: list[Item]


@dataclass(frozen=True)
class Choice:
    """A metric: per evaluation, or per step."""

    label: str
    per_step: bool


@dataclass(frozen=True)
class Explorer:
    """The curves of one task and model; ``left_out`` are metrics for which there was no room."""

    metrics: list[Choice]
    axes: list[str]
    filters: list[Filter]
    groups: list[Group]
    left_out: list[str]
    data: Markup

    @property
    def items(self) -> int:
        return sum(len(group.items) for group in self.groups)


def explorer(cells: Sequence[Cell], styles: Styles, swept: Sequence[str], *, room: int) -> Explorer | None:
    """The curves of the cells of one task and model, in at most about `room` numbers; None where there are none."""
    drawn = [cell for cell in cells if cell.complete]
    points = max(FEWEST_POINTS, min(MOST_POINTS, room // (2 * names.MOST_MAIN * max(len(drawn), 1))))
    pool = _Pool()
    choices: list[Choice] = []
    payload: list[dict[str, Any]] = []
    left_out: list[str] = []
    places = [_places(cell) for cell in drawn]
    for records, metric in _metrics(drawn):
        if len(choices) >= names.MOST_MAIN and pool.size > room:
            left_out.append(names.label(metric))
            continue
        lines = _lines(drawn, places, metric, records, pool, points)
        if lines:
            choices.append(Choice(names.label(metric), records == "steps"))
            kind = {"log": names.wants_log(metric), "positive": names.never_negative(metric)}
            payload.append({**kind, "lines": lines})
    if not choices:
        return None
    first = horizontal([run for cell in drawn for run in cell.complete])
    found = {axis for one in payload for axis in one["lines"]}
    axes = sorted((axis for axis in AXES if axis in found), key=lambda axis: axis != first)
    looks = [styles(cell.labels["optimizer"], cell.labels["cell"]) for cell in drawn]
    filters, groups = _legend(drawn, looks, swept)
    curves = [_look(style, cell) for style, cell in zip(looks, drawn, strict=True)]
    return Explorer(
        choices, axes, filters, groups, left_out, script_json(arrays=pool.arrays, metrics=payload, curves=curves)
    )


def script_json(**values: Any) -> Markup:
    """JSON for a ``<script type="application/json">``: nothing in it can end the element.

    >>> str(script_json(a=["</script>", 1]))
    '{"a":["\\\\u003c/script\\\\u003e",1]}'
    """
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def rounded(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Short numbers; None where a value is not finite.

    >>> rounded([0.123456789, 20480.0, float("nan")])
    [0.12346, 20480, None]
    """
    short = (float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values)
    return [int(value) if value is not None and value.is_integer() else value for value in short]


def dimensions(swept: Sequence[str]) -> dict[str, str]:
    """The swept paths and what they are called for short."""
    return dict(zip(swept, short_paths(swept), strict=True))


def value_text(value: Any) -> str:
    """What a swept value is called.

    >>> value_text("networkx.cycle_graph"), value_text({"class": "a.B", "params": {"k": 1}}), value_text(0.1)
    ('cycle_graph', 'B(k=1)', '0.1')
    """
    if is_spec(value) or (isinstance(value, str) and _CLASS_PATH.match(value)):
        return display(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Pool:
    """Arrays that many curves share: those against bytes have the same means as those against steps."""

    def __init__(self) -> None:
        self.arrays: list[list[float | None]] = []
        self.size = 0
        self._known: dict[tuple[float | None, ...], int] = {}

    def add(self, values: list[float | None]) -> int:
        position = self._known.setdefault(tuple(values), len(self.arrays))
        if position == len(self.arrays):
            self.arrays.append(values)
            self.size += len(values)
        return position


def _metrics(cells: Sequence[Cell]) -> Iterator[tuple[str, str]]:
    """(kind of records, metric), those that matter most first."""
    runs = [run for cell in cells for run in cell.complete]
    recorded = list(dict.fromkeys(name for run in runs for name in run.last))
    first = names.curve_metrics(recorded, COUNTERS, MOST_METRICS)
    yield from (("history", name) for name in first)
    logged = dict.fromkeys(name for run in runs for record in run.steps for name in record if is_number(record[name]))
    yield from (("steps", name) for name in logged if name not in COUNTERS)
    local = [name for name in recorded if name.startswith("local_") and name not in first]
    yield from (("history", name) for name in local)


def _places(cell: Cell) -> dict[str, dict[int, float]]:
    """Where each step is on those axes on which all complete seeds are at the same place after it."""
    found = {}
    for axis in AXES:
        seeds = [
            {record["step"]: float(record[axis]) for record in run.history if is_finite(record.get(axis))}
            for run in cell.complete
        ]
        common = set.intersection(*map(set, seeds))
        if common and all(seed[step] == seeds[0][step] for seed in seeds[1:] for step in common):
            found[axis] = seeds[0]
    return found


def _lines(
    cells: Sequence[Cell],
    places: Sequence[Mapping[str, Mapping[int, float]]],
    metric: str,
    records: str,
    pool: _Pool,
    points: int,
) -> dict[str, dict[int, list[int | None]]]:
    """Per axis and curve the positions of x, mean and std in the pool."""
    lines: dict[str, dict[int, list[int | None]]] = {}
    for number, cell in enumerate(cells):
        by_step = curve(cell, "step", metric, records=records)
        if by_step is None:
            continue
        steps = [int(step) for step in by_step.x]
        heights = _heights(by_step, pool, points)
        for axis in AXES if records == "history" else ("step",):
            at = places[number].get(axis, {})
            if axis == "step":
                x, (mean, std) = list(by_step.x), heights
            elif all(step in at for step in steps):
                x, (mean, std) = [at[step] for step in steps], heights
            elif line := curve(cell, axis, metric, records=records):
                x, (mean, std) = list(line.x), _heights(line, pool, points)
            else:
                continue
            if x[-1] > x[0]:
                kept = _thinned(len(x), points)
                lines.setdefault(axis, {})[number] = [pool.add(rounded((x[k] for k in kept), digits=8)), mean, std]
    return lines


def _heights(line: Curve, pool: _Pool, points: int) -> tuple[int, int | None]:
    """The positions of mean and std in the pool."""
    kept = _thinned(len(line.x), points)
    std = None if line.std is None else pool.add(rounded(line.std[kept].tolist(), digits=3))
    return pool.add(rounded(line.mean[kept].tolist())), std


def _thinned(length: int, points: int) -> list[int]:
    return sorted({*range(0, length, -(-length // points)), length - 1})


def _look(style: Style, cell: Cell) -> dict[str, Any]:
    dash, symbol = style.plotly_dash, style.plotly_symbol
    return {"colour": style.colour, "dash": dash, "symbol": symbol, "seeds": len(cell.complete)}


def _legend(cells: Sequence[Cell], looks: Sequence[Style], swept: Sequence[str]) -> tuple[list[Filter], list[Group]]:
    """What curves can be chosen by, and the curves by optimizer."""
    titles = dimensions(swept)
    values = [
        {"optimizer": cell.labels["optimizer"]}
        | {title: value_text(cell.swept[path]) for path, title in titles.items() if path in cell.swept}
        for cell in cells
    ]
    filters = []
    for title in ["optimizer", *titles.values()]:
        distinct = list(dict.fromkeys(one.get(title, "–") for one in values))
        if len(distinct) > 1:
            filters.append(Filter(title, distinct))
    optimizers = list(dict.fromkeys(cell.labels["optimizer"] for cell in cells))
    groups = [Group(optimizer, None, []) for optimizer in optimizers]
    shown = _shown_at_first(cells)
    differing = [one.title for one in filters if one.title != "optimizer"]
    for number, (cell, style, value) in enumerate(zip(cells, looks, values, strict=True)):
        optimizer, label = cell.labels["optimizer"], cell.labels["cell"]
        parts = [_short(title, value.get(title, "–")) for title in differing]
        item = Item(
            number,
            " · ".join(parts) or (label if len(cells) > len(optimizers) else ""),
            " · ".join(filter(None, (optimizer, label))),
            svg.sample(style),
            [one.values.index(value.get(one.title, "–")) for one in filters],
            number in shown,
        )
        groups[optimizers.index(optimizer)].items.append(item)
    for group in groups:
        group.items.sort(key=lambda item: not item.shown)
    return filters, groups


def _short(title: str, value: str) -> str:
    """Numbers and the like need to be named, names do not."""
    return value if re.match(r"[^\W\d]", value) and value not in ("null", "true", "false") else f"{title}={value}"


def _shown_at_first(cells: Sequence[Cell]) -> set[int]:
    """All curves, or the best where there are too many."""
    if len(cells) <= TOLD_APART:
        return set(range(len(cells)))
    metric = names.primary({name for cell in cells for run in cell.complete for name in run.last})
    best = names.ranked(cells, metric) if metric else list(cells)
    kept = {id(cell) for cell in best[:SHOWN_AT_FIRST]}
    return {number for number, cell in enumerate(cells) if id(cell) in kept}
