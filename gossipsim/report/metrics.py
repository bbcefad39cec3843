"""What the report knows about recorded numbers: labels, axes, order, and how numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence

from gossipsim.results import Cell, higher_is_better

# The first one that was recorded ranks the table.
PRIMARY = (
    "test_accuracy",
    "val_accuracy",
    "suboptimality",
    "distance",
    "test_loss",
    "val_loss",
    "train_loss",
    "consensus",
)
COLUMNS = (
    *PRIMARY[:-1],
    "fw_gap",
    "feasibility",
    "consensus",
    "bytes_sent",
    "gradient_evals",
    "lmo_calls",
    "sim_time",
)
CURVES = (*PRIMARY, "fw_gap", "feasibility")
MAIN = ("train_loss", "suboptimality", "distance", "consensus", "fw_gap")
MOST_MAIN = 4
COSTS = ("round", "bytes_sent", "sim_time")
AXES = (*COSTS, "gradient_evals")

_NEVER_NEGATIVE = ("consensus", "suboptimality", "distance", "fw_gap", "feasibility")
_LABELS = {
    "consensus": "consensus error",
    "fw_gap": "Frank-Wolfe gap",
    "feasibility": "infeasibility",
    "bytes_sent": "bytes sent",
    "gradient_evals": "gradient evaluations",
    "lmo_calls": "LMO calls",
    "sim_time": "simulated time (s)",
    "train_seconds": "train time (s)",
    "batch_loss": "batch loss",
}
_LOCAL = re.compile(r"local_(.+)_(mean|worst)$")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def label(metric: str) -> str:
    """
    >>> label("test_accuracy"), label("local_val_loss_worst")
    ('test accuracy', 'val loss, worst node')
    """
    if local := _LOCAL.match(metric):
        return f"{label(local[1])}, {'worst node' if local[2] == 'worst' else 'mean of nodes'}"
    return _LABELS.get(metric, metric.replace("_", " "))


def wants_log(metric: str) -> bool:
    """Whether the metric spans decades: losses, errors and gaps."""
    return metric in _NEVER_NEGATIVE or "loss" in metric


def never_negative(metric: str) -> bool:
    """Whether a value below zero can only be rounding, so that a log axis may leave it out."""
    return metric in _NEVER_NEGATIVE


def primary(metrics: Collection[str]) -> str | None:
    """The metric that ranks the table, of those recorded."""
    return next((name for name in PRIMARY if name in metrics), None)


def curve_metrics(metrics: Iterable[str], counters: Collection[str], most: int) -> list[str]:
    """The metrics worth a figure: the known, the nodes' own of the primary one, what users added."""
    names = list(metrics)
    first = primary(names)
    known = [name for name in CURVES if name in names]
    local = [name for name in names if (found := _LOCAL.match(name)) and found[1] == first]
    other = [name for name in names if name not in {*known, *counters} and not _LOCAL.match(name)]
    return (known + local + other)[:most]


def main_metrics(metrics: Sequence[str]) -> list[str]:
    """Those that are also drawn against what they cost, the primary one first.

    >>> main_metrics(["consensus", "test_accuracy", "test_loss", "train_loss"])
    ['test_accuracy', 'train_loss', 'consensus']
    """
    first = primary(metrics)
    return list(dict.fromkeys(name for name in (first, *MAIN) if name in metrics and name is not None))[:MOST_MAIN]


def power_of_ten(exponent: int) -> str:
    """
    >>> power_of_ten(-12)
    '10⁻¹²'
    """
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def number(value: float | None, metric: str = "") -> str:
    """A number for people: four digits, bytes with a unit, never more than they can tell apart.

    >>> number(0.98765432), number(1.5e-9), number(20480, "bytes_sent"), number(float("nan")), number(None)
    ('0.9877', '1.500e-09', '20.48 kB', 'nan', '')
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if metric == "bytes_sent":
        return _bytes(value)
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value)}"
    return f"{value:.4f}" if 1e-2 <= abs(value) < 10 else f"{value:#.4g}"


def with_spread(mean: float | None, std: float | None, metric: str = "") -> str:
    """``mean ± std``; the std with two digits.

    >>> with_spread(0.91234, 0.00456), with_spread(0.5, None), with_spread(3e-8, 1.23e-9)
    ('0.9123 ± 0.0046', '0.5000', '3.000e-08 ± 1.2e-09')
    """
    if std is None or mean is None or metric == "bytes_sent":
        return number(mean, metric)
    small = f"{std:.4f}" if 1e-3 <= std < 10 else f"{std:.2g}"
    return f"{number(mean, metric)} ± {small}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.4g} {unit}"
        value /= 1000
    return f"{value:.4g} TB"


def ranked(cells: Sequence[Cell], metric: str) -> list[Cell]:
    """Best mean first; then cells with diverged seeds, flattered by the others; then those without."""

    def order(cell: Cell) -> tuple[bool, bool, float]:
        mean, _ = cell.statistics(metric)
        if mean is None or math.isnan(mean):
            return True, cell.diverged > 0, 0.0
        return False, cell.diverged > 0, -mean if higher_is_better(metric) else mean

    return sorted(cells, key=order)
