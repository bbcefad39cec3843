"""Local ranks: forked from a process that has torch loaded, meeting in a file, every one of them watched.

torch's elastic launcher hangs when a rank exits 0 too early and may blame a victim; here a job has succeeded only when
every rank has *reported* that it finished, and the first failure that is not a consequence of another is the culprit.

Ranks that have finished a job stay and wait for the next: forking eight of them and connecting them to one another
takes 0.2 to 0.4 s, handing them a job 1 ms.
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gossipsim.world.transport import Alone, PeerLost, ProcessGroup, Transport, local_store, require_gpus

GRACE = 0.5
"""Seconds between the first sign of a failure and the end of the job, in which the real culprit can report."""

IDLE_CHECK = 1.0
"""Seconds between two looks of an idle rank whether its launcher still lives, where the system does not tell it."""

Emit = Callable[[dict[str, Any]], None]
Target = Callable[[Transport, Emit, Any], None]
"""What a rank does with a job: (transport, emit, the JSON-able value that the job was begun with)."""


@dataclass(frozen=True)
class Failure:
    """Why a run ended: the culprit, not its victims.

    Attributes:
        node: the node whose computation raised, where there is one.
        secondary: True for the loss of a peer, which follows from somebody else's failure.
    """

    message: str
    rank: int | None = None
    node: int | None = None
    traceback: str | None = None
    secondary: bool = False

    @classmethod
    def of(cls, error: BaseException, rank: int | None = None) -> Failure:
        """Describes an exception; code that works for one node sets `node` on what it raises."""
        return cls(
            message=f"{type(error).__name__}: {_first_line(error)}".rstrip(": "),
            rank=rank,
            node=getattr(error, "node", None),
            traceback="".join(traceback.format_exception(error)),
            secondary=isinstance(error, PeerLost),
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
    """`size` forked ranks that run `target(transport, emit, job)` for one job after the other.

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
        self._folder = Path(tempfile.mkdtemp(prefix="gossipsim-"))
        sys.stdout.flush()
        context = multiprocessing.get_context("fork")
        pipes = [context.Pipe() for _ in range(size)]
        self._pipes = [ours for ours, _ in pipes]
        self._processes = [
            context.Process(
                target=_rank_main,
                args=(rank, size, target, theirs, local_store(self._folder), device, os.getpid()),
                name=f"gossipsim-rank-{rank}",
                daemon=True,
            )
            for rank, (_, theirs) in enumerate(pipes)
        ]
        gc.freeze()  # a rank's first collection would otherwise touch, and so copy, every page of the parent
        try:
            for process, (_, theirs) in zip(self._processes, pipes, strict=True):
                process.start()
                theirs.close()
        except BaseException:  # no more processes to be had
            self.stop()
            raise
        finally:
            gc.unfreeze()

    def alive(self) -> bool:
        """Whether all ranks are there."""
        return not self._dead and all(process.is_alive() for process in self._processes)

    def begin(self, job: Any) -> None:
        """Hands every rank the same job."""
        self._finished.clear()
        self.busy = True
        for pipe in self._pipes:
            with suppress(OSError):  # a rank that has just died: poll will see it
                pipe.send_bytes(json.dumps(job).encode())

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
        if self._failures and self._deadline is None:
            self._deadline = time.monotonic() + GRACE
        if len(self._dead) == self.size or (self._deadline is not None and time.monotonic() > self._deadline):
            self.stop()
        elif len(self._finished) == self.size and not self._failures:
            self.busy = False
        return messages

    def stop(self) -> None:
        """Ends every rank now, also in the middle of a job, and names the culprit of a failure."""
        started = [process for process in self._processes if process.pid is not None]
        for process in started:
            if process.is_alive():
                process.kill()
        for process in started:
            process.join()
        self._processes.clear()  # each holds two descriptors
        for pipe in self._pipes:
            pipe.close()
        self._dead = set(range(self.size))
        shutil.rmtree(self._folder, ignore_errors=True)
        self.busy = False
        culprits = [failure for failure in self._failures if not failure.secondary] or self._failures
        self.failure = culprits[0] if culprits else None

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
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        self._failures.append(Failure(f"rank {rank} {cause} before the run had finished", rank=rank))


def watch(groups: list[Ranks], timeout: float) -> None:
    """Waits until any rank of any group says something or dies, at most `timeout` seconds."""
    wait([handle for ranks in groups for handle in ranks.handles()], timeout)


def _rank_main(
    rank: int, size: int, target: Target, pipe: Connection[Any, Any], store: str, device: str, parent: int
) -> None:
    """The life of a forked rank. Ends by `os._exit` after a failure: a broken process group cannot be closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(parent)
    if Path("/sys/class/net/lo").exists():
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"

    def emit(message: dict[str, Any]) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    try:
        alone = size == 1
        transport = Alone(device) if alone else ProcessGroup(rank, size, store, device=device, local_rank=rank)
        while True:
            target(transport, emit, _next_job(pipe, parent))
            sys.stdout.flush()
            sys.stderr.flush()
            emit({"finished": True})
    except BaseException as error:
        emit({"failure": vars(Failure.of(error, rank))})
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _next_job(pipe: Connection[Any, Any], parent: int) -> Any:
    """Waits for the next job, as long as the launcher lives."""
    while not pipe.poll(IDLE_CHECK):
        if os.getppid() != parent:
            os._exit(1)
    return json.loads(pipe.recv_bytes())


def _die_with(parent: int) -> None:
    """Asks Linux to kill this rank when the launcher dies, however it dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
