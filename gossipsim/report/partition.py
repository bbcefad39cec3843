"""How samples lie on the nodes: a heat map of nodes by classes, beside it each node's size and distance from the whole.

One figure per distinct partition of a task, ``plots/<task>/partition_<cell>``, whatever is trained on it; of each task
and cell the first seed with a result stands for all.
"""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from gossipsim.report.legend import shorten
from gossipsim.report.provenance import plural
from gossipsim.report.style import PALETTE
from gossipsim.results import Results

# Drawn; the counts of all are in the summaries of their runs.
MOST_PARTITIONS = 16
MOST_NODES = 2000

# Inches, as in the other figures; the rows get lower where there are many nodes.
_WIDTH, _LEFT, _RIGHT, _TOP = 3.5, 0.45, 0.1, 0.24
_SIDE, _GAP = 0.55, 0.1
_AXIS, _BAR, _BAR_LABEL, _NOTE = 0.36, 0.07, 0.3, 0.1
_ROW, _LEAST_ROWS, _TALL_ROWS = 0.15, 6, 24
_PIXEL = 1 / 144  # of the PNG
_DIGIT = 0.045  # in a written count

_COUNTS = LinearSegmentedColormap.from_list("counts", ["#d5e7f3", "#6aaed6", PALETTE[0], "#002b49"])


@dataclass(frozen=True)
class Placement:
    """The samples of a task on the nodes; ``counts`` (nodes, classes) and ``distances`` are None without classes.

    ``cells`` is empty where all cells of the task have this partition.
    """

    task: str
    cells: list[str]
    seed: int
    sizes: list[int]
    split: dict[str, int]
    counts: list[list[int]] | None
    distances: list[float] | None
    png: Path

    @property
    def title(self) -> str:
        cells = f": {'; '.join(self.cells)}" if self.cells else ""
        return f"{self.task}{cells} (seed {self.seed})"

    def facts(self) -> dict[str, str]:
        """The statistics in words."""
        small, large = min(self.sizes), max(self.sizes)
        each = f"{small}" if small == large else f"{small} to {large}"
        facts = {"nodes": f"{len(self.sizes)}", "samples of a node": each}
        if self.counts and self.distances:
            owned = [sum(count > 0 for count in row) for row in self.counts]
            few, many = min(owned), max(owned)
            facts["classes of a node"] = f"{few}" if few == many else f"{few} to {many}"
            farthest = int(np.argmax(self.distances))
            facts["total-variation distance"] = (
                f"mean {np.mean(self.distances):.3f}, largest {self.distances[farthest]:.3f} (node {farthest})"
            )
        return facts


def placements(results: Results) -> list[Placement]:
    """One entry per distinct partition, in the order of the runs."""
    users: dict[str, dict[str, Path]] = {}
    seen: set[tuple[str, str]] = set()
    for run in results.runs:
        place = run.labels["task"], run.labels["cell"]
        if place in seen or not run.summary.get("shard_sizes"):
            continue
        seen.add(place)
        keys = ("shard_sizes", "split", "class_histogram", "total_variation")
        identity = json.dumps([run.labels["task"], run.seed, *(run.summary.get(key) for key in keys)])
        task, _, _, cell, _ = run.directory.relative_to(results.directory / "runs").parts
        name = f"partition_{cell}" if run.labels["cell"] else "partition"
        users.setdefault(identity, {})[run.labels["cell"]] = results.directory / "plots" / task / f"{name}.png"
    found = []
    tasks = [json.loads(identity)[0] for identity in users]
    for identity, cells in users.items():
        task, seed, sizes, split, counts, distances = json.loads(identity)
        png, named = next(iter(cells.values())), list(cells)
        if tasks.count(task) == 1:
            png, named = png.with_name("partition.png"), []
        found.append(Placement(task, named, seed, sizes, split or {}, counts, distances, png))
    return found


def drawn(found: list[Placement]) -> list[Placement]:
    """Those that have a figure: with classes, and not too many."""
    with_classes = [one for one in found if one.counts and one.distances and len(one.sizes) <= MOST_NODES]
    return with_classes[:MOST_PARTITIONS]


def heat_map(placement: Placement) -> Figure:
    """Nodes (rows) by classes (columns), the darker the more samples; then sizes and distances."""
    counts = np.array(placement.counts)
    nodes, classes = counts.shape
    lines = textwrap.wrap(_caption(placement), 76)
    plot = _plot_height(nodes)
    below = _AXIS + _BAR + _BAR_LABEL + _NOTE * len(lines)
    height = _TOP + plot + below
    figure = Figure(figsize=(_WIDTH, height))
    FigureCanvasAgg(figure)
    wide = _WIDTH - _LEFT - _RIGHT - 2 * (_SIDE + _GAP)

    def panel(left: float, width: float, bottom: float, tall: float) -> Axes:
        return figure.add_axes((left / _WIDTH, bottom / height, width / _WIDTH, tall / height))

    heat = panel(_LEFT, wide, below, plot)
    _draw_counts(heat, counts, numbers=_numbers_fit(counts, wide / classes))
    heat.set_ylabel("node")
    heat.yaxis.set_label_coords(-0.33 / wide, 0.5)
    first = _LEFT + wide + _GAP
    _draw_side(panel(first, _SIDE, below, plot), placement.sizes, "samples", max(placement.sizes))
    distances = placement.distances or []
    _draw_side(panel(first + _SIDE + _GAP, _SIDE, below, plot), distances, "TV", 1)
    _draw_scale(panel(_LEFT, wide, below - _AXIS - _BAR, _BAR), int(counts.max()))
    title = shorten(_shared(placement.cells) or placement.task)
    figure.text(0.02, 1 - 0.14 / height, title, color="#444444", va="center_baseline")
    figure.text(0.02, 0.05 / height, "\n".join(lines), fontsize=6, color="#666666", va="bottom")
    return figure


def _shared(cells: list[str]) -> str:
    """What the labels of the cells have in common, else all of them."""
    parts = [cell.split(", ") for cell in cells]
    common = [part for part in parts[0] if all(part in other for other in parts)] if parts else []
    return ", ".join(common) or "; ".join(filter(None, cells))


def _caption(placement: Placement) -> str:
    facts = placement.facts()
    return (
        f"{placement.task}, seed {placement.seed}: {plural(len(placement.sizes), 'node')} with "
        f"{facts['samples of a node']} samples. TV: total-variation distance between a node's class proportions and "
        f"those of all, {facts['total-variation distance']}. Lines: means."
    )


def _plot_height(nodes: int) -> float:
    """Rows of a full height while they are few; then of whole pixels, so that every node is seen."""
    if nodes <= _TALL_ROWS:
        return _ROW * max(nodes, _LEAST_ROWS)
    return nodes * _PIXEL * math.ceil(_ROW * _TALL_ROWS / (nodes * _PIXEL))


def _numbers_fit(counts: NDArray[Any], cell: float) -> bool:
    return len(counts) <= _TALL_ROWS and len(str(counts.max())) * _DIGIT <= cell


def _draw_counts(axes: Axes, counts: NDArray[Any], *, numbers: bool) -> None:
    nodes, classes = counts.shape
    colours = _COUNTS(Normalize(vmin=1, vmax=max(int(counts.max()), 2))(counts))
    colours[counts == 0] = (1, 1, 1, 1)
    axes.imshow(colours, aspect="auto", interpolation="nearest")
    axes.xaxis.set_major_locator(FixedLocator(_numbered(classes, 16)))
    axes.yaxis.set_major_locator(FixedLocator(_numbered(nodes, _TALL_ROWS)))
    axes.tick_params(length=2)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_xlabel("class", labelpad=1)
    if not numbers:
        return
    dark = counts > 0.4 * counts.max()
    for node, number in zip(*np.nonzero(counts), strict=True):
        colour = "white" if dark[node, number] else "#1d2430"
        axes.text(number, node, str(counts[node, number]), size=5, color=colour, ha="center", va="center_baseline")


def _numbered(count: int, all_up_to: int) -> range:
    """Which rows or columns have their number at the axis: all, or about ten at round numbers."""
    if count <= all_up_to:
        return range(count)
    power = 10 ** (len(str(count // 10)) - 1)
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if count / step <= 12)
    return range(0, count, step)


def _draw_side(axes: Axes, values: list[Any], label: str, most: float) -> None:
    """A bar per node, in the rows of the heat map, and the mean as a line."""
    axes.stairs(values, np.arange(len(values) + 1) - 0.5, orientation="horizontal", fill=True, color="#9aa6b5")
    axes.axvline(float(np.mean(values)), color=PALETTE[1], linewidth=0.8)
    axes.set_xlim(0, 1.02 * most)
    axes.set_ylim(len(values) - 0.5, -0.5)
    _two_ticks(axes, 0, most)
    axes.set_xlabel(label, labelpad=1)


def _draw_scale(axes: Axes, most: int) -> None:
    """What the colours mean; white is none."""
    axes.imshow(_COUNTS(np.linspace(0, 1, 256))[None, :], aspect="auto", extent=(1, max(most, 2), 0, 1))
    _two_ticks(axes, 1, max(most, 2))
    axes.set_xlabel("samples (white: none)", labelpad=-6, fontsize=7)


def _two_ticks(axes: Axes, low: float, high: float) -> None:
    """Ticks at both ends only, their labels inside, so that those of two panels stay apart."""
    axes.set_yticks([])
    axes.set_xticks([low, high])
    axes.tick_params(length=2)
    left, right = axes.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
