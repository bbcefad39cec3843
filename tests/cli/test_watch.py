"""`gossipsim watch`: what it reads from an experiment under way, and when it ends."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gossipsim.results import read_json, write_json
from tests.cli.conftest import Workplace, config


@pytest.fixture
def under_way(place: Workplace) -> Path:
    """Three seeds: one complete, one at step 3 of 6 since 30 s, one not begun."""
    assert place.run(config(seeds=[0, 1, 2])).code == 0
    _, second, third = sorted(place.folder.glob("wf/exp_0001/runs/**/seed_*"))
    write_json(second / "run.json", read_json(second / "run.json") | {"status": "running", "total_steps": 6})
    for name in ("steps", "history", "timing"):
        lines = (second / f"{name}.jsonl").read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= (3 if name == "steps" else 0)]
        (second / f"{name}.jsonl").write_text("\n".join(kept) + '\n{"step": 4, "batch')
    now = time.time()
    os.utime(second / "run.json", (now - 30, now - 30))
    for path in third.iterdir():
        path.unlink()
    return second


def look(place: Workplace) -> dict[str, Any]:
    outcome = place.call("watch", "wf", "--once", "--json")
    assert outcome.code == 0
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def test_a_look_at_an_experiment_under_way(place: Workplace, under_way: Path) -> None:
    found = look(place)
    assert found["statuses"] == {"complete": 1, "running": 1, "missing": 1}
    assert not found["ended"]
    run = found["runs"][1]
    steps = [json.loads(line) for line in (under_way / "steps.jsonl").read_text().splitlines()[:-1]]
    assert (run["step"], run["total_steps"], run["loss"]) == (3, 6, steps[-1]["batch_loss"])
    assert run["node_steps_per_second"] == pytest.approx(4 * 3 / 30, rel=0.1)  # three steps of four nodes in 30 s
    assert run["eta_seconds"] == pytest.approx(30, abs=5)
    assert found["eta_seconds"] >= run["eta_seconds"]


def test_the_table_of_a_look(place: Workplace, under_way: Path) -> None:
    text = place.call("watch", "wf", "--once").out
    assert "3/6" in text
    assert "1/3 runs" in text
    assert "1 complete, 1 under way" in text
    assert "seed 1" in text


def test_speed_comes_from_the_timings_once_there_are_some(place: Workplace, under_way: Path) -> None:
    with (under_way / "timing.jsonl").open("w") as file:
        file.write('{"step": 2, "train_seconds": 0.5, "eval_seconds": 0.5}\n')
    assert look(place)["runs"][1]["node_steps_per_second"] == pytest.approx(4 * 2)


def test_a_run_that_says_nothing_any_more_has_no_time_left_but_a_silence(place: Workplace, under_way: Path) -> None:
    for path in under_way.iterdir():
        os.utime(path, (time.time() - 900, time.time() - 900))
    run = look(place)["runs"][1]
    assert run["eta_seconds"] is None
    assert run["silent_seconds"] == pytest.approx(900, abs=5)


def test_watching_ends_with_the_last_run(place: Workplace) -> None:
    place.run(config(seeds=[0, 1]))
    outcome = place.call("watch", "wf")
    assert (outcome.code, outcome.out) == (0, "2/2 runs: 2 complete\n")
    assert place.call("watch", "wf/exp_0001", "--json").out.count("\n") == 1


def test_what_is_no_experiment_is_refused(place: Workplace) -> None:
    outcome = place.call("watch", "nowhere", "--once")
    assert outcome.code == 2
    assert "nowhere" in outcome.err
