"""A job over two hosts: the bytes of one process, whatever the cable does, or an end in time that names who is gone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gossipsim
from gossipsim.results import Run
from tests.hosts.hosts import RANKS, Hosts, obstacle, wait_for_lines

pytestmark = [pytest.mark.slow, pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))]

START, END = 120.0, 120.0
"""Seconds that torchrun may take to begin and to end: it imports torch in six processes."""

CONFIG: dict[str, Any] = {
    "name": "hosts",
    "tasks": [
        {
            "task": {"class": "gossipsim.tasks.DigitsSupervisedTask"},
            "models": [{"class": "gossipsim.models.MLP", "params": {"hidden": [64]}}],
            "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": 0.05, "momentum": 0.9}}],
        }
    ],
    "trainer": {
        "class": "gossipsim.trainers.SupervisedTrainer",
        "params": {"steps": 2000, "batch_size": 8, "log_every": 20, "eval_every": 1000, "checkpoint_every": 500},
    },
    "network": {"nodes": 8, "topology": "gossipsim.network.ring"},
    "workflow": "wf",
}


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    hosts = Hosts()
    try:
        hosts.connect()
        yield hosts
    finally:
        hosts.remove()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run in this process."""
    return in_this_process(CONFIG, tmp_path_factory.mktemp("alone"))


def in_this_process(config: dict[str, Any], workflow: Path) -> Run:
    (run,) = gossipsim.run(config, workflow=workflow).runs
    return run


def ends(jobs: list[subprocess.Popen[str]], within: float) -> list[str]:
    """What the jobs have said, once they have ended."""
    deadline = time.monotonic() + within
    return [job.communicate(timeout=max(1.0, deadline - time.monotonic()))[0] for job in jobs]


def result(folder: Path) -> Run:
    (run,) = gossipsim.load(folder / "wf" / "exp_0001").runs
    return run


def same(run: Run, other: Run) -> None:
    assert run.status == other.status == "complete"
    for name in ("history.jsonl", "steps.jsonl", "nodes.jsonl", "parameters.npz"):
        assert (run.directory / name).read_bytes() == (other.directory / name).read_bytes(), name


def test_two_hosts_give_the_bytes_of_one_process(hosts: Hosts, alone: Run, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    with hosts.running(tmp_path, timeout=20) as jobs:
        said = ends(jobs, START + END)
    assert [job.returncode for job in jobs] == [0, 0], said
    same(result(tmp_path), alone)


def test_a_cable_that_is_out_for_three_seconds_is_survived(hosts: Hosts, alone: Run, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    with hosts.running(tmp_path, timeout=30) as jobs:
        wait_for_lines(tmp_path, "wf/exp_0001/runs/**/steps.jsonl", 5, START)
        hosts.cable("down")
        time.sleep(3.0)
        before = steps(tmp_path)
        hosts.cable("up")
        said = ends(jobs, END)
    assert [job.returncode for job in jobs] == [0, 0], said
    assert before < 101, "the run was over before the cable was back"
    same(result(tmp_path), alone)


def test_lost_packets_and_a_slow_line_only_take_longer(hosts: Hosts, tmp_path: Path) -> None:
    """A packet that is lost costs 0.2 s, after which TCP sends it again: not so many steps."""
    trainer = CONFIG["trainer"] | {"params": CONFIG["trainer"]["params"] | {"steps": 400}}
    config = CONFIG | {"trainer": trainer}
    (tmp_path / "c.json").write_text(json.dumps(config))
    hosts.lose(percent=5)
    hosts.limit("200mbit")
    with hosts.running(tmp_path, timeout=60) as jobs:
        said = ends(jobs, START + 3 * END)
    assert [job.returncode for job in jobs] == [0, 0], said
    same(result(tmp_path), in_this_process(config, tmp_path / "alone"))


def test_a_cut_ends_both_sides_in_time_and_names_who_is_gone(hosts: Hosts, alone: Run, tmp_path: Path) -> None:
    timeout = 20.0  # of which 10 s are for the way down, as of the 120 s that are usual
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    with hosts.running(tmp_path, timeout=timeout) as jobs:
        wait_for_lines(tmp_path, "wf/exp_0001/runs/**/steps.jsonl", 5, START)
        hosts.cable("down")
        cut = time.monotonic()
        said = ends(jobs, timeout + 60)
        took = time.monotonic() - cut
    assert [job.returncode for job in jobs] == [1, 1], said
    print(f"both sides down {took:.1f} s after the cut, with a timeout of {timeout:g} s")
    assert took < timeout
    ours, theirs = said
    assert any(f"rank {rank} is gone or stuck" in ours for rank in range(RANKS, 2 * RANKS)), ours
    assert any(f"rank {rank} is gone or stuck" in theirs for rank in range(RANKS)), theirs
    run = result(tmp_path)
    assert run.status == "failed"
    assert run.error is not None
    assert f"rank {run.error['rank']} is gone or stuck" in run.error["message"]
    hosts.cable("up")
    again = gossipsim.run(tmp_path / "c.json", workflow=tmp_path / "wf").runs[0]
    same(again, alone)


def test_a_rank_that_is_lost_is_replaced_on_its_host(hosts: Hosts, alone: Run, tmp_path: Path) -> None:
    """On either host, and rank 0: torchrun starts all ranks again, and they go on."""
    kills = [{"fault": "kill", "rank": rank, "step": step} for rank, step in ((3, 520), (0, 1700))]
    (tmp_path / "c.json").write_text(json.dumps(CONFIG | {"faults": kills}))
    with hosts.running(tmp_path, timeout=30, restarts=2) as jobs:
        said = ends(jobs, START + 3 * END)
    assert [job.returncode for job in jobs] == [0, 0], said
    assert [f"goes on at step {step}" in "".join(said) for step in (500, 1500)] == [True, True]
    same(result(tmp_path), alone)


def steps(folder: Path) -> int:
    (path,) = folder.glob("wf/exp_0001/runs/**/steps.jsonl")
    return len(path.read_bytes().splitlines())
