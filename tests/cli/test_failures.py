"""A run that fails ends within seconds, is told once with node and rank, and leaves the other runs alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import SGD, Config, Workplace, config, with_params

BREAKS = {"class": "mine.Breaks"}


def breaking(how: str, **changes: Any) -> Config:
    """A run that goes wrong, and one that does not."""
    return config(strategy=BREAKS, grid={"strategy.params.how": [how, "not"]}, **changes)


def check(place: Workplace, content: Config, processes: int, kind: str, message: str) -> dict[str, Any]:
    """Runs; returns the one recorded error, which has been told once."""
    started = time.monotonic()
    outcome = place.run(content, processes=processes)
    assert time.monotonic() - started < 20
    assert not multiprocessing.active_children()
    assert outcome.code == 1
    assert outcome.out.count(f"{kind}: {message}\n") == 2, "the end of the traceback, and the line that says where"
    assert outcome.out.count("Traceback (most recent call last)") == 1
    assert "1 run(s) failed; run.json of each has the error" in outcome.out
    failed = [record for record in place.records() if record["status"] == "failed"]
    assert [record["status"] for record in place.records() if record not in failed].count("complete") >= 1
    (record,) = failed
    error: dict[str, Any] = record["error"]
    assert error["message"] == f"{kind}: {message}"
    assert error["traceback"].startswith("Traceback (most recent call last)")
    where = ", ".join(f"{name} {error[name]}" for name in ("node", "rank") if error[name] is not None)
    assert f"failed at {where}: {kind}: {message}" in outcome.out
    return error


@pytest.mark.parametrize(("processes", "node", "rank"), [(1, None, 0), (2, None, 1), (4, 3, 3)])
def test_a_strategy_that_raises(processes: int, node: int | None, rank: int, place: Workplace) -> None:
    content = breaking("raise")
    outcome = place.run(content, processes=processes)
    assert outcome.code == 1
    assert outcome.out.count("Traceback (most recent call last)") == 1
    failed, complete = sorted(place.records(), key=lambda record: record["status"], reverse=True)
    assert (failed["status"], complete["status"]) == ("failed", "complete")
    error = failed["error"]
    assert error["message"] == "RuntimeError: strategy gave up"
    assert (error["node"], error["rank"]) == (node, rank)
    assert 'mine.py", line' in error["traceback"]
    place_name = f"node {node}, rank {rank}" if node is not None else f"rank {rank}"
    assert f"failed at {place_name}: RuntimeError: strategy gave up" in outcome.out


@pytest.mark.parametrize("processes", [1, 4])
def test_an_optimizer_that_raises_on_one_node(processes: int, place: Workplace) -> None:
    content = config(optimizer={"class": "mine.StopsAtNodeThree", "params": {"lr": 0.1}})
    content["tasks"][0]["optimizers"].append(SGD)
    error = check(place, content, processes, "ArithmeticError", "optimizer gave up")
    assert (error["node"], error["rank"]) == (3, processes - 1)


@pytest.mark.parametrize("processes", [1, 4])
def test_a_model_that_raises_on_one_node(processes: int, place: Workplace) -> None:
    content = config(model="mine.GivesUp")
    content["tasks"][0]["models"].append("gossipsim.models.Vector")
    error = check(place, content, processes, "LookupError", "model gave up")
    assert (error["node"], error["rank"]) == (3, processes - 1)


@pytest.mark.parametrize("processes", [1, 4])
def test_an_optimizer_that_rebinds_its_parameters(processes: int, place: Workplace) -> None:
    outcome = place.run(
        config(optimizer=with_params({"class": "mine.Rebinds", "params": {}}, lr=0.1)), processes=processes
    )
    assert outcome.code == 1
    assert "Rebinds rebound the data of a parameter instead of updating it in place" in outcome.out


@pytest.mark.parametrize(
    ("how", "processes", "message"),
    [
        ("exit 0", 4, "rank 3 exited with code 0 before the run had finished"),
        ("kill", 4, "rank 3 was killed by SIGKILL before the run had finished"),
        ("sys.exit", 1, "SystemExit: 0"),
        ("sys.exit", 4, "SystemExit: 0"),
        ("mute", 1, "Mute: its text cannot be had (ValueError in __str__)"),
        ("mute", 4, "Mute: its text cannot be had (ValueError in __str__)"),
    ],
)
def test_a_rank_that_dies(how: str, processes: int, message: str, place: Workplace) -> None:
    started = time.monotonic()
    outcome = place.run(breaking(how), processes=processes)
    assert time.monotonic() - started < 20
    assert not multiprocessing.active_children()
    assert outcome.code == 1
    where = "node 3, rank 3" if processes == 4 else "rank 0"
    assert outcome.out.count(f"failed at {where}: {message}") == 1
    assert outcome.out.count("Traceback (most recent call last)") == (how in ("sys.exit", "mute"))
    failed, complete = sorted(place.records(), key=lambda record: record["status"], reverse=True)
    assert (failed["status"], complete["status"]) == ("failed", "complete")
    assert failed["error"]["message"] == message
    assert failed["error"]["rank"] == processes - 1
    assert failed["error"]["node"] == (3 if processes == 4 else None)


def test_several_jobs_at_a_time_and_one_of_them_fails(place: Workplace) -> None:
    outcome = place.run(breaking("raise"), "--jobs", "2", "--seeds", "0:2")
    assert outcome.code == 1
    assert sorted(record["status"] for record in place.records()) == ["complete", "complete", "failed", "failed"]
    assert "4/4" in outcome.out


def test_ranks_that_cannot_be_started(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(process: Any, *, begin: Any = multiprocessing.context.ForkProcess.start) -> None:
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        begin(process)
        started.append(process)

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", start)
    outcome = place.run(config(), processes=4)
    assert outcome.code == 1
    assert [record["error"]["message"] for record in place.records()] == [
        "BlockingIOError: [Errno 11] Resource temporarily unavailable"
    ]
    for process in started:
        process.join(5)
        assert process.exitcode == -signal.SIGKILL


def test_a_report_that_cannot_be_made_does_not_spoil_the_results(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(directory: Path) -> None:
        raise OSError(f"no font for {directory}")

    monkeypatch.setattr("gossipsim.report.build", refuse)
    outcome = place.run(config())
    assert outcome.code == 0
    assert "warning: no report (OSError: no font for" in outcome.out
    assert (place.folder / "wf/exp_0001/results.csv").is_file()


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_an_interrupted_run_says_so_and_leaves_nobody_behind(number: int, processes: int, place: Workplace) -> None:
    place.write("c.json", breaking("hang"))
    command = [sys.executable, "-m", "gossipsim", "run", "c.json", "--processes", str(processes)]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background job ignores it, and so its children
    try:
        launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while not list(place.folder.glob("wf/**/steps.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    ranks = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    assert len(ranks) == (processes if processes > 1 else 0)
    launcher.send_signal(number)
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    resume = f"interrupted; 0 of 2 runs have a result; the same command resumes: {shlex.join(command[2:])}"
    assert resume.replace("gossipsim run", "python -m gossipsim run") in output
    assert "Traceback" not in output
    assert not [rank for rank in ranks if os.path.exists(f"/proc/{rank}")]
    assert [record["status"] for record in place.records()] == ["interrupted"]
    assert json.loads((place.folder / "wf/exp_0001/summary.json").read_text())["status"] == {
        "interrupted": 1,
        "missing": 1,
    }
