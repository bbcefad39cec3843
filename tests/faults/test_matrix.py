"""Every fault by every way to run: down in time, the culprit named, nothing left, and the same bytes in the end."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.conftest import MODES, Outcome, Scene, experiment, files

DEATH, STALL = 2.0, 10.0
"""Seconds from a fault to the end of the command: where a process dies, and where it neither dies nor goes on."""

SILENCE = "2"
"""GOSSIPSIM_TIMEOUT, where nothing else tells."""

AT = {"node": 1, "step": 30}

ENDED = "rank {rank} is gone or stuck (its process has ended)"

Expected = str | signal.Signals
"""What run.json says of it, or the signal that the command itself has died of: nobody can say anything then."""


@dataclass(frozen=True)
class Case:
    """Faults, and what comes of them by each way to run.

    Attributes:
        rank: where, if each node has a rank of its own.
    """

    faults: list[dict[str, Any]]
    expected: dict[str, Expected]
    rank: int = 1
    within: float = DEATH
    environment: dict[str, str] = field(default_factory=dict)


def _everywhere(message: str) -> dict[str, Expected]:
    return dict.fromkeys(MODES, message)


KILLED = "rank {rank} was killed by SIGKILL before the run had finished"

CASES = {
    "kill": Case([{"fault": "kill", **AT}], {"one process": signal.SIGKILL, "forked": KILLED, "torchrun": ENDED}),
    "segv": Case(
        [{"fault": "segv", **AT}],
        {"one process": signal.SIGSEGV, "forked": KILLED.replace("KILL", "SEGV"), "torchrun": ENDED},
    ),
    "exit": Case(
        [{"fault": "exit", **AT}],
        {"one process": "SystemExit: 0", "forked": "rank {rank} exited with code 0 before", "torchrun": ENDED},
    ),
    "raise": Case(
        [{"fault": "raise", **AT}], _everywhere("RuntimeError: the fault raise:node=1,step=30 was asked for")
    ),
    "oom": Case([{"fault": "oom", **AT}], _everywhere("MemoryError")),
    "stop": Case(
        [{"fault": "stop", **AT}],
        dict.fromkeys(("forked", "torchrun"), "a signal has stopped its process"),
        within=STALL,
    ),
    "hang": Case(
        [{"fault": "hang", **AT}],
        dict.fromkeys(("forked", "torchrun"), "rank {rank} is gone or stuck (silent for 2 s)"),
        within=STALL,
        environment={"GOSSIPSIM_TIMEOUT": SILENCE},
    ),
    "launcher": Case([{"fault": "launcher", "step": 30}], dict.fromkeys(MODES, signal.SIGKILL)),
    "tear": Case(
        [{"fault": "tear", "step": 30}],
        {"one process": signal.SIGKILL, "forked": KILLED, "torchrun": ENDED},
        rank=0,
    ),
    "disk": Case([{"fault": "disk", "step": 30}], _everywhere("cannot be written (No space left on device)"), rank=0),
    "corrupt": Case(
        [{"fault": "corrupt", "step": 30}, {"fault": "raise", "node": 0, "step": 31}],
        _everywhere("RuntimeError"),
        rank=0,
    ),
    "kill, by gloo": Case([{"fault": "kill", **AT}], {"forked": KILLED}, environment={"GOSSIPSIM_TRANSPORT": "gloo"}),
    "hang, by gloo": Case(
        [{"fault": "hang", **AT}],
        {"forked": "rank {rank} is gone or stuck (Timed out"},
        within=STALL,
        environment={"GOSSIPSIM_TRANSPORT": "gloo", "GOSSIPSIM_TIMEOUT": SILENCE},
    ),
}

QUICK = {("kill", "forked"), ("exit", "forked"), ("launcher", "forked"), ("tear", "one process")}
"""What represents the others where time is short."""

MATRIX = [
    pytest.param(name, mode, id=f"{name}-{mode}", marks=[] if (name, mode) in QUICK else pytest.mark.slow)
    for name, case in CASES.items()
    for mode in case.expected
]


@pytest.mark.parametrize(("name", "mode"), MATRIX)
def test_the_matrix(
    name: str, mode: str, scene: Scene, untouched: dict[str, bytes], record_property: pytest.RecordProperty
) -> None:
    case = CASES[name]
    expected = case.expected[mode]
    scene.start(mode, experiment(*case.faults), **case.environment)
    outcome = scene.wait()
    record_property("seconds", round(outcome.seconds, 2))
    print(f"{name} x {mode}: {outcome.seconds:.2f} s")
    _nothing_is_left(scene)
    assert outcome.seconds < case.within, outcome.out
    if isinstance(expected, signal.Signals):
        assert (outcome.code, scene.record()["status"]) == (-expected, "running")
    else:
        _is_told(scene, outcome, expected.format(rank=case.rank), case.rank, alone=mode == "one process")
    run = scene.go_on()
    assert run.status == "complete"
    assert files(run) == untouched


def _nothing_is_left(scene: Scene) -> None:
    """Neither processes, and so no ports, nor the lock, memory or temporary files."""
    deadline = time.monotonic() + DEATH
    while (scene.survivors() or scene.locked()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert scene.survivors() == []
    assert not scene.locked()
    assert scene.leftovers() == []


def _is_told(scene: Scene, outcome: Outcome, expected: str, node: int, *, alone: bool) -> None:
    """By the exit code, by run.json, and on the screen; one process for all nodes may not know the node."""
    assert outcome.code == 1
    record = scene.record()
    assert record["status"] == "failed", outcome.out
    error, rank = record["error"], 0 if alone else node
    assert expected in error["message"]
    assert error["rank"] == rank
    assert error["node"] == node or (alone and error["node"] is None)
    where = f"rank {rank}" if error["node"] is None else f"node {error['node']}, rank {rank}"
    assert f"failed at {where}: {error['message']}" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forked", "torchrun"])
def test_a_rank_that_hangs_tells_where(mode: str, scene: Scene) -> None:
    scene.start(mode, experiment({"fault": "hang", **AT}), GOSSIPSIM_TIMEOUT=SILENCE)
    outcome = scene.wait()
    assert 'acts.py", line' in outcome.out
    assert "in _hang" in outcome.out
    if mode == "forked":
        assert "in _hang" in scene.record()["error"]["traceback"]


@pytest.mark.slow
def test_a_crash_tells_where(scene: Scene) -> None:
    scene.start("forked", experiment({"fault": "segv", **AT}))
    scene.wait()
    traceback = scene.record()["error"]["traceback"]
    assert traceback.startswith("Fatal Python error: Segmentation fault")
    assert "in string_at" in traceback


@pytest.mark.slow
def test_a_pause_is_no_loss(scene: Scene, untouched: dict[str, bytes]) -> None:
    """Ctrl-Z and fg: the launcher and its ranks stop for longer than a rank alone may."""
    scene.start("forked", experiment({"fault": "hang", "node": 1, "step": 30, "seconds": 1}))
    scene.wait_for_fault()
    os.killpg(scene.job, signal.SIGSTOP)
    time.sleep(6)
    os.killpg(scene.job, signal.SIGCONT)
    assert scene.wait().code == 0
    assert files(scene.result()) == untouched


@pytest.mark.slow
def test_one_process_that_was_stopped_goes_on(scene: Scene, untouched: dict[str, bytes]) -> None:
    scene.start("one process", experiment({"fault": "stop", **AT}))
    scene.wait_for_fault()
    time.sleep(1)
    os.kill(scene.job, signal.SIGCONT)
    assert scene.wait().code == 0
    assert files(scene.result()) == untouched


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["one process", "forked"])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(times: int, mode: str, scene: Scene, untouched: dict[str, bytes]) -> None:
    """Once: the run saves itself and stops at a round; twice: it stops where it is."""
    hang = {"fault": "hang", **AT} | ({"seconds": 1} if times == 1 else {})
    scene.start(mode, experiment(hang))
    scene.wait_for_fault()
    for _ in range(times):
        os.kill(scene.job, signal.SIGINT)
        time.sleep(0.2)
    outcome = scene.wait()
    assert outcome.code == 130
    assert outcome.seconds < STALL
    _nothing_is_left(scene)
    assert files(scene.go_on()) == untouched


@pytest.mark.parametrize("mode", ["one process", "forked"])
@pytest.mark.slow
def test_a_node_of_nan_diverges(mode: str, scene: Scene) -> None:
    """A result, and no failure."""
    scene.start(mode, experiment({"fault": "nan", **AT}))
    assert scene.wait().code == 0
    assert scene.record()["status"] == "diverged"


@pytest.mark.slow
def test_a_slow_rank_changes_nothing_but_the_time(scene: Scene, untouched: dict[str, bytes]) -> None:
    scene.start("forked", experiment({"fault": "slow", "node": 1, "step": 30, "seconds": 0.02}))
    outcome = scene.wait()
    assert outcome.code == 0
    assert outcome.seconds > 30 * 0.02
    assert files(scene.result()) == untouched
