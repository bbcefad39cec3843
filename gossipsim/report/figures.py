"""The plots of an experiment: a figure per metric, in it a curve per cell (mean, band of one std over seeds).

Figures are a column wide and come as PNG and PDF under ``plots/<task>/<model>/``, those of partitions under
``plots/<task>/``, those of networks under ``plots/``. Drawing is most of what a report costs: a figure and its legend
are made once per set of cells and the curves in it replaced.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gossipsim.report import metrics as names
from gossipsim.report.axes import scale_horizontally, scale_vertically
from gossipsim.report.curves import Curve, curve, further_axes, horizontal
from gossipsim.report.facets import Facets, facets
from gossipsim.report.finals import draw_finals
from gossipsim.report.guide import NAME, guides
from gossipsim.report.legend import GUIDE, MUTED, Frame, frame
from gossipsim.report.networks import draw_networks
from gossipsim.report.partition import drawn, heat_map, placements
from gossipsim.report.parts import Parts
from gossipsim.report.plot import Plot, save
from gossipsim.report.provenance import Provenance, plural
from gossipsim.report.style import Styles, add_font, settings
from gossipsim.results import COUNTERS, Cell, Results, is_number, safe_name

MOST_METRICS = 14  # per task and model
MOST_STEP_METRICS = 6
MOST_CELLS, MOST_CURVES = 24, 48  # in one figure
_GUIDED = ("epoch", "step", "round")  # the axes along which mixing is a straight line
BANDS_UP_TO = 12  # curves in a panel; more bands than that hide each other


@dataclass(frozen=True)
class _Group:
    """The cells of one task and model that are drawn together."""

    directory: Path
    cells: list[Cell]
    notes: list[str]
    facets: Facets

    @property
    def labels(self) -> dict[str, str]:
        return self.cells[0].labels


def draw(results: Results, provenance: Provenance) -> list[Plot]:
    """Draws all figures of an experiment, whatever the reader's own matplotlib settings are."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script without a font shows boxes
        mpl.rcdefaults()
        add_font()
        mpl.rcParams.update(settings(text for run in results.runs for text in run.labels.values()))
        return list(_draw(results, Styles.of(results), Parts.of(results), provenance))


def _draw(results: Results, styles: Styles, parts: Parts, provenance: Provenance) -> Iterator[Plot]:
    for group in _groups(results, styles, parts):
        yield from _draw_group(group, provenance)
        yield from draw_finals(group.directory, group.cells, styles, parts, results.swept, provenance)
    for placement in drawn(placements(results)):
        plot = Plot(placement.task, "", "data", "samples of each class at each node", "", placement.png)
        save(heat_map(placement), plot, provenance)
        yield plot
    yield from draw_networks(results, styles, provenance)


def _groups(results: Results, styles: Styles, parts: Parts) -> list[_Group]:
    cells: dict[Path, list[Cell]] = {}
    for cell in results.selected_cells:
        task_and_model = cell.runs[0].directory.relative_to(results.directory / "runs").parts[:2]
        cells.setdefault(results.directory.joinpath("plots", *task_and_model), []).append(cell)
    return [_group(directory, members, styles, parts) for directory, members in cells.items()]


def _group(directory: Path, members: list[Cell], styles: Styles, parts: Parts) -> _Group:
    notes = [_seeds_note(members)]
    if any(cell.tuned for cell in members):
        notes.append("Tuned optimizers: the candidate chosen by validation.")
    if diverged := sum(cell.diverged for cell in members):
        notes.append(f"{plural(diverged, 'diverged run')} left out.")
    if absent := sum(len(cell.runs) - len(cell.complete) - cell.diverged for cell in members):
        notes.append(f"{plural(absent, 'run')} without a result.")
    labels = list(dict.fromkeys(cell.labels["cell"] for cell in members))
    optimizers = len({cell.labels["optimizer"] for cell in members})
    most = min(MOST_CELLS, max(MOST_CURVES // optimizers, 12))
    if len(labels) > most:
        kept, criterion = _best_cells(members, most)
        notes.append(f"{most} of {len(labels)} cells shown, {criterion}.")
        members = [cell for cell in members if cell.labels["cell"] in kept]
    return _Group(directory, members, notes, facets(members, styles, parts))


def _seeds_note(members: Sequence[Cell]) -> str:
    seeds = sorted({len(cell.complete) for cell in members} - {0})
    if not seeds or seeds[-1] == 1:
        return "One seed." if seeds else "No complete run."
    many = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    return f"Mean over {many} seeds; band: one standard deviation."


def _best_cells(members: Sequence[Cell], most: int) -> tuple[set[str], str]:
    """The labels of the cells that rank first in the primary metric, with any optimizer."""
    metric = names.primary({name for cell in members for run in cell.complete for name in run.last})
    if metric is None:
        return set(list(dict.fromkeys(cell.labels["cell"] for cell in members))[:most]), "the first"
    ranked = names.ranked(members, metric)
    best = list(dict.fromkeys(cell.labels["cell"] for cell in ranked))[:most]
    return set(best), f"those best in {names.label(metric)}"


def _draw_group(group: _Group, provenance: Provenance) -> Iterator[Plot]:
    labels = group.labels
    across = horizontal(run for cell in group.cells for run in cell.complete)
    frames: dict[tuple[int, ...], Frame] = {}  # by the cells in them: not every cell has every metric
    for section, metric, x, records in _wanted(group.cells):
        lines = [(cell, curve(cell, x, metric, records=records)) for cell in group.cells]
        drawn = [(cell, line) for cell, line in lines if line is not None and line.advances]
        if not drawn or (names.never_negative(metric) and not any((line.mean > 0).any() for _, line in drawn)):
            continue
        guided = metric == "consensus" and x in _GUIDED
        present = (int(guided), *(id(cell) for cell, _ in drawn))
        if present not in frames:
            title = f"{labels['task']} · {labels['model']}"
            cells = [cell for cell, _ in drawn]
            frames[present] = frame(cells, group.facets, title, group.notes, guide=NAME if guided else "")
            FigureCanvasAgg(frames[present].figure)
        shown = frames[present]
        _draw_curves(shown, drawn, metric, x)
        suffix = "" if x == across or section == "steps" else f"_vs_{x}"
        folder = group.directory / "steps" if section == "steps" else group.directory
        title = f"{names.label(metric)} against {names.label(x)}"
        plot = Plot(labels["task"], labels["model"], section, title, x, folder / f"{safe_name(metric)}{suffix}.png")
        save(shown.figure, plot, provenance)
        yield plot


def _wanted(cells: Sequence[Cell]) -> Iterator[tuple[str, str, str, str]]:
    """(section, metric, horizontal axis, kind of records) of each figure."""
    runs = [run for cell in cells for run in cell.complete]
    recorded = list(dict.fromkeys(name for run in runs for name in run.last))
    metrics = names.curve_metrics(recorded, COUNTERS, MOST_METRICS)
    across = horizontal(runs)
    for metric in metrics:
        yield "curves", metric, across, "history"
    for axis in further_axes(runs, across):
        for metric in names.main_metrics(metrics)[: names.MOST_MAIN if axis in names.COSTS else 2]:
            yield "curves", metric, axis, "history"
    logged = dict.fromkeys(name for run in runs for record in run.steps for name in record if is_number(record[name]))
    for metric in [name for name in logged if name not in COUNTERS][:MOST_STEP_METRICS]:
        yield "steps", metric, "step", "steps"


def _draw_curves(shown: Frame, drawn: Sequence[tuple[Cell, Curve]], metric: str, x: str) -> None:
    curves = [line for _, line in drawn]
    panels: dict[str, list[tuple[Cell, Curve]]] = {name: [] for name in shown.panels}
    for cell, line in drawn:
        panels[shown.facets.of(cell)].append((cell, line))
    bands = max(map(len, panels.values())) <= BANDS_UP_TO
    for name, axes in shown.panels.items():
        for artist in [*axes.lines, *axes.collections, *axes.texts]:
            artist.remove()
        scale_vertically(axes, curves, metric, bands=bands)
        scale_horizontally(axes, curves, x)
        _draw_panel(axes, panels[name], shown.facets.styles, bands=bands)
        if shown.guided:
            _draw_guides(axes, panels[name], shown.facets.styles, x)
    shown.label()


def _draw_panel(axes: Axes, drawn: Sequence[tuple[Cell, Curve]], styles: Styles, *, bands: bool) -> None:
    edge = axes.get_ylim()[0] if axes.get_yscale() == "log" else -np.inf
    crowded = len(drawn) > 4
    for number, (_, line) in enumerate(drawn):
        style = styles(line.optimizer, line.cell)
        every = max(1, len(line.x) // 6)
        axes.plot(
            line.x,
            np.where((line.mean > 0) | (edge < 0), np.maximum(line.mean, edge), np.nan),
            color=style.colour,
            linestyle=style.dash,
            marker=style.marker if len(drawn) > 1 else "",
            markevery=(number * every // len(drawn), every),
            linewidth=1.0 if crowded else 1.2,
            markersize=2.6 if crowded else 3.2,
            alpha=0.9,
        )
        if bands and line.std is not None:
            low, high = line.mean - line.std, line.mean + line.std
            axes.fill_between(line.x, low, high, color=style.colour, alpha=0.1 if crowded else 0.15, linewidth=0)


def _draw_guides(axes: Axes, drawn: Sequence[tuple[Cell, Curve]], styles: Styles, x: str) -> None:
    """Thin dotted lines, each with its topology at a height of its own."""
    if axes.get_yscale() != "log":
        return
    found = guides(drawn, x, styles.topology, lowest=axes.get_ylim()[0])
    left, right = axes.get_xlim()
    for number, one in enumerate(found):
        axes.plot(one.x, one.y, color=MUTED, linestyle=GUIDE, linewidth=0.9, zorder=3)
        heights = np.log(one.y)
        at = int(np.argmin(np.abs(heights - heights[-1] - (heights[0] - heights[-1]) * (0.12 + 0.2 * number))))
        late = one.x[at] > (left + right) / 2  # below the line, where there is room to the left
        name = one.topology if len(found) > 1 else "slem"
        text = f"{name} {one.slem:.2f} " if late else f" {name} {one.slem:.2f}"
        side, up = ("right", "top") if late else ("left", "bottom")
        axes.text(one.x[at], one.y[at], text, fontsize=5.5, color=MUTED, ha=side, va=up)
