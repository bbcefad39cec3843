"""Words and figures of a progress display: durations, speeds, headlines, and titles that fit a width."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gossipsim.results import LABELS, is_finite

HEADLINES = (
    "test_accuracy",
    "val_accuracy",
    "suboptimality",
    "distance",
    "train_loss",
    "consensus",
    "bytes_sent",
)
"""Metrics that stand for a run, the most telling one first."""

STATUS_STYLES = {
    "complete": "green",
    "diverged": "yellow",
    "failed": "bold red",
    "interrupted": "yellow",
    "running": "cyan",
}

_BETWEEN = " / "

_SWEPT_NAME = re.compile(r"(^|, )[^,=(]+=(?![^(]*\))")  # not a param, inside parentheses


def values_of(cell: str) -> str:
    """The values of a cell's label.

    >>> values_of("topology=ring, partition=Dirichlet(alpha=0.1, min_samples=1)")
    'ring, Dirichlet(alpha=0.1, min_samples=1)'
    """
    return _SWEPT_NAME.sub(r"\1", cell)


def headline(metrics: Mapping[str, Any]) -> str:
    """The first of the headlines that a record has, e.g. `test_accuracy 0.94`."""
    name = next((name for name in HEADLINES if is_finite(metrics.get(name))), None)
    return "" if name is None else f"{name} {metrics[name]:.4g}"


def clock(seconds: float | None) -> str:
    """
    >>> clock(7.4), clock(3723), clock(200000), clock(None)
    ('0:07', '1:02:03', '2 d 7 h', '-')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def per_second(speed: float | None) -> str:
    """Three digits of a speed.

    >>> per_second(0.01234), per_second(12.34), per_second(45678.0), per_second(None)
    ('0.0123', '12.3', '45.7k', '-')
    """
    if speed is None:
        return "-"
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if speed >= factor:
            return f"{speed / factor:.3g}{letter}"
    return f"{speed:.3g}"


def short_title(labels: Mapping[str, str], seed: int, varying: Collection[str], width: int) -> str:
    """A run's title in at most `width` characters, with what tells it from the other runs for as long as there is room.

    Args:
        varying: those of "task", "model", "optimizer", "cell", "seed" that are not the same in all runs.

    >>> labels = {"task": "digits", "model": "MLP", "optimizer": "SGD", "cell": "topology=ring, partition=IID"}
    >>> for width in (60, 50, 30, 20, 16):
    ...     print(short_title(labels, 0, {"optimizer", "cell", "seed"}, width))
    digits / MLP / SGD / topology=ring, partition=IID / seed 0
    SGD / topology=ring, partition=IID / seed 0
    SGD / ring, IID / seed 0
    SGD / ring, IID / 0
    SGD / ring… / 0
    """
    parts: list[str] = []
    for parts in _titles(labels, seed, varying):
        if len(_BETWEEN.join(parts)) <= width:
            return _BETWEEN.join(parts)
    while len(_BETWEEN.join(parts)) > width and max(map(len, parts)) > 2:
        longest = max(range(len(parts)), key=lambda place: len(parts[place]))
        parts[longest] = f"{parts[longest].rstrip('…')[:-1].rstrip(' (,')}…"
    return _BETWEEN.join(parts)[:width]


def _titles(labels: Mapping[str, str], seed: int, varying: Collection[str]) -> Iterator[list[str]]:
    """The parts of titles of one run, each title shorter than the one before or as long."""
    named = {label: labels[label] for label in LABELS if labels[label] != "default"}
    yield [*named.values(), f"seed {seed}"]
    own = {label: value for label, value in named.items() if label in varying}
    seeds = [f"seed {seed}"] if "seed" in varying or not own else []
    yield [*own.values(), *seeds]
    if "cell" in own:
        own["cell"] = values_of(own["cell"])
    yield [*own.values(), *seeds]
    yield [*own.values(), *([str(seed)] if seeds else [])]
