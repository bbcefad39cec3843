"""Ranks are reused from run to run: the bytes of every other way to run, few forks, nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gossipsim.display import Display
from gossipsim.world import Ranks, deferred
from tests.cli.conftest import Workplace, config


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Ranks]:
    """Every group of ranks that is made; afterwards nothing of them is left."""
    made: list[Ranks] = []

    def fork(ranks: Ranks, *arguments: Any, begin: Any = Ranks.__init__, **options: Any) -> None:
        begin(ranks, *arguments, **options)
        made.append(ranks)

    monkeypatch.setattr(Ranks, "__init__", fork)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return made


def left_behind(place: Workplace) -> list[Any]:
    return [*multiprocessing.active_children(), *place.folder.glob("gossipsim-*")]


def results(place: Workplace, experiment: int) -> dict[str, bytes]:
    folder = place.folder / f"wf/exp_{experiment:04d}/runs"
    files = [path for name in ("history", "steps") for path in folder.rglob(f"{name}.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_group_of_ranks_per_size(place: Workplace, forked: list[Ranks]) -> None:
    content = config(grid={"strategy": ["gossipsim.strategies.LocalThenGossip"], "network.nodes": [2, 3]}, seeds=[0, 1])
    assert place.run(content).code == 0
    descriptors = len(os.listdir("/proc/self/fd"))
    assert place.run(content, "--new", processes="nodes").code == 0
    assert [ranks.size for ranks in forked] == [2, 3]
    assert results(place, 1) == results(place, 2)
    assert len(results(place, 2)) == 8
    assert not left_behind(place)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_small_tasks_of_all_runs_are_shared(place: Workplace, forked: list[Ranks]) -> None:
    tasks = [{"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 5, "seed": k}} for k in range(4)]
    content = config()
    content["tasks"] = [content["tasks"][0] | {"task": task | {"name": f"q{k}"}} for k, task in enumerate(tasks)]
    assert place.run(content, processes=2).code == 0
    assert len(place.records()) == 4
    assert len(forked) == 1


def test_two_jobs_of_one_process(place: Workplace, forked: list[Ranks]) -> None:
    assert place.run(config(), "--seeds", "0:6").code == 0
    assert place.run(config(), "--seeds", "0:6", "--new", "--jobs", "2").code == 0
    assert [ranks.size for ranks in forked] == [1, 1]
    assert results(place, 1) == results(place, 2)
    assert not left_behind(place)


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_failure_costs_one_group(how: str, place: Workplace, forked: list[Ranks]) -> None:
    content = config(strategy={"class": "mine.Breaks"}, grid={"strategy.params.how": ["not", how, "never"]})
    assert place.run(content, processes=4).code == 1
    statuses = {record["swept"]["strategy.params.how"]: record["status"] for record in place.records()}
    assert statuses == {"not": "complete", how: "failed", "never": "complete"}
    assert len(forked) == 2
    assert not left_behind(place)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_between_two_runs_keeps_what_is_finished(
    jobs: int, place: Workplace, forked: list[Ranks], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(display: Display, *arguments: Any, end: Any = Display.ended) -> None:
        end(display, *arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Display, "ended", ended)
    outcome = place.run(config(), "--seeds", "0:3", "--jobs", jobs, processes=2)
    assert outcome.code == 130
    assert "of 3 runs have a result; the same command resumes: " in outcome.err
    statuses = [record["status"] for record in place.records()]
    assert 1 <= statuses.count("complete") <= jobs
    assert set(statuses) <= {"complete", "interrupted"}
    assert not left_behind(place)
    rows = (place.folder / "wf/exp_0001/results.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    monkeypatch.undo()
    os.chdir(place.folder)
    assert place.run(config(), "--seeds", "0:3", "--jobs", jobs, processes=2).code == 0
    assert place.experiments() == ["exp_0001"]


def test_jobs_auto(place: Workplace, forked: list[Ranks], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    assert place.run(config(), "--seeds", "0:4", "--jobs", "auto", processes=2).code == 0
    assert [ranks.size for ranks in forked] == [2, 2]
    assert place.run(config(), "--seeds", "0:9", "--jobs", "auto", "--new", processes="auto").code == 0
    assert [ranks.size for ranks in forked[2:]] == [1] * 4
    outcome = place.run(config(), "--jobs", "all")
    assert (outcome.code, outcome.err) == (2, "--jobs all: give auto or a positive number\n")


def test_signals_wait_for_the_end_of_a_block() -> None:
    done = []

    def work() -> None:
        with deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")
        done.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
