"""Ranks that fail in every way: the culprit is named, everyone else goes down, nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gossipsim.world import Failure, PeerLost, Ranks, World, watch
from gossipsim.world.launcher import Emit, Target
from gossipsim.world.transport import Transport

DOWN_WITHIN = 2.0  # seconds from the failure to the end of all ranks


def _finish(ranks: Ranks) -> list[dict[str, Any]]:
    """The messages of the job under way, after which the ranks are still there, or gone for good."""
    messages: list[dict[str, Any]] = []
    while ranks.busy:
        watch([ranks], 0.1)
        messages += ranks.poll()
    assert ranks.alive() == (ranks.failure is None)
    if not ranks.alive():
        _gone(ranks)
    return messages


def _gone(ranks: Ranks) -> None:
    assert multiprocessing.active_children() == []


@pytest.fixture
def fork() -> Iterator[Callable[..., Ranks]]:
    """Ranks with their first job, ended after the test."""
    made: list[Ranks] = []

    def begun(size: int, target: Target, job: Any = None) -> Ranks:
        made.append(Ranks(size, target))
        made[-1].begin(job)
        return made[-1]

    yield begun
    for ranks in made:
        ranks.stop()
        _gone(ranks)


def _meet(transport: Transport) -> None:
    World(transport.size, transport).sum(torch.ones(1, 4))


def _fails(size: int, culprit: int, act: Callable[[], None], then: Callable[[Transport], None]) -> Failure:
    """The failure of a job whose rank `culprit` acts after the first exchange, while the others do `then`."""

    def target(transport: Transport, emit: Emit, job: Any) -> None:
        _meet(transport)
        if transport.rank == culprit:
            emit({"acts": time.monotonic()})
            act()
        else:
            then(transport)

    ranks = Ranks(size, target)
    ranks.begin(None)
    messages = _finish(ranks)
    assert time.monotonic() - messages[0]["acts"] < DOWN_WITHIN
    assert ranks.failure is not None
    return ranks.failure


def _raise() -> None:
    error = ValueError("singular\nand more")
    error.node = 5  # type: ignore[attr-defined]
    raise error


def _stuck(transport: Transport) -> None:
    time.sleep(60)


OTHERS = {"exchange": _meet, "are stuck": _stuck, "have finished": lambda transport: None}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("then", OTHERS)
def test_an_exception_names_the_culprit_and_the_node(then: str) -> None:
    failure = _fails(4, 2, _raise, OTHERS[then])
    assert (failure.message, failure.rank, failure.node) == ("ValueError: singular", 2, 5)
    assert failure.where() == "node 5, rank 2"
    assert not failure.secondary
    assert "in _raise" in (failure.traceback or "")


@pytest.mark.usefixtures("way")
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


def test_messages_of_all_ranks_arrive(fork: Callable[..., Ranks]) -> None:
    ranks = fork(3, lambda transport, emit, _: [emit({"rank": transport.rank, "k": k}) for k in range(50)] and None)
    messages = _finish(ranks)
    for rank in range(3):
        assert [message["k"] for message in messages if message["rank"] == rank] == list(range(50))


def test_a_job_can_be_stopped(fork: Callable[..., Ranks]) -> None:
    ranks = fork(3, lambda transport, emit, _: _stuck(transport))
    ranks.stop()
    assert not ranks.busy
    assert not ranks.alive()
    _gone(ranks)
    assert ranks.failure is None


def _adds(transport: Transport, emit: Emit, job: Any) -> None:
    if job < 0 and transport.rank == 1:
        _raise()
    total = World(transport.size, transport).sum(torch.full((1, 4), float(job)))
    emit({"pid": os.getpid(), "total": float(total[0])})


@pytest.mark.usefixtures("way")
def test_warm_ranks_do_one_job_after_the_other(fork: Callable[..., Ranks]) -> None:
    ranks = fork(3, _adds, 0)
    pids = {message["pid"] for message in _finish(ranks)}
    descriptors = len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    for job in range(1, 50):
        ranks.begin(job)
        messages = _finish(ranks)
        assert [message["total"] for message in messages] == [3.0 * job] * 3
        assert {message["pid"] for message in messages} == pids
    assert (time.monotonic() - started) / 49 < 0.1
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_failure_ends_warm_ranks(fork: Callable[..., Ranks]) -> None:
    ranks = fork(3, _adds, 1)
    _finish(ranks)
    ranks.begin(-1)
    _finish(ranks)
    assert ranks.failure is not None
    assert (ranks.failure.message, ranks.failure.rank) == ("ValueError: singular", 1)


def test_the_death_of_an_idle_rank_is_noticed(fork: Callable[..., Ranks]) -> None:
    ranks = fork(2, _adds, 1)
    _finish(ranks)
    process = ranks._processes[1]
    process.kill()
    process.join(5)
    assert not ranks.alive()
    ranks.begin(2)  # whoever does not look is told
    _finish(ranks)
    assert ranks.failure is not None
    assert ranks.failure.message == "rank 1 was killed by SIGKILL before the run had finished"


def test_sixteen_ranks_meet_soon(fork: Callable[..., Ranks]) -> None:
    started = time.monotonic()

    def target(transport: Transport, emit: Emit, job: Any) -> None:
        _meet(transport)
        emit({"seconds": time.monotonic() - started})

    messages = _finish(fork(16, target))
    assert len(messages) == 16
    assert max(message["seconds"] for message in messages) < 10


@pytest.mark.slow
def test_256_ranks_meet_and_sum(fork: Callable[..., Ranks]) -> None:
    """More ranks than gloo's mesh of sockets serves well; more open files than many shells allow."""

    def target(transport: Transport, emit: Emit, job: Any) -> None:
        total = World(transport.size, transport).sum(torch.full((1, 2), float(transport.rank)))
        emit({"total": total.tolist()})

    messages = _finish(fork(256, target))
    assert [message["total"] for message in messages] == [[255 * 128.0] * 2] * 256


LAUNCHER = """
import os, sys, time, torch
from gossipsim.world import Ranks, World
def target(transport, emit, idle):
    World(3, transport).sum(torch.ones(1, 4))
    emit({"pid": os.getpid()})
    time.sleep(0 if idle else 60)
ranks, pids = Ranks(3, target), []
ranks.begin(sys.argv[1] == "idle")
while len(pids) < 3 or (sys.argv[1] == "idle" and ranks.busy):
    pids += [m["pid"] for m in ranks.poll()]
    time.sleep(0.01)
print(*pids, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ranks follow their launcher by a Linux system call")
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("state", ["busy", "idle"])
def test_ranks_die_with_a_killed_launcher_and_nothing_is_left(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shared = set(Path("/dev/shm").iterdir())
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, state], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 3
        assert all(_lives(pid) for pid in pids)
        launcher.kill()
    deadline = time.monotonic() + DOWN_WITHIN
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline, "orphan ranks"
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []
    assert not [path for path in set(Path("/dev/shm").iterdir()) - shared if "gossipsim" in path.name]


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
