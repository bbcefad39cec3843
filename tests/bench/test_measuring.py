"""Medians, ratios of neighbours, goals, and the notes on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gossipsim.bench import SUITES, measure, summary_of, table
from gossipsim.bench.measuring import Figure, Interleaved, OthersWork, caution
from gossipsim.report.benchmarks import draw


def test_ratios_are_medians_over_the_turns() -> None:
    ours, theirs = iter([9.0, 1.0, 10.0, 3.0]), iter([9.0, 2.0, 5.0, 4.0])  # the first of each is a warm-up
    found = Interleaved({"ours": lambda: next(ours), "theirs": lambda: next(theirs)}, 3)
    assert found.median("ours") == 3.0
    assert found.median("theirs") == 4.0
    assert found.ratio("ours", "theirs") == 0.75  # of 0.5, 2 and 0.75


def test_actions_take_turns() -> None:
    order: list[str] = []

    def act(name: str) -> float:
        order.append(name)
        return 1.0

    Interleaved({"a": lambda: act("a"), "b": lambda: act("b")}, 2)
    assert order == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("figure", "goal", "holds"),
    [
        (Figure(1.0, "x"), "", None),
        (Figure(2.5, "x", at_most=2.5), "<= 2.5", True),
        (Figure(2.6, "x", at_most=2.5), "<= 2.5", False),
        (Figure(8.0, "x", at_least=8), ">= 8", True),
        (Figure(7.9, "x", at_least=8), ">= 8", False),
        (Figure(199_999, "1/s", at_least=200_000), ">= 200,000", False),
    ],
)
def test_goals(figure: Figure, goal: str, holds: bool | None) -> None:
    assert figure.goal == goal
    assert figure.holds is holds


def test_a_loaded_machine_is_told() -> None:
    assert caution([0.1, None, 0.2], cores=2) is None
    assert "other work kept 1.5 of 2 cores busy" in str(caution([0.1, 1.5, None], cores=2))


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell what its cores do")
def test_own_work_is_not_that_of_others() -> None:
    others, until = OthersWork(), time.process_time() + 0.5
    while time.process_time() < until:
        pass
    alone = others.cores()
    others = OthersWork()
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(1.0)
        beside = others.cores()
    finally:
        busy.kill()
        busy.wait()
    assert alone is not None
    assert beside is not None
    assert alone < len(os.sched_getaffinity(0)) - 0.5  # of all cores, this process has kept one busy
    assert beside > 0.3


def _two(repeats: int) -> dict[str, Figure]:
    """Two figures."""
    return {"N=4: cost": Figure(2.0, "us"), "speed": Figure(4.0, "x", at_least=8)}


def test_what_is_written_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUITES, "scaling", _two)
    told: list[str] = []
    measured: dict[str, Any] = json.loads(json.dumps(measure(2, ["scaling"], told.append)))
    assert told == ["scaling"]
    kept: list[set[str]] = []
    monkeypatch.setitem(SUITES, "mixing", _two)
    measure(2, ["scaling", "mixing"], keep=lambda so_far: kept.append(set(so_far["suites"])))
    assert kept == [{"scaling"}, {"scaling", "mixing"}]
    assert measured["repeats"] == 2
    assert {"processor", "cores", "threads per process", "torch", "numpy"} <= set(measured["machine"])
    figures = measured["suites"]["scaling"]["figures"]
    assert figures["speed"] == {"value": 4.0, "unit": "x", "goal": ">= 8", "holds": False}
    assert figures["N=4: cost"]["holds"] is None
    assert table(measured).row_count == 2
    for suffix in (".png", ".svg"):
        draw(measured, tmp_path / f"plot{suffix}")
    assert "times better than the goal" in (tmp_path / "plot.svg").read_text()


def test_every_suite_says_what_it_is() -> None:
    assert all(len(summary_of(name)) > 20 for name in SUITES)
