"""The primary metric at the end of the runs against each swept value: which value is best, and by how much.

Numbers are a horizontal axis, with a line per optimizer, topology and rest (mean, bars of one std). Other values stand
side by side, with a dot for each seed, the mean and its 95% confidence interval. ``final_<metric>_vs_<path>``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from gossipsim.config.names import short_paths
from gossipsim.report import metrics as names
from gossipsim.report.axes import scale_vertically
from gossipsim.report.curves import Curve
from gossipsim.report.facets import Facets, facets
from gossipsim.report.legend import frame, shorten
from gossipsim.report.parts import TOPOLOGY, Parts
from gossipsim.report.plot import Plot, save
from gossipsim.report.provenance import Provenance
from gossipsim.report.style import Style, Styles
from gossipsim.results import Cell, is_number, safe_name

MOST_VALUES = 12  # side by side
_LOG_FROM = 7.0  # ratio of the largest to the smallest value from which a log axis tells the small ones apart
_LEAST_SEEDS = 3  # for an interval that says anything
_BETWEEN_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")  # of a class name
_ROOM = 0.7  # of a place on the axis, for what stands side by side in it
_LETTERS = 44  # of all labels together, that fit in one line


@dataclass(frozen=True)
class Series:
    """What is joined: cells that differ in the swept value only. ``values`` are those or, of words, their places."""

    panel: str
    style: Style
    values: NDArray[np.float64]
    seeds: list[list[float]]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    ci95: NDArray[np.float64]

    @property
    def curve(self) -> Curve:
        return Curve("", "", self.values, self.mean, self.std)


def draw_finals(
    directory: Path, cells: Sequence[Cell], styles: Styles, parts: Parts, swept: Sequence[str], provenance: Provenance
) -> Iterator[Plot]:
    """A figure for each swept path that has several values among these cells of one task and model."""
    metric = names.primary({name for cell in cells for run in cell.complete for name in run.last})
    if metric is None:
        return
    cells = [cell for cell in cells if cell.summary(metric) is not None]
    for path, short in zip(swept, short_paths(swept), strict=True):
        places = places_of(cells, path, parts)
        if not len(set(places.words)) >= 2 or (not places.numeric and len(set(places.words)) > MOST_VALUES):
            continue
        laid_out = facets(cells, styles, parts, without=(path,), share=len(set(places.words)))
        if not places.numeric and not laid_out.tells_topology and path != TOPOLOGY:
            laid_out = _topology_by_marker(cells, laid_out)
        found = series(cells, metric, places, laid_out)
        labels = cells[0].labels
        title = f"{labels['task']} · {labels['model']}"
        shown = frame(cells, laid_out, title, [_note(cells, short, numeric=places.numeric)], dashes=places.numeric)
        FigureCanvasAgg(shown.figure)
        for name, axes in shown.panels.items():
            _scale(axes, found, metric, places, short)
            _draw(axes, [one for one in found if one.panel == name], numeric=places.numeric)
        shown.label()
        png = directory / f"final_{safe_name(metric)}_vs_{safe_name(short)}.png"
        plot = Plot(
            labels["task"], labels["model"], "final", f"final {names.label(metric)} against {short}", short, png
        )
        save(shown.figure, plot, provenance)
        yield plot


def _topology_by_marker(cells: Sequence[Cell], laid_out: Facets) -> Facets:
    """Where no line is drawn, no dash tells the topology."""
    styles = laid_out.styles
    labels = {cell.labels["cell"] for cell in cells}
    if len({styles.topology(label) for label in labels}) == 1:
        return laid_out
    both = {label: ", ".join(filter(None, (styles.topology(label), styles.rest(label)))) for label in styles.cells}
    return replace(laid_out, styles=styles.within(both))


@dataclass(frozen=True)
class Places:
    """Where each cell stands along the axis, and what is written there."""

    numeric: bool
    values: list[float]
    words: list[str]


def places_of(cells: Sequence[Cell], path: str, parts: Parts) -> Places:
    """Cells in order; those without a value at the path are a word of their own."""
    values = [cell.swept.get(path) for cell in cells]
    topology = path == TOPOLOGY or path.startswith(f"{TOPOLOGY}.")
    if not topology and all(map(is_number, values)):
        numbers = [float(value) for value in values if is_number(value)]
        return Places(True, numbers, [f"{number:g}" for number in numbers])
    words = []
    for cell in cells:
        label = cell.labels["cell"]
        told = parts.topologies.get(label, "") if topology else parts.value(label, path).partition("=")[2]
        words.append(told or cell.labels.get(path, "—"))
    order = list(dict.fromkeys(words))
    return Places(False, [float(order.index(word)) for word in words], words)


def series(cells: Sequence[Cell], metric: str, places: Places, laid_out: Facets) -> list[Series]:
    """Cells that look the same and stand in the same panel, joined in the order of their values."""
    styles = laid_out.styles
    groups: dict[tuple[str, ...], list[tuple[float, Cell]]] = {}
    for cell, value in zip(cells, places.values, strict=True):
        label = cell.labels["cell"]
        style = styles(cell.labels["optimizer"], label)
        look = (style.colour, str(style.dash) if places.numeric else "", style.marker)
        names_of = (styles.group(cell.labels["optimizer"]), styles.topology(label) * places.numeric, styles.rest(label))
        groups.setdefault((laid_out.of(cell), *look, *names_of), []).append((value, cell))
    found = []
    for (panel, *_), members in groups.items():
        members.sort(key=lambda member: member[0])
        first = members[0][1]
        summaries = [summary for _, cell in members if (summary := cell.summary(metric)) is not None]
        found.append(
            Series(
                panel,
                styles(first.labels["optimizer"], first.labels["cell"]),
                np.array([value for value, _ in members]),
                [list(cell.values(metric).values()) for _, cell in members],
                np.array([summary.mean for summary in summaries]),
                np.array([summary.std or 0.0 for summary in summaries]),
                np.array([summary.ci95 or 0.0 if summary.n >= _LEAST_SEEDS else 0.0 for summary in summaries]),
            )
        )
    return found


def _note(cells: Sequence[Cell], path: str, *, numeric: bool) -> str:
    most = max(len(cell.complete) for cell in cells)
    if most == 1:
        return f"By {path}, at the end of the run; one seed."
    if numeric:
        return f"By {path}, at the end of the run: mean over {most} seeds, bars of one standard deviation."
    interval = "; bar: 95% confidence interval (Student t)" if most >= _LEAST_SEEDS else ""
    return f"By {path}, at the end of the run. Small dots: {most} seeds; large: their mean{interval}."


def _scale(axes: Axes, found: Sequence[Series], metric: str, places: Places, label: str) -> None:
    dots = [Curve("", "", one.values, np.array([value]), None) for one in found for own in one.seeds for value in own]
    bars = [one.curve for one in found] if places.numeric else _within(found)
    scale_vertically(axes, [*bars, *dots], metric, bands=True)
    axes.set_xlabel(label)
    ticks = dict(sorted(zip(places.values, places.words, strict=True)))
    low, high = min(ticks), max(ticks)
    logarithmic = places.numeric and low > 0 and high / low >= _LOG_FROM
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.05, high * (high / low) ** 0.05)
    else:
        margin = 0.05 * (high - low) if places.numeric else 0.5
        axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(_spaced(list(ticks), logarithmic=logarithmic)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _written(ticks, value)))
    if not places.numeric and sum(map(len, ticks.values())) > _LETTERS * axes.get_position().width / 0.8:
        width = int(_LETTERS * axes.get_position().width / 0.8 / len(ticks))
        axes.tick_params(axis="x", labelsize=5.5, pad=1.5)
        axes.set_xlabel("")  # further lines need its room; the note has it
        written = {
            tick: "\n".join(textwrap.wrap(_BETWEEN_WORDS.sub(" ", words), max(width, 6))[:3])
            for tick, words in ticks.items()
        }
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: written[min(written, key=lambda t: abs(t - value))])
        )


def _within(found: Sequence[Series]) -> list[Curve]:
    """The intervals, as far as they do not dwarf what was measured: those of few seeds can be very long."""
    values = [value for one in found for own in one.seeds for value in own]
    room = 0.5 * (max(values) - min(values))
    lows = [np.maximum(one.mean - one.ci95, min(values) - room) for one in found]
    highs = [np.minimum(one.mean + one.ci95, max(values) + room) for one in found]
    return [
        Curve("", "", one.values, (low + high) / 2, (high - low) / 2)
        for one, low, high in zip(found, lows, highs, strict=True)
    ]


def _written(ticks: dict[float, str], value: float) -> str:
    return shorten(ticks[min(ticks, key=lambda tick: abs(tick - value))])


def _spaced(values: list[float], *, logarithmic: bool) -> list[float]:
    """Those values that have room for a label of their own."""
    at = np.log(values) if logarithmic else np.array(values)
    span, kept = float(at[-1] - at[0]) or 1.0, [0]
    for number in range(1, len(values)):
        if at[number] - at[kept[-1]] > 0.07 * span:
            kept.append(number)
    return [values[number] for number in kept]


def _draw(axes: Axes, found: Sequence[Series], *, numeric: bool) -> None:
    for number, one in enumerate(found):
        colour, marker = one.style.colour, one.style.marker
        if numeric:
            bars = axes.errorbar(one.values, one.mean, one.std, color=colour, fmt="none", linewidth=0.8, capsize=1.5)
            bars.lines[2][0].set_alpha(0.6)
            line = {"linestyle": one.style.dash, "linewidth": 1.1, "marker": marker, "markersize": 3.2}
            axes.plot(one.values, one.mean, color=colour, **line)
            continue
        step = _ROOM / len(found)
        at = one.values + (number - (len(found) - 1) / 2) * step
        for place, own in zip(at, one.seeds, strict=True):
            beside = place + step * 0.22
            axes.plot([beside] * len(own), own, ".", color=colour, markersize=3.4, markeredgewidth=0, alpha=0.6)
        axes.vlines(at, one.mean - one.ci95, one.mean + one.ci95, color=colour, linewidth=0.9, alpha=0.8)
        axes.plot(at, one.mean, linestyle="", color=colour, marker=marker, markersize=3.4)
