"""Which candidate stands for a tuned optimizer: the best by a validation metric, under an equal budget.

Compared are the candidates of one optimizer in one task, model and cell, by the mean of the metric at the end of the
run, over complete seeds. A candidate with more seeds that diverged, failed or are missing loses to one with fewer,
whatever its mean; among equals the first listed wins. The test set is never looked at, and nothing is chosen anew
for another cell's sake: what is reported on the test set is that of the choice made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gossipsim.results.cells import Cell, higher_is_better, is_finite
from gossipsim.results.statistics import Summary

DEFAULTS = ("val_accuracy", "val_loss", "suboptimality", "train_loss")
"""Without a metric of its own, a selection takes the first of these that was recorded."""


@dataclass(frozen=True)
class Candidate:
    """``optimizer`` is its label, ``params`` are its values of what is tuned; ``seeds`` are those planned.

    ``validation`` summarizes the metric over complete seeds; None where there is none. ``lost`` counts the seeds
    without a complete run, ``diverged`` those of them that diverged.
    """

    optimizer: str
    params: dict[str, Any]
    validation: Summary | None
    seeds: int
    lost: int
    diverged: int
    cell: Cell


@dataclass(frozen=True)
class Selection:
    """The candidates of an optimizer in a task, model and cell; ``chosen`` is None where none has a value."""

    task: str
    model: str
    cell: str
    optimizer: str
    metric: str | None
    candidates: list[Candidate]
    chosen: Candidate | None

    @property
    def standing(self) -> Cell:
        """The cell that stands for the optimizer: the chosen one's, or the first one's while there is no choice."""
        return (self.chosen or self.candidates[0]).cell


def select(cells: Sequence[Cell], metric: str | None = None) -> list[Selection]:
    """A selection for each task, model, cell and tuned optimizer; untuned cells are left out.

    Raises:
        ValueError: for a metric of the test set.
    """
    if metric is not None and "test" in metric.split("_"):
        raise ValueError(
            f"selection by {metric!r}: the test set is not for choosing; use e.g. val_accuracy or val_loss"
        )
    groups: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.tuned is not None:
            labels = cell.labels
            group = (labels["task"], labels["model"], labels["cell"], cell.tuned["optimizer"])
            groups.setdefault(group, []).append(cell)
    return [_selection(group, members, metric) for group, members in groups.items()]


def _selection(group: tuple[str, str, str, str], cells: Sequence[Cell], metric: str | None) -> Selection:
    if metric is None:
        metric = next((name for name in DEFAULTS if any(cell.values(name) for cell in cells)), None)
    candidates = [_candidate(cell, metric) for cell in cells]
    chosen = _best(candidates, metric) if metric is not None else None
    task, model, cell, optimizer = group
    return Selection(task, model, cell, optimizer, metric, candidates, chosen)


def _candidate(cell: Cell, metric: str | None) -> Candidate:
    return Candidate(
        optimizer=cell.labels["optimizer"],
        params=dict((cell.tuned or {}).get("params", {})),
        validation=cell.summary(metric) if metric is not None else None,
        seeds=len(cell.runs),
        lost=len(cell.runs) - len(cell.complete),
        diverged=cell.diverged,
        cell=cell,
    )


def _best(candidates: Sequence[Candidate], metric: str) -> Candidate | None:
    sign = -1 if higher_is_better(metric) else 1
    ranks = [
        (each.lost, sign * each.validation.mean, number)
        for number, each in enumerate(candidates)
        if each.validation is not None and is_finite(each.validation.mean)
    ]
    return candidates[min(ranks)[-1]] if ranks else None
