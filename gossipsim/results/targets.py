"""What it took to reach a target: epochs, rounds, bytes and simulated seconds.

A run reaches a target in its first history record whose metric is at least the target where higher is better, at most
the target otherwise. What it took are the counters of that record: the true cost lies between those of the record
before it and these, so that ``eval_every`` sets the resolution. Nothing is interpolated, and what comes later does not
matter: a run that is worse again at its end has reached the target all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gossipsim.results.cells import Run, higher_is_better, is_number

Targets = Mapping[str, Sequence[float]]

COSTS = {"epochs": "epoch", "rounds": "round", "bytes": "bytes_sent", "sim_seconds": "sim_time"}
"""First part of a column's name -> the counter that it holds."""


def target_columns(targets: Targets) -> list[str]:
    """
    >>> target_columns({"test_accuracy": [0.9]})[:2]
    ['epochs_to_test_accuracy_0.9', 'rounds_to_test_accuracy_0.9']
    """
    return [_column(cost, metric, value) for metric, values in targets.items() for value in values for cost in COSTS]


def reached(run: Run, targets: Targets) -> dict[str, float]:
    """What each target that a run has reached took, by column; what was not reached, or not counted, is absent."""
    found: dict[str, float] = {}
    for metric, values in targets.items():
        for value in values:
            record = next((record for record in run.history if _holds(metric, record.get(metric), value)), {})
            for cost, counter in COSTS.items():
                if counter in record:
                    found[_column(cost, metric, value)] = record[counter]
    return found


def _holds(metric: str, found: object, target: float) -> bool:
    if not is_number(found):
        return False
    return found >= target if higher_is_better(metric) else found <= target


def _column(cost: str, metric: str, value: float) -> str:
    return f"{cost}_to_{metric}_{value:g}"
