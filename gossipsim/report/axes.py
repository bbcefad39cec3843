"""Scales, limits and ticks that fit the curves of one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    Formatter,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    ScalarFormatter,
)
from numpy.typing import NDArray

from gossipsim.report import metrics as names
from gossipsim.report.curves import Curve

_DECADES = 16  # below this fraction of the largest value there is rounding only
_TINY, _GAP = 1e-8, 1e3  # fraction of the largest value, and ratio to the next, of what is zero but for rounding
_LOG_FROM = 5.0  # ratio of the largest to the smallest value from which a log axis shows more
_LOG_X_FROM = 20.0  # ratio of the longest to the shortest curve from which the latter is hard to see


def scale_vertically(axes: Axes, curves: Sequence[Curve], metric: str, *, bands: bool) -> None:
    """A log axis where the metric wants one and its values span enough, else a linear one."""
    means = np.concatenate([line.mean for line in curves])
    spread = [line.mean + sign * line.std for line in curves if bands and line.std is not None for sign in (-1, 1)]
    values = np.concatenate([means, *spread])
    axes.set_ylabel(names.label(metric))
    if limits := _log_limits(means, values, metric):
        axes.set_yscale("log", nonpositive="clip")
        low, high = limits
        rounded = bool((means < low).any())
        if rounded:
            low *= (low / high) ** 0.12  # room for the edge, apart from the lowest value that means something
        axes.set_ylim(low, high)
        _log_ticks(axes.yaxis, *limits)
        if rounded:
            _edge(axes.yaxis, low)
        return
    axes.set_yscale("linear")
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    largest = max(abs(low), abs(high))
    if largest == 0 or 1e-3 < largest < 1e5:
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        return
    power = math.floor(math.log10(largest))  # in the label: above the axis it would stand in the title
    axes.set_ylabel(f"{names.label(metric)} (1e{power})")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**power:.3g}"))


def _log_limits(means: NDArray[Any], values: NDArray[Any], metric: str) -> tuple[float, float] | None:
    """Limits of a log axis; None for a linear one.

    A band that reaches below zero is cut at the bottom, which the means set.
    """
    if not names.wants_log(metric) or (not names.never_negative(metric) and means.min() <= 0):
        return None
    positive = means[means > 0]
    top = float(values.max())
    bottom = max(float(positive.min()), top * 10.0**-_DECADES)
    bottom = max(bottom, _above_rounding(positive))
    within = values[(values > 0) & (values >= bottom / 3)]
    if top / bottom < _LOG_FROM:
        return None
    return float(within.min()) / 1.3, top * 1.3


def _above_rounding(values: NDArray[Any]) -> float:
    """The smallest value, or the smallest that is not in a group far below all others: nodes that agree to rounding."""
    ordered = np.sort(values)
    wide = np.flatnonzero((ordered[1:] > _GAP * ordered[:-1]) & (ordered[:-1] < _TINY * ordered[-1]))
    return float(ordered[wide[-1] + 1] if len(wide) else ordered[0])


def _edge(axis: Axis, low: float) -> None:
    """What is drawn at the edge is zero, but for rounding."""
    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    axis.set_major_locator(FixedLocator([low, *locator()]))
    axis.set_major_formatter(FuncFormatter(lambda value, at: "≈ 0" if value <= low * 1.01 else formatter(value, at)))


def _log_ticks(axis: Axis, low: float, high: float, written: Formatter | None = None) -> None:
    """Ticks at decades, on a short axis between them too; `written` by this, or as powers of ten."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    if decades < 2:
        ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
        axis.set_major_formatter(written or FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        stride = math.ceil(decades / 7)
        ticks = [10.0**power for power in range(first, last + 1) if power % stride == 0]
        power_of_ten = FuncFormatter(lambda value, _: names.power_of_ten(round(math.log10(value))))
        axis.set_major_formatter(written or power_of_ten)
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    minor = [digit * 10.0**power for power in range(first, last + 1) for digit in range(2, 10)]
    small = decades < 4
    axis.set_minor_locator(FixedLocator([tick for tick in minor if low <= tick <= high]) if small else NullLocator())
    axis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def scale_horizontally(axes: Axes, curves: Sequence[Curve], x: str) -> None:
    """From zero, or the first record, to the last record of any curve.

    What the curves cost has a log axis where some end long before others; it begins at the first record after zero.
    """
    axes.set_xlabel(names.label(x))
    ends = [line.x[-1] for line in curves]
    low, high = min(line.x[0] for line in curves), max(ends)
    if x in names.AXES and high > _LOG_X_FROM * min(ends):
        low = low or min(line.x[line.x > 0][0] for line in curves)
        axes.set_xscale("log", nonpositive="mask")
        axes.set_xlim(low / 1.1, high * 1.1)
        _log_ticks(axes.xaxis, low, high, EngFormatter(unit="B") if x == "bytes_sent" else None)
        return
    axes.set_xscale("linear")
    margin = 0.02 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    if x == "bytes_sent":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5 if axes.get_position().width > 0.5 else 2))
        axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=x != "sim_time"))
        axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
