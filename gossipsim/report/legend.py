"""The frame that the figures of one task and model share: panels, title, legend and notes.

The room for tick labels and the legend is computed, not solved for: matplotlib's layout engine draws
everything twice.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from gossipsim.report.facets import Facets
from gossipsim.report.style import Style, Styles
from gossipsim.results import Cell

# Inches. The width is a column of a two-column paper.
WIDTH = 3.5
_PLOT, _WIDE_ROW, _ROW = 1.95, 1.45, 1.15  # heights of panels: the only one, one of a column, one of two columns
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.6, 0.1, 0.24, 0.4
_ABOVE, _BETWEEN = 0.23, 0.14  # the title of a panel; between two columns
_ENTRY, _NOTE = 0.15, 0.1
_HANDLE, _DOT, _CHARACTER = 0.42, 0.2, 0.054  # a piece of line, a marker alone, a letter
_APART = 0.1  # between an entry and the next
_LONGEST = 48  # characters of a legend entry
_SIDE_BY_SIDE = 6  # curves in a panel of half the width, of two
NEUTRAL = "#444444"
MUTED = "#666666"
GUIDE = (0, (1, 1.5))


@dataclass(frozen=True)
class Frame:
    """A figure whose curves are still to be drawn; ``panels`` by what they tell of their cells."""

    figure: Figure
    panels: dict[str, Axes]
    across: Text
    up: Text
    facets: Facets
    guided: bool = False

    def label(self) -> None:
        """One label for all panels, and tick labels at the outer ones only."""
        axes = list(self.panels.values())
        self.across.set_text(axes[0].get_xlabel())
        self.up.set_text(axes[0].get_ylabel())
        for one in axes:
            one.set_xlabel("")
            one.set_ylabel("")


@dataclass(frozen=True)
class _Block:
    """Entries of one kind (colours, dashes or markers) in as many columns as fit."""

    handles: list[Line2D]

    @property
    def handle(self) -> float:
        return _HANDLE if any(handle.get_linestyle() != "None" for handle in self.handles) else _DOT

    @property
    def columns(self) -> list[float]:
        """Widths of the columns, entries running along the rows."""
        letters = (len(str(handle.get_label())) for handle in self.handles)
        widths = [self.handle + _CHARACTER * (count + 1) + _APART for count in letters]
        for count in range(len(widths), 1, -1):
            columns = [max(widths[number::count]) for number in range(count)]
            if sum(columns) <= WIDTH - 0.1:
                return columns
        return [max(widths)]

    @property
    def height(self) -> float:
        return _ENTRY * -(-len(self.handles) // len(self.columns))

    def draw(self, figure: Figure, top: float) -> None:
        """Rows from `top` (inches) down. A Legend would take a third of the time of the whole figure."""
        across, up = 1 / WIDTH, 1 / figure.get_figheight()
        columns = self.columns
        left = max(0.0, (WIDTH - sum(columns)) / 2)
        for number, handle in enumerate(self.handles):
            row, column = divmod(number, len(columns))
            x, y = left + sum(columns[:column]), (top - (row + 0.5) * _ENTRY) * up
            begin, middle, end = (x + offset * self.handle for offset in (0.1, 0.45, 0.8))
            handle.set_data([begin * across, middle * across, end * across], [y, y, y])
            handle.set(transform=figure.transFigure, markevery=[1])
            figure.add_artist(handle)
            figure.text((x + self.handle) * across, y, str(handle.get_label()), fontsize=7, va="center_baseline")


def frame(
    cells: Sequence[Cell], facets: Facets, title: str, notes: Sequence[str], *, dashes: bool = True, guide: str = ""
) -> Frame:
    """An empty figure, tall enough for its legend.

    Args:
        dashes: whether lines are drawn, so that dashes mean something.
        guide: the legend's name of a thin dotted line, if there is to be one.
    """
    blocks = [_Block(handles) for handles in handles_of(cells, facets, dashes=dashes) if handles]
    if guide:
        blocks.append(_Block([Line2D([], [], color=MUTED, linestyle=GUIDE, linewidth=0.9, label=guide)]))
    lines = textwrap.wrap(" ".join(notes), 76)
    legend = sum(block.height + 0.04 for block in blocks)
    below = _BOTTOM + legend + _NOTE * len(lines) + 0.08
    names = list(dict.fromkeys(facets.of(cell) for cell in cells))
    most = max(sum(facets.of(cell) == name for cell in cells) for name in names)
    columns = 1 if len(names) == 1 or (len(names) == 2 and most > _SIDE_BY_SIDE) else 2
    rows = -(-len(names) // columns)
    plot = _PLOT if len(names) == 1 else (_WIDE_ROW if columns == 1 else _ROW if rows > 1 else _WIDE_ROW)
    above = _ABOVE if len(names) > 1 else 0.0
    tall = rows * (plot + above)
    height = _TOP + tall + below
    figure = Figure(figsize=(WIDTH, height))
    wide = (WIDTH - _LEFT - _RIGHT - (columns - 1) * _BETWEEN) / columns
    panels = {}
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        left, bottom = _LEFT + column * (wide + _BETWEEN), below + tall - (row + 1) * (plot + above)
        axes = figure.add_axes((left / WIDTH, bottom / height, wide / WIDTH, plot / height))
        axes.grid(visible=True, which="major")
        axes.tick_params(labelleft=column == 0, labelbottom=number + columns >= len(names))
        if above:
            up = (bottom + plot + 0.05) / height
            figure.text(left / WIDTH, up, shorten(name), fontsize=7, color=NEUTRAL, va="baseline")
        panels[name] = axes
    # Labels at fixed places: to find places, matplotlib measures every tick label again.
    middle = (_LEFT + WIDTH - _RIGHT) / 2 / WIDTH
    across = figure.text(middle, (below - 0.29) / height, "", fontsize=8, ha="center", va="center_baseline")
    beside = figure.text(0.09 / WIDTH, (below + (tall - above) / 2) / height, "", fontsize=8, rotation=90, ha="center")
    beside.set_verticalalignment("center")
    figure.text(_LEFT / WIDTH, 1 - 0.14 / height, shorten(title), color=NEUTRAL, va="center_baseline")
    top = below - _BOTTOM
    for block in blocks:
        block.draw(figure, top)
        top -= block.height + 0.04
    figure.text(0.02, 0.05 / height, "\n".join(lines), fontsize=6, color=MUTED, va="bottom")
    return Frame(figure, panels, across, beside, facets, bool(guide))


def handles_of(cells: Sequence[Cell], facets: Facets, *, dashes: bool = True) -> list[list[Line2D]]:
    """What colours, dashes and markers mean; nothing for a kind that has one value only, or that the panels tell."""
    styles = facets.styles
    names = {"optimizer": styles.group, "topology": styles.topology, "rest": styles.rest}
    shown: dict[str, dict[str, Style]] = {kind: {} for kind in names}
    for cell in cells:
        style = styles(cell.labels["optimizer"], cell.labels["cell"])
        for kind, name in names.items():
            shown[kind].setdefault(name(cell.labels["optimizer" if kind == "optimizer" else "cell"]), style)
    blocks = []
    for kind in dict.fromkeys((styles.coloured, *(["topology"] if dashes else []), styles.marked)):
        told = kind == "topology" and facets.tells_topology
        if not told and (len(shown[kind]) > 1 or kind == "optimizer"):
            blocks.append([_handle(kind, name, style, styles, dashes) for name, style in shown[kind].items()])
    return blocks


def _handle(kind: str, name: str, style: Style, styles: Styles, dashes: bool) -> Line2D:
    """A swatch of what this kind decides: colour, dash, marker."""
    coloured, marked = kind == styles.coloured, kind == styles.marked
    dashed = kind == "topology" and dashes
    return Line2D(
        [],
        [],
        color=style.colour if coloured else NEUTRAL,
        linestyle=style.dash if dashed else "-" if coloured else "",
        linewidth=1.3 if dashed or marked else 2.4,
        marker=style.marker if marked else "",
        label=shorten(name or "—"),
    )


def shorten(text: str) -> str:
    """In one line that fits, the middle left out."""
    text = " ".join(text.split())
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[1 - half :]}"
