"""The figures of `gossipsim bench` as a picture: against their goals, and cost against nodes; else as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

REACHED, MISSED = "#1b7f79", "#c44e52"


def draw(measured: dict[str, Any], path: Path) -> None:
    """Writes the picture; the format is that of the suffix of `path`.

    Args:
        measured: what `gossipsim bench --json` prints.
    """
    goals, curve = _against_goals(measured), _curve(measured)
    panels: list[tuple[Callable[[Axes], None], float]] = []
    if goals:
        panels.append((lambda ax: _bars(ax, goals), _height(goals)))
    if curve:
        panels.append((lambda ax: _line(ax, curve), 3.0))
    for unit, values in ({} if panels else _by_unit(measured)).items():
        panels.append((partial(_plain, unit=unit, values=values), _height(values)))
    figure = Figure(figsize=(10, 1.2 + sum(size for _, size in panels)), layout="constrained")
    if panels:
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[size for _, size in panels])[:, 0]
        for ax, (draw_panel, _) in zip(axes, panels, strict=True):
            draw_panel(ax)
    about = measured["machine"]
    title = f"gossipsim {about['gossipsim']}, torch {about['torch']}, {about['processor']}, {about['cores']} cores"
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=144)


def _height(bars: Sized) -> float:
    """Inches."""
    return 0.7 + 0.3 * len(bars)


Bar = tuple[str, float, bool]
"""A name, how many times better than the goal, and whether the goal is reached."""


def _against_goals(measured: dict[str, Any]) -> list[Bar]:
    found = []
    for suite, values in measured["suites"].items():
        for name, about in values["figures"].items():
            if about["goal"] is None:
                continue
            kind, goal = about["goal"].split()
            limit, value = float(goal.replace(",", "")), about["value"]
            better = limit / value if kind == "<=" else value / limit
            found.append((f"{suite}: {name} ({value:,.3g}, goal {about['goal']})", better, bool(about["holds"])))
    return found


def _curve(measured: dict[str, Any]) -> list[tuple[int, float]]:
    """(nodes, microseconds of a node-step)."""
    figures = measured["suites"].get("scaling", {"figures": {}})["figures"]
    named = ((re.fullmatch(r"N=(\d+): .*", name), about["value"]) for name, about in figures.items())
    return [(int(match[1]), value) for match, value in named if match]


def _by_unit(measured: dict[str, Any]) -> dict[str, dict[str, float]]:
    """All figures, those of a unit together."""
    found: dict[str, dict[str, float]] = {}
    for suite, values in measured["suites"].items():
        for name, about in values["figures"].items():
            found.setdefault(about["unit"], {})[f"{suite}: {name}"] = about["value"]
    return found


def _plain(ax: Axes, *, unit: str, values: dict[str, float]) -> None:
    ax.bar_label(ax.barh(list(values), list(values.values()), color=REACHED), fmt="{:,.3g}", padding=3, fontsize=7)
    ax.margins(x=0.08)
    ax.invert_yaxis()
    ax.tick_params(labelsize=7)
    ax.set_xlabel(unit)


def _bars(ax: Axes, bars: list[Bar]) -> None:
    names, values, reached = zip(*bars, strict=True)
    ax.barh(names, values, color=[REACHED if holds else MISSED for holds in reached])
    ax.axvline(1.0, color="black", linewidth=1)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.invert_yaxis()
    ax.tick_params(labelsize=7)
    ax.set_xlabel("times better than the goal (line: the goal)")


def _line(ax: Axes, curve: list[tuple[int, float]]) -> None:
    nodes, cost = zip(*curve, strict=True)
    ax.plot(nodes, cost, marker="o", color=REACHED)
    ax.set_xscale("log", base=2)
    ax.set_xticks(nodes, [str(n) for n in nodes])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("nodes in one process (d = 57)")
    ax.set_ylabel("CPU time of a node-step (us)")
