"""Pace and time left, bars that fit a terminal and leave it to a prompt, and lines where there is none."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gossipsim.config import plan
from gossipsim.display import HEARTBEAT, Display
from gossipsim.experiment import Entry, Experiment
from gossipsim.progress import Estimate, Line, Overall, Pace, UnderWay, Work, draw
from tests.cli.conftest import config


@pytest.fixture
def entries() -> list[Entry]:
    return Experiment(plan(config(seeds=[0, 1, 2])), Path("exp_0001")).entries


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set: [seconds]."""
    clock = [1000.0]
    monkeypatch.setattr("gossipsim.display.time.monotonic", lambda: clock[0])
    return clock


def console(width: int, *, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width, height=24, force_terminal=terminal, color_system=None), file


def test_pace_forgets_what_is_long_ago() -> None:
    pace = Pace()
    assert pace.speed is None
    for second in range(100):
        pace.reached(second if second < 50 else 49 + (second - 49) * 10, float(second))
    assert pace.speed == pytest.approx(10)
    assert pace.remaining(pace.step + 50, 99.0) == pytest.approx(5)
    assert pace.remaining(pace.step + 50, 101.0) == pytest.approx(3)


def test_pace_keeps_little_of_many_messages() -> None:
    pace = Pace()
    for step in range(10_000):
        pace.reached(step, step * 1e-3)
    assert pace.speed == pytest.approx(1000)
    assert len(pace._seen) < 50


def test_an_estimate_learns_most_from_what_is_most_alike() -> None:
    ring, complete = Work(("t", "m", "SGD", "ring"), 10), Work(("t", "m", "SGD", "complete"), 20)
    adam = Work(("t", "m", "Adam", "ring"), 10)
    estimate = Estimate()
    assert estimate.expect(ring) is None
    estimate.learn(ring, 5)
    assert (estimate.expect(ring), estimate.expect(complete), estimate.expect(adam)) == (5, 10, 5)
    estimate.learn(complete, 30)
    assert (estimate.expect(ring), estimate.expect(complete)) == (5, 30)
    assert estimate.remaining([ring, ring], [UnderWay(complete, 10, 4.0)], jobs=2) == pytest.approx((5 + 5 + 4) / 2)
    assert estimate.remaining([ring], [UnderWay(complete, 10, 12.0)], jobs=2) == pytest.approx(12)
    assert estimate.remaining([], [UnderWay(complete, 10, None)], jobs=2) == pytest.approx(20)


def test_before_a_run_has_ended_its_own_pace_is_the_measure() -> None:
    work = Work(("t", "m", "o", "c"), 1)
    assert Estimate().remaining([work, work], [UnderWay(work, 4, 6.0)], jobs=1) == pytest.approx(26)
    assert Estimate().remaining([work], [UnderWay(work, 4, None)], jobs=1) is None


@pytest.mark.parametrize("width", [70, 80, 110, 140])
def test_the_picture_fits_the_terminal(width: int) -> None:
    labels = {"task": "digits", "model": "MLP" * 9, "optimizer": "SGD(lr=0.1, momentum=0.9)", "cell": "topology=ring"}
    screen, file = console(width, terminal=True)
    line = Line(labels, 3, step=12345, total=100000, loss=0.1234567, metric="test_accuracy 0.9123", speed=1e5)
    screen.print(draw([line, Line(labels, 4)], Overall(72, 11, {"complete": 11}, 2, 5.0, 500.0), {"model", "seed"}))
    text = file.getvalue().splitlines()
    assert max(map(len, text)) <= width
    assert [words in file.getvalue() for words in ("12345/100000", "0.1235", "100k", "starting", "8:20")] == [True] * 5
    assert ("test_accuracy 0.9123" in file.getvalue()) == (width >= 110)
    assert len(text) == 4


def message(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "total": 100, "loss": 0.5, **more}


def test_lines_where_there_is_no_terminal(entries: list[Entry], now: list[float]) -> None:
    screen, file = console(200, terminal=False)
    with Display(screen, entries, entries[1:]) as display:
        display.started(entries[1])
        for step in range(0, 100, 10):
            display.progressed(entries[1], message(step))
            now[0] += HEARTBEAT / 2.5
        display.ended(entries[1], "complete", None)
    lines = file.getvalue().splitlines()
    assert [line.split(": ")[0].split(" ")[0] for line in lines] == ["running"] * 3 + ["2/3"]
    assert lines[0].endswith("step 30/100 (30%), loss 0.5, 3.33 node-steps/s, ETA 1:24")
    assert "complete" in lines[-1]
    assert lines[-1].endswith("seed 1 120.0 s")


def test_bars_on_a_terminal_go_away_before_a_prompt(entries: list[Entry]) -> None:
    screen, file = console(80, terminal=True)
    before = sys.stdout
    with Display(screen, entries, entries) as display:
        display.started(entries[0])
        display.progressed(entries[0], message(40))
        assert sys.stdout is not before
        sys.audit("builtins.breakpoint")
        assert sys.stdout is before
        drawn = len(file.getvalue())
        display.progressed(entries[0], message(50))
        assert len(file.getvalue()) == drawn
        display.ended(entries[0], "complete", None)
    assert "0/3 runs" in file.getvalue()
    assert file.getvalue().splitlines()[-1].split("\x1b[2K")[-1].startswith("1/3 complete")


def test_a_fork_prints_past_the_bars(entries: list[Entry]) -> None:
    screen, _ = console(80, terminal=True)
    before = sys.stdout
    with Display(screen, entries, entries):
        child = os.fork()
        if child == 0:
            os._exit(0 if sys.stdout is before else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert sys.stdout is not before
