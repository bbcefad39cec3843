"""An experiment read back from its files: runs, the cells that group their seeds, and statistics over seeds.

Mean and standard deviation are taken over the *complete* seeds of a cell, the latter with n - 1; diverged
seeds are left out and counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gossipsim.results.files import LABELS, find_experiments, read_json, read_jsonl

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
    ``spec`` is the resolved run; ``history``, ``steps``, ``timing`` and ``summary`` are what its files hold.
    """

    directory: Path
    key: str
    seed: int
    labels: dict[str, str]
    swept: dict[str, Any]
    status: str = "missing"
    error: dict[str, Any] | None = None
    version: str = ""
    spec: dict[str, Any] = field(default_factory=dict, repr=False)
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    steps: list[dict[str, Any]] = field(default_factory=list, repr=False)
    timing: list[dict[str, Any]] = field(default_factory=list, repr=False)
    summary: dict[str, Any] = field(default_factory=dict, repr=False)

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
    def diverged(self) -> int:
        return sum(run.status == "diverged" for run in self.runs)

    def statistics(self, metric: str) -> tuple[float | None, float | None]:
        """Mean and standard deviation of the last values over complete seeds; None where undefined."""
        values = [run.last[metric] for run in self.complete if metric in run.last]
        if not values:
            return None, None
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True)
class Results:
    """The runs of one experiment, in grid order, then task, model, optimizer, seed."""

    directory: Path
    runs: list[Run]
    name: str = ""
    key: str = ""
    swept: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.status == "failed"]

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the recorded numbers, in the order in which they first appear."""
        records = (record for run in self.runs for record in run.history)
        return list(dict.fromkeys(name for record in records for name in record if is_number(record[name])))

    @cached_property
    def cells(self) -> list[Cell]:
        """Runs that differ in nothing but their seed, together."""
        groups: dict[Path, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.directory.parent, []).append(run)
        return [Cell(runs[0].labels, runs[0].swept, runs) for runs in groups.values()]

    def table(self) -> list[dict[str, Any]]:
        """A row per run, with the columns of results.csv; what does not apply to a run is absent."""
        rows = []
        for run in self.runs:
            row: dict[str, Any] = {**run.labels, "seed": run.seed, "status": run.status, "key": run.key}
            row |= {path: run.swept[path] for path in self.swept if path in run.swept}
            row |= {f"last_{name}": value for name, value in run.last.items()}
            row |= {f"best_{name}": value for name, value in run.best.items()}
            rows.append(row)
        return rows


def load(directory: Path | str) -> Results:
    """Reads an experiment directory, or the newest experiment of a workflow.

    Raises:
        FileNotFoundError: when `directory` is neither.
        ValueError: naming the file that is damaged.
    """
    path = Path(directory)
    if not (path / "resolved.json").is_file():
        path = _newest(path)
    plan = read_json(path / "resolved.json")
    return Results(
        directory=path,
        runs=[_read_run(path, entry) for entry in plan["runs"]],
        name=plan.get("name", path.name),
        key=plan.get("key", ""),
        swept=list(plan.get("swept", [])),
    )


def _newest(path: Path) -> Path:
    for candidate in reversed(find_experiments(path)):
        if (candidate / "resolved.json").is_file():
            return candidate
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such directory; give an experiment (exp_0001) or its workflow")
    above = next((parent for parent in path.resolve().parents if (parent / "resolved.json").is_file()), None)
    raise FileNotFoundError(
        f"{path}: neither an experiment (it has no resolved.json) nor a workflow (no exp_0001, exp_0002, ..."
        f" with one)" + (f"; it belongs to the experiment {above}, give that" if above else "")
    )


def _read_run(experiment: Path, entry: Mapping[str, Any]) -> Run:
    directory = experiment / entry["directory"]
    started = (directory / "run.json").is_file()
    record: dict[str, Any] = read_json(directory / "run.json") if started else {"status": "missing"}
    summary = directory / "summary.json"
    return Run(
        directory=directory,
        key=record.get("key", entry["key"]),
        seed=entry["seed"],
        labels={label: entry[label] for label in LABELS},
        swept=dict(entry.get("swept", {})),
        status=record["status"],
        error=record.get("error"),
        version=record.get("version", ""),
        spec=record.get("spec", {}),
        history=read_jsonl(directory / "history.jsonl") if started else [],
        steps=read_jsonl(directory / "steps.jsonl") if started else [],
        timing=read_jsonl(directory / "timing.jsonl") if started else [],
        summary=read_json(summary) if started and summary.is_file() else {},
    )
