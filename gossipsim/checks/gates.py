"""Judges results by gates: which runs a gate is about, what value they have, whether that passes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from gossipsim.config import Gate
from gossipsim.results import LABELS, Results, Run, reached

_HOLDS: dict[str, Callable[[float, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "between": lambda value, bounds: bounds[0] <= value <= bounds[1],
}


@dataclass(frozen=True)
class Verdict:
    """What became of one gate.

    Attributes:
        runs: how many runs it is about.
        value: what was compared: of `aggregate` "every" the value furthest on the wrong side; None where a run has no
            such value.
        reason: why it failed where there is no value.
    """

    gate: Gate
    runs: int
    value: float | None
    passed: bool
    reason: str = ""

    @property
    def name(self) -> str:
        """The gate's display name, or what it is about."""
        where = ", ".join(f"{key}={value}" for key, value in self.gate.where.items())
        return self.gate.name or f"{self.gate.metric}{f' of {where}' if where else ''}"

    @property
    def wanted(self) -> str:
        """The gate as a formula: "distance <= 0.01"."""
        gate = self.gate
        best = "best " if gate.value == "best" else ""
        over = "" if gate.aggregate == "every" else f"{gate.aggregate} "
        if isinstance(gate.threshold, list):
            return f"{over}{best}{gate.metric} in [{gate.threshold[0]:g}, {gate.threshold[1]:g}]"
        return f"{over}{best}{gate.metric} {gate.comparison} {gate.threshold:g}"


def judge(results: Results, gates: Sequence[Gate]) -> list[Verdict]:
    """A verdict per gate; a gate that no run matches has failed, and so has one with a run without a result."""
    return [_verdict(results, gate) for gate in gates]


def _verdict(results: Results, gate: Gate) -> Verdict:
    runs = [run for run in results.runs if all(_matches(run, key, value) for key, value in gate.where.items())]
    if not runs:
        return Verdict(gate, 0, None, False, "no run matches")
    values = []
    for run in runs:
        value = _value(results, run, gate)
        if run.status != "complete" or value is None:
            lacks = f"{run.labels['optimizer']}, {run.labels['cell']}, seed {run.seed}"
            what = f"is {run.status}" if run.status != "complete" else f"has no {gate.metric}"
            return Verdict(gate, len(runs), None, False, f"{lacks} {what}")
        values.append(value)
    if gate.aggregate != "every":
        values = [mean(values) if gate.aggregate == "mean" else median(values)]
    holds = [_HOLDS[gate.comparison](value, gate.threshold) for value in values]
    return Verdict(gate, len(runs), _furthest(values, gate), all(holds))


def _value(results: Results, run: Run, gate: Gate) -> float | None:
    """A metric of the history, or what a target took: ``rounds_to_test_accuracy_0.9``, absent where never reached."""
    values = run.last if gate.value == "last" else run.best
    return {**reached(run, results.targets), **values}.get(gate.metric)


def _furthest(values: Sequence[float], gate: Gate) -> float:
    """The value that is worst for the gate."""
    if isinstance(gate.threshold, list):
        middle = sum(gate.threshold) / 2
        return max(values, key=lambda value: abs(value - middle))
    return min(values) if gate.comparison.startswith(">") else max(values)


def _matches(run: Run, key: str, wanted: str | float) -> bool:
    """Whether a run's `key` (a label, "seed", or a dotted path into its configuration) is what a gate asks for.

    A spec is named by its display name, its class path, or the last part of that.
    """
    found: list[Any] = [run.labels[key]] if key in LABELS else []
    if key == "seed":
        found.append(run.seed)
    if key in run.swept:
        found.append(run.swept[key])
    value: Any = run.spec
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    found.append(value)
    return wanted in {name for item in found for name in _names(item)}


def _names(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        path = str(value.get("class", ""))
        return [value.get("name"), path, path.rpartition(".")[2]]
    if isinstance(value, str):
        return [value, value.rpartition(".")[2]]
    return [value] if isinstance(value, int | float) else []
