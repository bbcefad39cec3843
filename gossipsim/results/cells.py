"""Runs as their files hold them, and cells: runs that differ in nothing but their seed.

Statistics are taken over the *complete* seeds of a cell; diverged seeds are left out and counted.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gossipsim.results.files import read_jsonl
from gossipsim.results.statistics import Summary, summarize

COUNTERS = ("epoch", "step", "round", "bytes_sent", "messages", "gradient_evals", "lmo_calls", "sim_time")

_HIGHER_IS_BETTER = re.compile(r"accuracy|(^|_)(f1|auc|precision|recall|r2)(_|$)")


def is_number(value: Any) -> TypeGuard[int | float]:
    """An int or a float, NaN included; a bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: Any) -> TypeGuard[int | float]:
    return is_number(value) and math.isfinite(value)


def higher_is_better(metric: str) -> bool:
    """Accuracy and other scores; losses, distances and gaps are better when lower.

    >>> higher_is_better("local_test_accuracy_worst"), higher_is_better("consensus")
    (True, False)
    """
    return bool(_HIGHER_IS_BETTER.search(metric))


@dataclass(frozen=True)
class Run:
    """One run: ``status`` is complete, diverged, failed, interrupted, running, or missing (never started).

    ``labels`` are the display names of task, model, optimizer and cell; ``swept`` maps swept paths to values;
    ``spec`` is the resolved run; ``history``, ``steps``, ``timing`` and ``summary`` are what its files hold. ``tuned``,
    of a candidate: "optimizer", what it is called untuned, and its "params". ``doubts``: how its files differ from
    those that were written.
    """

    directory: Path
    key: str
    seed: int
    labels: dict[str, str]
    swept: dict[str, Any]
    status: str = "missing"
    error: dict[str, Any] | None = None
    version: str = ""
    tuned: dict[str, Any] | None = None
    spec: dict[str, Any] = field(default_factory=dict, repr=False)
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    steps: list[dict[str, Any]] = field(default_factory=list, repr=False)
    timing: list[dict[str, Any]] = field(default_factory=list, repr=False)
    summary: dict[str, Any] = field(default_factory=dict, repr=False)
    doubts: list[str] = field(default_factory=list)

    def parameters(self) -> NDArray[Any]:
        """Final rows, shape (nodes, d), read from the file.

        Raises:
            FileNotFoundError: when the run has no result.
        """
        path = self.directory / "parameters.npz"
        if not path.exists():
            raise FileNotFoundError(f"{path}: no final parameters; the status of this run is {self.status!r}")
        with np.load(path, allow_pickle=False) as stored:
            rows: NDArray[Any] = stored["params"]
        return rows

    def frames(self) -> list[dict[str, Any]]:
        """What nodes.jsonl holds of the single nodes, read from the file; nothing where there is none."""
        return read_jsonl(self.directory / "nodes.jsonl")

    @cached_property
    def last(self) -> dict[str, float]:
        """The last value of each metric in the history."""
        return {name: value for record in self.history for name, value in record.items() if is_number(value)}

    @cached_property
    def best(self) -> dict[str, float]:
        """The best finite value of each metric; counters have no better direction and are absent."""
        found: dict[str, float] = {}
        for record in self.history:
            for name, value in record.items():
                if name in COUNTERS or not is_finite(value):
                    continue
                choose = max if higher_is_better(name) else min
                found[name] = choose(found.get(name, value), value)
        return found


@dataclass(frozen=True)
class Cell:
    """The seeds of one task, model, optimizer and combination of swept values."""

    labels: dict[str, str]
    swept: dict[str, Any]
    runs: list[Run]

    @property
    def complete(self) -> list[Run]:
        return [run for run in self.runs if run.status == "complete"]

    @property
    def tuned(self) -> dict[str, Any] | None:
        """Of a candidate: "optimizer", what it is called untuned, and its "params"."""
        return self.runs[0].tuned

    @property
    def diverged(self) -> int:
        return sum(run.status == "diverged" for run in self.runs)

    def values(self, metric: str) -> dict[int, float]:
        """The last value of each complete seed that recorded the metric."""
        return {run.seed: run.last[metric] for run in self.complete if metric in run.last}

    def summary(self, metric: str) -> Summary | None:
        """Mean, standard deviation and 95% confidence interval of the last values; None where there are none."""
        return summarize(self.values(metric).values())

    def statistics(self, metric: str) -> tuple[float | None, float | None]:
        """Mean and standard deviation of the last values over complete seeds; None where undefined."""
        found = self.summary(metric)
        return (None, None) if found is None else (found.mean, found.std)
