"""Ranks that fail in every way: the culprit is named, everyone else goes down, nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gossipsim.world import Failure, Job, PeerLost, World, watch
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport

DOWN_WITHIN = 2.0  # seconds from the failure to the end of all ranks


def _finish(job: Job) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while job.running:
        watch([job], 0.1)
        messages += job.poll()
    assert multiprocessing.active_children() == []
    assert not job._folder.exists()
    return messages


def _meet(transport: Transport) -> None:
    World(transport.size, transport).sum(torch.ones(1, 4))


def _fails(size: int, culprit: int, act: Callable[[], None], then: Callable[[Transport], None]) -> Failure:
    """The failure of a job whose rank `culprit` acts after the first exchange, while the others do `then`."""

    def target(transport: Transport, emit: Emit) -> None:
        _meet(transport)
        if transport.rank == culprit:
            emit({"acts": time.monotonic()})
            act()
        else:
            then(transport)

    job = Job(size, target)
    messages = _finish(job)
    assert time.monotonic() - messages[0]["acts"] < DOWN_WITHIN
    assert job.failure is not None
    return job.failure


def _raise() -> None:
    error = ValueError("singular\nand more")
    error.node = 5  # type: ignore[attr-defined]
    raise error


def _stuck(transport: Transport) -> None:
    time.sleep(60)


OTHERS = {"exchange": _meet, "are stuck": _stuck, "have finished": lambda transport: None}


@pytest.mark.parametrize("then", OTHERS)
def test_an_exception_names_the_culprit_and_the_node(then: str) -> None:
    failure = _fails(4, 2, _raise, OTHERS[then])
    assert (failure.message, failure.rank, failure.node) == ("ValueError: singular", 2, 5)
    assert failure.where() == "node 5, rank 2"
    assert not failure.secondary
    assert "in _raise" in (failure.traceback or "")


@pytest.mark.parametrize("then", OTHERS)
def test_a_killed_rank_is_the_culprit(then: str) -> None:
    failure = _fails(4, 1, lambda: os.kill(os.getpid(), signal.SIGKILL), OTHERS[then])
    assert failure.rank == 1
    assert failure.message == "rank 1 was killed by SIGKILL before the run had finished"


@pytest.mark.parametrize("then", OTHERS)
@pytest.mark.parametrize("code", [0, 3])
def test_a_rank_that_leaves_early_is_the_culprit(then: str, code: int) -> None:
    failure = _fails(3, 0, lambda: os._exit(code), OTHERS[then])
    assert failure.rank == 0
    assert failure.message == f"rank 0 exited with code {code} before the run had finished"


def test_the_loss_of_a_peer_is_a_consequence() -> None:
    assert Failure.of(PeerLost("connection closed"), rank=0).secondary
    assert not Failure.of(RuntimeError("boom"), rank=0).secondary


def test_messages_of_all_ranks_arrive() -> None:
    job = Job(3, lambda transport, emit: [emit({"rank": transport.rank, "k": k}) for k in range(50)] and None)
    messages = _finish(job)
    assert job.failure is None
    for rank in range(3):
        assert [message["k"] for message in messages if message["rank"] == rank] == list(range(50))


def test_a_job_can_be_stopped() -> None:
    job = Job(3, lambda transport, emit: _stuck(transport))
    job.stop()
    assert not job.running
    assert _finish(job) == []


def test_sixteen_ranks_meet_soon() -> None:
    started = time.monotonic()

    def target(transport: Transport, emit: Emit) -> None:
        _meet(transport)
        emit({"seconds": time.monotonic() - started})

    messages = _finish(Job(16, target))
    assert len(messages) == 16
    assert max(message["seconds"] for message in messages) < 10


LAUNCHER = """
import os, time, torch
from gossipsim.world import Job, World
def target(transport, emit):
    World(3, transport).sum(torch.ones(1, 4))
    emit({"pid": os.getpid()})
    time.sleep(60)
job, pids = Job(3, target), []
while len(pids) < 3:
    pids += [m["pid"] for m in job.poll()]
    time.sleep(0.01)
print(*pids, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ranks follow their launcher by a Linux system call")
def test_ranks_die_with_a_killed_launcher() -> None:
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 3
        assert all(_lives(pid) for pid in pids)
        launcher.kill()
    deadline = time.monotonic() + DOWN_WITHIN
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline, "orphan ranks"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
