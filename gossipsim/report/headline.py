"""The result of a task and model in one honest sentence: the best cell, how sure that is, and what is as good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossipsim.report import metrics as names
from gossipsim.report.ranking import Table
from gossipsim.results import Cell, higher_is_better

MOST_TIES = 3  # that are named


@dataclass(frozen=True)
class Headline:
    """``best`` is None where no cell has a result; ``others`` counts the cells that were compared with it.

    ``interval`` is half the 95% confidence interval of the mean, None for a single seed.
    ``ties`` are the first of the cells that the seeds do not tell from the best one, ``tied`` how many there are.
    """

    metric: str
    extreme: str
    best: str | None
    value: str
    interval: str | None
    seeds: int
    others: int
    ties: list[str]
    tied: int
    diverged: int


def headline(cells: Sequence[Cell], table: Table) -> Headline:
    """Best and ties as the table marks them, in the metric that ranks it."""
    metric = table.primary or ""
    ranked = [cell for cell in names.ranked(cells, metric) if cell.summary(metric)] if metric else []
    diverged = sum(cell.diverged > 0 for cell in cells)
    extreme = "highest" if higher_is_better(metric) else "lowest"
    if not ranked:
        return Headline(names.label(metric), extreme, None, "", None, 0, 0, [], 0, diverged)
    best = ranked[0]
    summary = best.summary(metric)
    assert summary is not None
    value, _, interval = names.with_spread(summary.mean, summary.ci95, metric).partition(" ± ")
    column = table.columns.index(metric)
    ties = [_name(row.optimizer, row.cell) for row in table.rows if row.entries[column].mark == "tie"]
    return Headline(
        metric=names.label(metric),
        extreme=extreme,
        best=_name(best.labels["optimizer"], best.labels["cell"]),
        value=value,
        interval=interval or None,
        seeds=len(best.complete),
        others=len(ranked) - 1,
        ties=ties[:MOST_TIES],
        tied=len(ties),
        diverged=diverged,
    )


def _name(optimizer: str, cell: str) -> str:
    return " · ".join(filter(None, (optimizer, cell)))
