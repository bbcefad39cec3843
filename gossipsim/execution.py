"""Executes the pending runs of an experiment: in this process, on forked ranks, or on the ranks of a torchrun job.

All three go through :func:`simulate`; they differ in which transport it gets and in who notices a failure.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch

from gossipsim.config import RunSpec
from gossipsim.experiment import Entry
from gossipsim.parts import Parts
from gossipsim.world import (
    Alone,
    Failure,
    Job,
    PeerLost,
    ProcessGroup,
    World,
    blocks,
    hearing,
    require_gpus,
    tell_torchrun,
    watch,
)
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
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Lets glibc keep freed memory for the next tensor of that size, where it would give the pages back each time.

    A step makes and frees several tensors of a model's size; faulting their pages in again cost 10 to 15 % of a step
    of a 100,000-parameter MLP. Does nothing on other C libraries.
    """
    m_trim_threshold, m_mmap_threshold, largest = -1, -3, 32 << 20  # largest: what glibc accepts for mmap
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(m_mmap_threshold, largest)
        mallopt(m_trim_threshold, 16 * largest)


@dataclass(frozen=True)
class Local:
    """Runs on this machine, started from this process.

    Args:
        processes: ranks per run; "auto" = min(nodes, cores or GPUs / jobs), "nodes" = one per node.
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
            device = run.trainer["params"].get("device", "cpu")
            hosts = len(os.sched_getaffinity(0)) if device == "cpu" else torch.cuda.device_count()
            return max(1, min(nodes, hosts // self.jobs))
        return int(self.processes)

    def device_problems(self, runs: list[RunSpec]) -> list[str]:
        """Runs that ask for more GPUs than there are."""
        problems: dict[str, None] = {}
        for run in runs:
            device = run.trainer["params"].get("device", "cpu")
            try:
                require_gpus(str(device), self.count(run))
            except ValueError as error:
                problems[f"{run.origins.of('trainer.params.device')}: {error}"] = None
        return list(problems)

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
                            active += self._fork(entry, observer)
                    watch([forked.job for forked in active], timeout=0.1)
                    active = [forked for forked in active if not forked.ended(observer)]
            except BaseException:
                for forked in active:
                    forked.job.stop()
                    forked.entry.mark("interrupted")
                raise

    def _fork(self, entry: Entry, observer: Observer) -> list[_Forked]:
        """The run under way on ranks of its own; none where it could not even be started."""
        try:
            return [_Forked(self._job(entry), entry)]
        except Exception as error:
            _end(entry, observer, "failed", Failure.of(error))
            return []

    def _job(self, entry: Entry) -> Job:
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
        failure = self.job.failure and _located(self.job.failure, self.entry.run, self.job.size)
        _end(self.entry, observer, "failed" if failure else self.status, failure)
        return True


def _begin(entry: Entry) -> None:
    """Clears what an earlier attempt left and marks the run as running."""
    entry.directory.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "parameters.npz", "history.jsonl", "steps.jsonl", "timing.jsonl"):
        (entry.directory / name).unlink(missing_ok=True)
    entry.mark("running")


def _end(entry: Entry, observer: Observer, status: str, failure: Failure | None = None) -> None:
    """Marks a run with its final status and passes it on."""
    entry.mark(status, failure)
    observer.ended(entry, status, failure)


def _located(failure: Failure, run: RunSpec, size: int) -> Failure:
    """With its node also where the exception does not tell, if the rank hosts one only."""
    if failure.node is not None or failure.rank is None or failure.secondary:
        return failure
    return replace(failure, node=_only_node(run, size, failure.rank))


def _only_node(run: RunSpec, size: int, rank: int) -> int | None:
    """The node that a rank of `size` hosts, where it is one."""
    hosted = blocks(run.network["nodes"], size)[rank]
    return hosted[0] if len(hosted) == 1 else None


def _run_here(entry: Entry, observer: Observer) -> None:
    """The single-process mode: all nodes are rows of this process."""
    failure = None
    try:
        device = entry.run.trainer["params"].get("device", "cpu")
        status = simulate(
            entry.run, entry.directory, Alone(device), lambda message: observer.progressed(entry, message)
        )
    except (Exception, SystemExit) as error:
        status, failure = "failed", _located(Failure.of(error, rank=0), entry.run, 1)
    except BaseException:
        entry.mark("interrupted")
        raise
    _end(entry, observer, status, failure)


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
                with self._ended_from_outside(entry):
                    self.agree(None)  # the run's directory exists from here on
                    try:
                        status = simulate(entry.run, entry.directory, self.transport, self._teller(observer, entry))
                    except (Exception, SystemExit) as error:
                        self._fail(entry, observer, error)
                if self.rank == 0:
                    _end(entry, observer, status)

    def _teller(self, observer: Observer, entry: Entry) -> Emit:
        """What a run of this rank reports goes to the observer on rank 0, nowhere on others."""

        def tell(message: dict[str, Any]) -> None:
            if self.rank == 0:
                observer.progressed(entry, message)

        return tell

    @contextmanager
    def _ended_from_outside(self, entry: Entry) -> Iterator[None]:
        """On rank 0: a run that torchrun (for the death of a rank) or Ctrl-C ends does not stay "running"."""

        def react(heard: signal.Signals) -> None:
            if entry.status() == "running":
                message = "torchrun ended the job because a rank died; its report names the rank"
                failure = Failure(message) if heard == signal.SIGTERM else None
                entry.mark("failed" if failure else "interrupted", failure)
            os._exit(128 + heard)

        with hearing((signal.SIGTERM, signal.SIGINT), react) if self.rank == 0 else nullcontext():
            yield

    def _fail(self, entry: Entry, observer: Observer, error: BaseException) -> NoReturn:
        """The culprit records the failure and ends the job; its victims leave it the time to do so.

        Where the culprit could not, a victim that knows who is gone does, or rank 0.
        """
        failure = Failure.of(error, self.rank)
        size, peer = self.transport.size, error.peer if isinstance(error, PeerLost) else None
        if peer is not None:
            failure = replace(failure, rank=peer, node=_only_node(entry.run, size, peer))
        if failure.secondary:
            time.sleep(self.SECONDS_FOR_THE_CULPRIT + 0.3 * min(self.rank, 10))  # one after the other
        if not failure.secondary or ((self.rank == 0 or peer is not None) and entry.status() == "running"):
            _end(entry, observer, "failed", _located(failure, entry.run, size))
        tell_torchrun(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
