"""Local ranks: forked from a process that has torch loaded, meeting in a file, every one of them watched.

torch's elastic launcher hangs when a rank exits 0 too early and may blame a victim; here a job has succeeded only when
every rank has *reported* that it finished, and the first failure that is not a consequence of another is the culprit.

Ranks that have finished a job stay and wait for the next: forking eight of them and connecting them to one another
takes 0.2 to 0.4 s, handing them a job 1 ms.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from gossipsim.results import CannotWrite
from gossipsim.world import processes
from gossipsim.world.meeting import Meeting
from gossipsim.world.stacks import Stacks, ask
from gossipsim.world.stopping import listening
from gossipsim.world.transport import STOPPED, PeerLost, Transport, require_gpus

GRACE = 0.5
"""Seconds between the first sign of a failure and the end of the job, in which the real culprit can report."""

IDLE_CHECK = 1.0
"""Seconds between two looks of an idle rank whether its launcher still lives, where the system does not tell it."""

FILES_PER_RANK = 8
"""Open files of the launcher for each rank, and of a rank for each gloo peer, with something to spare."""

STOP = {"stop": True}
"""What the launcher says to rank 0 in the middle of a job."""

Emit = Callable[[dict[str, Any]], None]
Target = Callable[[Transport, Emit, Any], None]
"""What a rank does with a job: (transport, emit, the JSON-able value that the job was begun with)."""


@dataclass(frozen=True)
class Failure:
    """Why a run ended: the culprit, not its victims.

    Attributes:
        node: the node whose computation raised, where there is one.
        secondary: True for the loss of a peer, which follows from somebody else's failure.
        peer: the rank that was lost, where that is known.
    """

    message: str
    rank: int | None = None
    node: int | None = None
    traceback: str | None = None
    secondary: bool = False
    peer: int | None = None

    @classmethod
    def of(cls, error: BaseException, rank: int | None = None) -> Failure:
        """Describes an exception; code that works for one node sets `node` on what it raises.

        That the disk does not take something is nobody's mistake in a program: one line says it all.
        """
        says_all = isinstance(error, CannotWrite)
        return cls(
            message=str(error) if says_all else f"{type(error).__name__}: {_first_line(error)}".rstrip(": "),
            rank=rank,
            node=getattr(error, "node", None),
            traceback=None if says_all else "".join(traceback.format_exception(error)),
            secondary=isinstance(error, PeerLost),
            peer=getattr(error, "peer", None),
        )

    def where(self) -> str:
        """E.g. `node 3, rank 1`."""
        places = [f"{kind} {at}" for kind, at in (("node", self.node), ("rank", self.rank)) if at is not None]
        return ", ".join(places)


def _first_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as problem:  # the exception is anybody's code
        return f"its text cannot be had ({type(problem).__name__} in __str__)"
    return next((line for line in text.splitlines() if line.strip()), "")


class Ranks:
    """`size` ranks that run `target(transport, emit, job)` for one job after the other; forked for the first.

    After :meth:`begin`, drive them with :meth:`poll` until :attr:`busy` is False; then :attr:`failure` is None, and
    they can be given the next job, or it names the culprit, and all of them are gone. What they `emit` (JSON-able
    dicts) comes out of :meth:`poll`. End them with :meth:`stop`.
    """

    def __init__(self, size: int, target: Target, *, device: str = "cpu") -> None:
        require_gpus(device, size)
        self.size = size
        self.failure: Failure | None = None
        self.busy = False
        self._failures: list[Failure] = []
        self._finished: set[int] = set()
        self._dead: set[int] = set()
        self._deadline: float | None = None
        self._standstill = processes.Standstill()
        self._ended_for_memory = processes.ended_for_memory()
        self._stacks = Stacks()
        self._meeting = Meeting(size, device)
        _allow_open_files(FILES_PER_RANK * size)
        context = multiprocessing.get_context("fork")
        pipes = [context.Pipe() for _ in range(size)]
        self._pipes = [ours for ours, _ in pipes]
        self._unborn = [theirs for _, theirs in pipes]
        self._processes = [
            context.Process(
                target=_rank_main,
                args=(rank, target, theirs, self._meeting, self._stacks, os.getpid()),
                name=f"gossipsim-rank-{rank}",
                daemon=True,
            )
            for rank, (_, theirs) in enumerate(pipes)
        ]

    def alive(self) -> bool:
        """Whether all ranks are there."""
        return not self._dead and all(process.is_alive() for process in self._processes)

    def _fork(self) -> None:
        """Brings the ranks to life."""
        sys.stdout.flush()
        try:
            for process, theirs in zip(self._processes, self._unborn, strict=True):
                process.start()
                theirs.close()
        except BaseException:  # no more processes to be had
            self.stop()
            raise
        finally:
            self._unborn.clear()

    def begin(self, job: Any) -> None:
        """Hands every rank the same job; the first is there before the ranks are, which begin as they are forked.

        Raises:
            OSError: where the system has no room for so many processes; then there are none.
        """
        self._finished.clear()
        self.busy = True
        for pipe in self._pipes:
            with suppress(OSError):  # a rank that has just died: poll will see it
                pipe.send_bytes(json.dumps(job).encode())
        if self._unborn:
            self._fork()

    def ask_to_stop(self) -> None:
        """Tells rank 0 that the job shall stop where all ranks can."""
        with suppress(OSError):
            self._pipes[0].send_bytes(json.dumps(STOP).encode())

    def handles(self) -> list[Any]:
        """What to `multiprocessing.connection.wait` for: messages and deaths."""
        alive = [process.sentinel for r, process in enumerate(self._processes) if r not in self._dead]
        return alive + [pipe for r, pipe in enumerate(self._pipes) if r not in self._dead]

    def poll(self) -> list[dict[str, Any]]:
        """Reads what has arrived and looks after deaths, without waiting."""
        messages: list[dict[str, Any]] = []
        for rank, process in enumerate(self._processes):
            if rank in self._dead:
                continue
            ended = not process.is_alive()  # before the pipe is read: a dead rank writes no more
            messages += self._read(rank)
            if ended:
                self._bury(rank)
        self._look_for_stopped()
        if self._failures and self._deadline is None:
            self._deadline = time.monotonic() + GRACE
        if len(self._dead) == self.size or (self._deadline is not None and time.monotonic() > self._deadline):
            self.stop()
        elif len(self._finished) == self.size and not self._failures:
            self.busy = False
        return messages

    def stop(self) -> None:
        """Ends every rank now, also in the middle of a job, and names the culprit of a failure."""
        self.failure = self._culprit()
        started = [process for process in self._processes if process.pid is not None]
        for process in started:
            if process.is_alive():
                process.kill()
        for process in started:
            process.join()
        self._processes.clear()  # each holds two descriptors
        for pipe in self._pipes + self._unborn:
            pipe.close()
        self._dead = set(range(self.size))
        self._meeting.close()
        self._stacks.close()
        self.busy = False

    def _culprit(self) -> Failure | None:
        """The first failure that is not a consequence of another; else the rank that others have lost without cause."""
        primary = [failure for failure in self._failures if not failure.secondary]
        if primary or not self._failures:
            return primary[0] if primary else self.failure
        reported = {failure.rank for failure in self._failures}
        first = next((f for f in self._failures if f.peer is not None and f.peer not in reported), self._failures[0])
        if first.peer is None or first.peer in reported:
            return first
        stuck = self._processes[first.peer].pid
        assert stuck is not None
        ask(stuck)
        return replace(first, rank=first.peer, node=None, traceback=self._stacks.told(), secondary=False)

    def _look_for_stopped(self) -> None:
        """A stopped rank neither fails nor ends."""
        for rank, process in enumerate([] if self._failures else self._processes):
            if process.pid is not None and self._standstill.of(process.pid):
                self._failures.append(Failure(f"rank {rank} does not go on: {STOPPED}", rank=rank))

    def _read(self, rank: int) -> list[dict[str, Any]]:
        messages = []
        pipe: Connection[Any, Any] = self._pipes[rank]
        while pipe.poll():
            try:
                message = json.loads(pipe.recv_bytes())
            except (EOFError, ConnectionResetError):  # reset: it died with a job unread
                break
            if "failure" in message:
                self._failures.append(Failure(**message["failure"]))
            elif "finished" in message:
                self._finished.add(rank)
            else:
                messages.append(message)
        return messages

    def _bury(self, rank: int) -> None:
        self._dead.add(rank)
        code = self._processes[rank].exitcode
        assert code is not None
        if any(failure.rank == rank for failure in self._failures):
            return
        cause = processes.death(code, self._ended_for_memory)
        told = self._stacks.told() if code < 0 else None
        self._failures.append(Failure(f"rank {rank} {cause} before the run had finished", rank=rank, traceback=told))


def watch(groups: list[Ranks], timeout: float) -> None:
    """Waits until any rank of any group says something or dies, at most `timeout` seconds."""
    wait([handle for ranks in groups for handle in ranks.handles()], timeout)


def _allow_open_files(count: int) -> None:
    """Raises this process's own limit of open files, where the system's allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _rank_main(
    rank: int, target: Target, pipe: Connection[Any, Any], meeting: Meeting, stacks: Stacks, parent: int
) -> None:
    """The life of a forked rank. Ends by `os._exit` after a failure: a broken process group cannot be closed."""
    gc.freeze()  # here, as it would keep the launcher's garbage there: a collection copies every page that it touches
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    processes.die_with(parent)
    stacks.tell()

    def emit(message: dict[str, Any]) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    try:
        transport = meeting.transport(rank)
        while True:
            job = _next_job(pipe, parent)
            with listening(_StopSaid(pipe)):
                target(transport, emit, job)
            sys.stdout.flush()
            sys.stderr.flush()
            emit({"finished": True})
    except BaseException as error:
        emit({"failure": vars(Failure.of(error, rank))})
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


class _StopSaid:
    """Whether the launcher has said that the job shall stop."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe, self._said = pipe, False

    def __call__(self) -> bool:
        self._said = self._said or (self._pipe.poll() and json.loads(self._pipe.recv_bytes()) == STOP)
        return self._said


def _next_job(pipe: Connection[Any, Any], parent: int) -> Any:
    """Waits for the next job, as long as the launcher lives."""
    while True:
        while not pipe.poll(IDLE_CHECK):
            if os.getppid() != parent:
                os._exit(1)
        job = json.loads(pipe.recv_bytes())
        if job != STOP:  # which came too late for the job before
            return job
