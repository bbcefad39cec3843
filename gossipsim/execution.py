"""Executes the pending runs of an experiment: in this process, on forked ranks, or on the ranks of a torchrun job.

All three go through :func:`simulate`; they differ in which transport it gets and in who notices a failure. Forked ranks
that have finished a run are given the next one of their size.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from gossipsim.checkpoints import Folder
from gossipsim.config import RunSpec
from gossipsim.experiment import Entry
from gossipsim.faults import struck
from gossipsim.mixing import warm
from gossipsim.parts import Parts, tasks_in_memory
from gossipsim.results import RESULTS, CannotWrite
from gossipsim.world import (
    Alone,
    Failure,
    Ranks,
    Request,
    blocks,
    deferred,
    environment_problems,
    raising_exits,
    require_gpus,
    stoppable,
    watch,
)
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport


class Observer(Protocol):
    """Who is told how the runs go."""

    def started(self, entry: Entry) -> None: ...
    def progressed(self, entry: Entry, message: dict[str, Any]) -> None: ...
    def noted(self, entry: Entry, text: str) -> None: ...
    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None: ...


def simulate(run: RunSpec, directory: Path, transport: Transport, emit: Emit) -> str:
    """One run on one transport: builds its parts and trains. Returns "complete", "diverged" or "interrupted"."""
    parts = Parts(run)
    with struck(run.faults, parts.strategy, directory, emit) as parts.strategy:
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
    of a 100,000-parameter MLP, and for tensors beyond 32 MiB it takes five times as long as to copy them. Does nothing
    on other C libraries.
    """
    m_trim_threshold, m_mmap_threshold, kept = -1, -3, (1 << 31) - 1
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        any(mallopt(m_mmap_threshold, largest) for largest in (1 << 30, 32 << 20))  # older glibc takes the second only
        mallopt(m_trim_threshold, kept)


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
        """Runs that ask for more GPUs than there are, and what the environment says of transports that cannot be."""
        problems: dict[str, None] = dict.fromkeys(environment_problems())
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

        Ctrl-C lets what is under way save itself and stop at a round that its ranks agree on; a second time, or where
        that takes too long, it ends at once.

        Raises:
            KeyboardInterrupt: after marking what was under way as interrupted.
        """
        queue = deque(self.together(entries))
        with one_thread(), stoppable() as request, _Pool(list(queue), observer, request) as pool:
            while (queue and not request.made) or pool.active:
                while queue and not request.made and self._has_room(pool, queue[0].run):
                    entry = queue.popleft()
                    if self.in_process and self.jobs == 1 and self.count(entry.run) == 1:
                        pool.dismiss()
                        _run_here(entry, observer, request)
                    else:
                        pool.begin(entry, self.count(entry.run))
                if not queue:
                    pool.dismiss()
                if request.made:
                    pool.ask_to_stop()
                pool.look()
            if request.made:
                raise KeyboardInterrupt

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
    asked_to_stop: bool = False
    stopping: bool = False

    def goes_on(self, observer: Observer) -> bool:
        """Passes on what the ranks say; whether they are still at the run."""
        for message in self.ranks.poll():
            if "status" in message:
                self.status = message["status"]
            elif "stopping" in message:
                self.stopping = True
            else:
                pass_on(observer, self.entry, message)
        return self.ranks.busy


class _Pool:
    """Groups of forked ranks that are reused from run to run; leaving it ends all of them.

    Ranks know the entries and have the data that this process had loaded when they were forked. Where the next run
    needs other data, they give way to ranks that share them: loaded once, not once per rank.
    """

    def __init__(self, entries: list[Entry], observer: Observer, request: Request) -> None:
        self.active: list[_Group] = []
        self._idle: list[_Group] = []
        self._entries, self._observer, self._request = entries, observer, request
        self._places = {id(entry): place for place, entry in enumerate(entries)}

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        with deferred():
            for group in self.active:
                group.ranks.stop()
                interrupt(group.entry)
            self.dismiss()

    def begin(self, entry: Entry, size: int) -> None:
        """Starts a run on idle ranks, or on new ones; a run that cannot be started has failed."""
        try:
            self._observer.started(entry)
            entry.begin()
            parts = Parts(entry.run)
            parts.task  # noqa: B018  loaded here once, shared by the ranks
            with deferred():
                group = self._take(entry, size, parts.task_key)
                group.ranks.begin(self._places[id(entry)])
                self.active.append(group)
        except Exception as error:
            end(entry, self._observer, "failed", Failure.of(error))
        except BaseException:
            interrupt(entry)
            raise

    def ask_to_stop(self) -> None:
        """Asks all ranks to stop, and has patience once all of them are about to."""
        for group in self.active:
            if not group.asked_to_stop:
                group.ranks.ask_to_stop()
                group.asked_to_stop = True
        if all(group.stopping for group in self.active):
            self._request.grant()

    def look(self) -> None:
        """Waits a moment for news and passes them on; ranks that have finished their run are idle."""
        watch([group.ranks for group in self.active], timeout=0.1)
        for group in list(self.active):
            if group.goes_on(self._observer):
                continue
            with deferred():
                failure = group.ranks.failure and located(group.ranks.failure, group.entry.run, group.ranks.size)
                self.active.remove(group)
                if failure is None:
                    self._idle.append(group)
                end(group.entry, self._observer, "failed" if failure else group.status, failure)

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
                return _Group(idle.ranks, device, idle.data, entry)
            idle.ranks.stop()
        warm()
        return _Group(Ranks(size, self._work, device=device), device, tasks_in_memory(), entry)

    def _work(self, transport: Transport, emit: Emit, place: int) -> None:
        """What a rank does."""
        entry = self._entries[place]
        status = simulate(entry.run, entry.directory, transport, emit)
        if transport.rank == 0:
            emit({"status": status})


def end(entry: Entry, observer: Observer, status: str, failure: Failure | None = None) -> None:
    """Marks a run with its final status, removes what it could have gone on from, and passes it on.

    A result that cannot be marked as one is none: the run has failed. Where the disk does not even take that, run.json
    goes on saying "running", of a launcher that will be gone.
    """
    try:
        if failure is None or entry.status() == "running":
            entry.mark(status, failure)
    except CannotWrite as error:
        if failure is None:
            end(entry, observer, "failed", Failure.of(error))
            return
    if status in RESULTS:
        Folder(entry.directory, entry.run.key).clear()
    if status != "interrupted":
        observer.ended(entry, status, failure)


def interrupt(entry: Entry) -> None:
    """Marks a run under way as interrupted; as far as others can tell, one that cannot be marked is so too."""
    with suppress(CannotWrite):
        if entry.status() == "running":
            entry.mark("interrupted")


def pass_on(observer: Observer, entry: Entry, message: dict[str, Any]) -> None:
    """Tells the observer what a run has said."""
    if "note" in message:
        observer.noted(entry, message["note"])
    else:
        observer.progressed(entry, message)


def located(failure: Failure, run: RunSpec, size: int) -> Failure:
    """With its node also where the exception does not tell, if the rank hosts one only."""
    if failure.node is not None or failure.rank is None or failure.secondary:
        return failure
    return replace(failure, node=only_node(run, size, failure.rank))


def only_node(run: RunSpec, size: int, rank: int) -> int | None:
    """The node that a rank of `size` hosts, where it is one."""
    hosted = blocks(run.network["nodes"], size)[rank]
    return hosted[0] if len(hosted) == 1 else None


def _run_here(entry: Entry, observer: Observer, request: Request) -> None:
    """The single-process mode: all nodes are rows of this process."""

    def hear(message: dict[str, Any]) -> None:
        if "stopping" in message:
            request.grant()
        else:
            pass_on(observer, entry, message)

    failure = None
    try:
        observer.started(entry)
        entry.begin()
        with raising_exits():
            status = simulate(entry.run, entry.directory, Alone(_device(entry.run)), hear)
    except (Exception, SystemExit) as error:
        status, failure = "failed", located(Failure.of(error, rank=0), entry.run, 1)
    except BaseException:
        interrupt(entry)
        raise
    end(entry, observer, status, failure)
