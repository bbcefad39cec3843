"""Executes the pending runs of an experiment: in this process, on forked ranks, or on the ranks of a torchrun job.

All three go through :func:`simulate`; they differ in which transport it gets and in who notices a failure. Forked ranks
that have finished a run are given the next one of their size.
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
from gossipsim.parts import Parts, tasks_in_memory
from gossipsim.world import (
    Alone,
    Failure,
    PeerLost,
    ProcessGroup,
    Ranks,
    World,
    blocks,
    deferred,
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
        jobs: runs at a time; "auto" = as many as there are cores or GPUs for their ranks, and with `processes` "auto"
            a run then has one rank.
        in_process: one run at a time on one rank stays in this process, where `breakpoint()` works.
    """

    processes: int | str = "auto"
    jobs: int | str = 1
    in_process: bool = True

    def count(self, run: RunSpec) -> int:
        """Ranks of one run."""
        nodes: int = run.network["nodes"]
        if self.processes == "nodes":
            return nodes
        if self.processes == "auto":
            return 1 if self.jobs == "auto" else max(1, min(nodes, _hosts(run) // int(self.jobs)))
        return int(self.processes)

    def device_problems(self, runs: list[RunSpec]) -> list[str]:
        """Runs that ask for more GPUs than there are."""
        problems: dict[str, None] = {}
        for run in runs:
            try:
                require_gpus(_device(run), self.count(run))
            except ValueError as error:
                problems[f"{run.origins.of('trainer.params.device')}: {error}"] = None
        return list(problems)

    def together(self, entries: list[Entry]) -> list[Entry]:
        """Runs that can share ranks, and of these the runs that use the same data, next to one another."""
        groups: dict[tuple[int, str], dict[str, list[Entry]]] = {}
        for entry in entries:
            same_ranks = groups.setdefault((self.count(entry.run), _device(entry.run)), {})
            same_ranks.setdefault(Parts(entry.run).task_key, []).append(entry)
        return [entry for same_ranks in groups.values() for same_data in same_ranks.values() for entry in same_data]

    def execute(self, entries: list[Entry], observer: Observer) -> None:
        """Runs `entries`; a failed run is recorded and the others go on.

        Raises:
            KeyboardInterrupt: after marking what was under way as interrupted.
        """
        queue = deque(self.together(entries))
        with one_thread(), _Pool(list(queue), observer) as pool:
            while queue or pool.active:
                while queue and self._has_room(pool, queue[0].run):
                    entry = queue.popleft()
                    if self.in_process and self.jobs == 1 and self.count(entry.run) == 1:
                        pool.dismiss()
                        _run_here(entry, observer)
                    else:
                        pool.begin(entry, self.count(entry.run))
                if not queue:
                    pool.dismiss()
                pool.look()

    def _has_room(self, pool: _Pool, run: RunSpec) -> bool:
        if self.jobs != "auto":
            return len(pool.active) < int(self.jobs)
        return not pool.active or sum(group.ranks.size for group in pool.active) + self.count(run) <= _hosts(run)


def _device(run: RunSpec) -> str:
    return str(run.trainer["params"].get("device", "cpu"))


def _hosts(run: RunSpec) -> int:
    """Cores or GPUs that ranks of this run can have for themselves."""
    return len(os.sched_getaffinity(0)) if _device(run) == "cpu" else torch.cuda.device_count()


@dataclass(eq=False)
class _Group:
    """Forked ranks, what they share with this process, and the run that they are at."""

    ranks: Ranks
    device: str
    data: frozenset[str]
    entry: Entry
    status: str = ""

    def goes_on(self, observer: Observer) -> bool:
        """Passes on what the ranks say; whether they are still at the run."""
        for message in self.ranks.poll():
            if "status" in message:
                self.status = message["status"]
            else:
                observer.progressed(self.entry, message)
        return self.ranks.busy


class _Pool:
    """Groups of forked ranks that are reused from run to run; leaving it ends all of them.

    Ranks know the entries and have the data that this process had loaded when they were forked. Where the next run
    needs other data, they give way to ranks that share them: loaded once, not once per rank.
    """

    def __init__(self, entries: list[Entry], observer: Observer) -> None:
        self.active: list[_Group] = []
        self._idle: list[_Group] = []
        self._entries, self._observer = entries, observer
        self._places = {id(entry): place for place, entry in enumerate(entries)}

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        with deferred():
            for group in self.active:
                group.ranks.stop()
                group.entry.mark("interrupted")
            self.dismiss()

    def begin(self, entry: Entry, size: int) -> None:
        """Starts a run on idle ranks, or on new ones; a run that cannot be started has failed."""
        try:
            _begin(entry)
            self._observer.started(entry)
            parts = Parts(entry.run)
            parts.task  # noqa: B018  loaded here once, shared by the ranks
            with deferred():
                group = self._take(entry, size, parts.task_key)
                self.active.append(group)
                group.ranks.begin(self._places[id(entry)])
        except Exception as error:
            _end(entry, self._observer, "failed", Failure.of(error))
        except BaseException:
            entry.mark("interrupted")
            raise

    def look(self) -> None:
        """Waits a moment for news and passes them on; ranks that have finished their run are idle."""
        watch([group.ranks for group in self.active], timeout=0.1)
        for group in list(self.active):
            if group.goes_on(self._observer):
                continue
            with deferred():
                failure = group.ranks.failure and _located(group.ranks.failure, group.entry.run, group.ranks.size)
                self.active.remove(group)
                if failure is None:
                    self._idle.append(group)
                _end(group.entry, self._observer, "failed" if failure else group.status, failure)

    def dismiss(self) -> None:
        """Ends the idle ranks."""
        while self._idle:
            self._idle.pop().ranks.stop()

    def _take(self, entry: Entry, size: int, data: str) -> _Group:
        """Ranks for a run. Idle ones that do not fit are of no more use: runs that could share them come in a row."""
        device = _device(entry.run)
        while self._idle:
            idle = self._idle.pop()
            if (idle.ranks.size, idle.device) == (size, device) and data in idle.data and idle.ranks.alive():
                return replace(idle, entry=entry, status="")
            idle.ranks.stop()
        return _Group(Ranks(size, self._work, device=device), device, tasks_in_memory(), entry)

    def _work(self, transport: Transport, emit: Emit, place: int) -> None:
        """What a rank does."""
        entry = self._entries[place]
        status = simulate(entry.run, entry.directory, transport, emit)
        if transport.rank == 0:
            emit({"status": status})


def _begin(entry: Entry) -> None:
    """Clears what an earlier attempt left and marks the run as running."""
    entry.directory.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "parameters.npz", "history.jsonl", "steps.jsonl", "nodes.jsonl", "timing.jsonl"):
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
        _begin(entry)
        observer.started(entry)
        transport = Alone(_device(entry.run))
        status = simulate(entry.run, entry.directory, transport, lambda message: observer.progressed(entry, message))
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
