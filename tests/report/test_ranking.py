"""Best and ties, as the seeds tell them."""

from pathlib import Path
from typing import Any

import pytest

from gossipsim.report.ranking import marks, table
from gossipsim.report.style import Styles
from gossipsim.results import Cell, Run


def cell(name: str, *values: float, first: int = 0, metric: str = "test_accuracy", **more: Any) -> Cell:
    """A cell whose complete seeds, counted from `first`, end at these values."""
    labels = {"task": "t", "model": "m", "optimizer": "o", "cell": name}
    statuses = ["complete"] * len(values) + more.pop("others", [])
    runs = [Run(Path(f"{name}/{k}"), "key", first + k, labels, {}, status, **more) for k, status in enumerate(statuses)]
    for run, value in zip(runs, values, strict=False):
        run.history.append({"epoch": 1, "step": 1, metric: value})
    return Cell(labels, {}, runs)


def ranked(*cells: Cell) -> list[tuple[str, str]]:
    made = table(cells, Styles(["o"], [each.labels["cell"] for each in cells]))
    return [(row.cell, row.entries[0].mark) for row in made.rows]


def test_best_first_diverged_last_and_never_marked() -> None:
    cells = [
        cell("d", 0.9, others=["diverged"]),
        cell("a", 0.5, 0.52),
        cell("b", 0.8, 0.82),
        cell("c", 0.79, 0.825),
        cell("e", others=["failed"]),
    ]
    assert ranked(*cells) == [("b", "best"), ("c", "tie"), ("a", ""), ("d", ""), ("e", "")]
    made = table(cells, Styles(["o"], list("abcde")))
    assert made.primary == "test_accuracy"
    assert [row.seeds for row in made.rows[-2:]] == ["1 of 2 (1 diverged)", "0 of 1 (1 failed)"]
    assert "diverged seeds are ranked last" in made.note


def test_shared_seeds_tell_apart_what_their_spread_would_hide() -> None:
    """Seeds move both cells alike: the differences are steady though the deviations are ten times as large."""
    best, worse = (0.70, 0.80, 0.90), (0.689, 0.790, 0.891)
    assert marks([cell("a", *best), cell("b", *worse)], "test_accuracy") == ["best", ""]
    assert marks([cell("a", *best), cell("b", *worse, first=10)], "test_accuracy") == ["best", "tie"]


def test_a_far_mean_with_a_wide_interval_is_a_tie_and_a_near_one_with_a_narrow_is_not() -> None:
    cells = [cell("best", 0.90, 0.90, 0.90), cell("wide", 0.2, 0.9, 0.89), cell("near", 0.8989, 0.8991, 0.8990)]
    assert ranked(*cells) == [("best", "best"), ("near", ""), ("wide", "tie")]


def test_one_seed_each_claims_nothing() -> None:
    cells = [cell("a", 0.5), cell("b", 0.5001)]
    assert ranked(*cells) == [("b", "best"), ("a", "")]
    note = table(cells, Styles(["o"], ["a", "b"])).note
    assert "does not show that others are worse" in note
    assert "interval" not in note


@pytest.mark.parametrize(
    ("metric", "best"), [("test_loss", "low"), ("test_accuracy", "high"), ("suboptimality", "low")]
)
def test_direction(metric: str, best: str) -> None:
    cells = [cell("low", 0.1, 0.1, metric=metric), cell("high", 0.9, 0.9, metric=metric)]
    assert dict(zip(("low", "high"), marks(cells, metric), strict=True))[best] == "best"


def test_what_cannot_be_better_is_not_marked() -> None:
    """A small consensus error alone is no success, a single cell no best, a value that is not finite no value."""
    assert marks([cell("a", 1.0, metric="consensus"), cell("b", 2.0, metric="consensus")], "consensus") == ["", ""]
    assert marks([cell("a", 1.0)], "test_accuracy") == [""]
    assert marks([cell("a", 1.0), cell("b", float("nan"))], "test_accuracy") == ["", ""]
    assert table([cell("a", 1.0)], Styles(["o"], ["a"])).note == ""
