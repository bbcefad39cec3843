"""Executes the pending runs of an experiment: in this process, on forked ranks, or on the ranks of a torchrun job.

All three go through :func:`simulate`; they differ in which transport it gets and in who notices a failure.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch

from gossipsim.config import RunSpec
from gossipsim.experiment import Entry
from gossipsim.parts import Parts
from gossipsim.world import Alone, Failure, Job, ProcessGroup, World, tell_torchrun, watch
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport


class Observer(Protocol):
    """Who is told how the runs go."""

    def started(self, entry: Entry) -> None: ...
    def progressed(self, entry: Entry, message: dict[str, Any]) -> None: ...
    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None: ...


def simulate(run: RunSpec, directory: Path, transport: Transport, emit: Emit) -> str:
    """One run on one transport: builds its parts and trains. Returns "complete" or "diverged"."""
    parts = Parts(run)
    status: str = parts.trainer.fit(parts, transport, directory, emit)
    return status


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread in this process: two change bits, and more processes than cores would fight."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Local:
    """Runs on this machine, started from this process.

    Args:
        processes: ranks per run; "auto" = min(nodes, cores / jobs), "nodes" = one per node.
        jobs: runs at a time.
    """

    processes: int | str = "auto"
    jobs: int = 1

    def count(self, run: RunSpec) -> int:
        """Ranks of one run."""
        nodes: int = run.network["nodes"]
        if self.processes == "nodes":
            return nodes
        if self.processes == "auto":
            return max(1, min(nodes, len(os.sched_getaffinity(0)) // self.jobs))
        return int(self.processes)

    def execute(self, entries: list[Entry], observer: Observer) -> None:
        """Runs `entries`; a failed run is recorded and the others go on.

        Raises:
            KeyboardInterrupt: after marking what was under way as interrupted.
        """
        queue, active = deque(entries), list[_Forked]()
        with one_thread():
            try:
                while queue or active:
                    while queue and len(active) < self.jobs:
                        entry = queue.popleft()
                        _begin(entry)
                        observer.started(entry)
                        if self.jobs == 1 and self.count(entry.run) == 1:
                            _run_here(entry, observer)
                        else:
                            active.append(_Forked(self._fork(entry), entry))
                    watch([forked.job for forked in active], timeout=0.1)
                    active = [forked for forked in active if not forked.ended(observer)]
            except BaseException:
                for forked in active:
                    forked.job.stop()
                    forked.entry.mark("interrupted")
                raise

    def _fork(self, entry: Entry) -> Job:
        Parts(entry.run).task  # noqa: B018  loaded here once, shared by the ranks
        device = entry.run.trainer["params"].get("device", "cpu")

        def target(transport: Transport, emit: Emit) -> None:
            status = simulate(entry.run, entry.directory, transport, emit)
            if transport.rank == 0:
                emit({"status": status})

        return Job(self.count(entry.run), target, device=device)


@dataclass
class _Forked:
    """A run on forked ranks."""

    job: Job
    entry: Entry
    status: str = ""

    def ended(self, observer: Observer) -> bool:
        """Passes on what the ranks say; once all are gone, marks the run."""
        for message in self.job.poll():
            if "status" in message:
                self.status = message["status"]
            else:
                observer.progressed(self.entry, message)
        if self.job.running:
            return False
        status = "failed" if self.job.failure else self.status
        self.entry.mark(status, self.job.failure)
        observer.ended(self.entry, status, self.job.failure)
        return True


def _begin(entry: Entry) -> None:
    """Clears what an earlier attempt left and marks the run as running."""
    entry.directory.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "parameters.npz", "history.jsonl", "steps.jsonl", "timing.jsonl"):
        (entry.directory / name).unlink(missing_ok=True)
    entry.mark("running")


def _run_here(entry: Entry, observer: Observer) -> None:
    """The single-process mode: all nodes are rows of this process."""
    failure = None
    try:
        device = entry.run.trainer["params"].get("device", "cpu")
        status = simulate(
            entry.run, entry.directory, Alone(device), lambda message: observer.progressed(entry, message)
        )
    except Exception as error:
        status, failure = "failed", Failure.of(error, rank=0)
    except BaseException:
        entry.mark("interrupted")
        raise
    entry.mark(status, failure)
    observer.ended(entry, status, failure)


class Joined:
    """This process is a rank of a torchrun job: every rank walks through the same runs, rank 0 keeps the books."""

    SECONDS_FOR_THE_CULPRIT = 5.0

    def __init__(self, transport: ProcessGroup) -> None:
        self.transport = transport
        self.rank = transport.rank
        self._world = World(transport.size, transport)

    def agree(self, value: Any) -> Any:
        """Rank 0's JSON-able value, on every rank."""
        return json.loads(self._world.say(json.dumps(value)))

    def execute(self, entries: list[Entry], observer: Observer) -> None:
        """Runs `entries` on all ranks together. An error ends the job, named by the rank where it happened."""
        with one_thread():
            for entry in entries:
                if self.rank == 0:
                    _begin(entry)
                    observer.started(entry)
                self.agree(None)  # the run's directory exists from here on
                try:
                    status = simulate(entry.run, entry.directory, self.transport, self._teller(observer, entry))
                except Exception as error:
                    self._fail(entry, observer, error)
                if self.rank == 0:
                    entry.mark(status)
                    observer.ended(entry, status, None)

    def _teller(self, observer: Observer, entry: Entry) -> Emit:
        """What a run of this rank reports goes to the observer on rank 0, nowhere on others."""

        def tell(message: dict[str, Any]) -> None:
            if self.rank == 0:
                observer.progressed(entry, message)

        return tell

    def _fail(self, entry: Entry, observer: Observer, error: Exception) -> NoReturn:
        """The culprit records the failure and ends the job; its victims leave it the time to do so."""
        failure = Failure.of(error, self.rank)
        if failure.secondary:
            time.sleep(self.SECONDS_FOR_THE_CULPRIT)
        if not failure.secondary or (self.rank == 0 and entry.status() == "running"):
            entry.mark("failed", failure)
            observer.ended(entry, "failed", failure)
        tell_torchrun(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
