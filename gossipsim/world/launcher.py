"""Local ranks: forked from a process that has torch loaded, meeting in a file, every one of them watched.

torch's elastic launcher hangs when a rank exits 0 too early and may blame a victim; here a job has succeeded only when
every rank has *reported* that it finished, and the first failure that is not a consequence of another is the culprit.
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
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gossipsim.world.transport import PeerLost, ProcessGroup, Transport, local_store, require_gpus

GRACE = 0.5
"""Seconds between the first sign of a failure and the end of the job, in which the real culprit can report."""

Emit = Callable[[dict[str, Any]], None]
Target = Callable[[Transport, Emit], None]


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


class Job:
    """`size` forked ranks, each running `target(transport, emit)`.

    Drive it with :meth:`poll` until :attr:`running` is False; then :attr:`failure` is None or names the culprit.
    What ranks `emit` (JSON-able dicts) comes out of :meth:`poll`.
    """

    def __init__(self, size: int, target: Target, *, device: str = "cpu") -> None:
        require_gpus(device, size)
        self.size = size
        self.failure: Failure | None = None
        self.running = True
        self._failures: list[Failure] = []
        self._finished: set[int] = set()
        self._dead: set[int] = set()
        self._deadline: float | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="gossipsim-"))
        sys.stdout.flush()
        context = multiprocessing.get_context("fork")
        pipes = [context.Pipe(duplex=False) for _ in range(size)]
        self._readers = [reader for reader, _ in pipes]
        self._processes = [
            context.Process(
                target=_rank_main,
                args=(rank, size, target, writer, local_store(self._folder), device, os.getpid()),
                name=f"gossipsim-rank-{rank}",
                daemon=True,
            )
            for rank, (_, writer) in enumerate(pipes)
        ]
        started = []
        gc.freeze()  # a rank's first collection would otherwise touch, and so copy, every page of the parent
        try:
            for process, (_, writer) in zip(self._processes, pipes, strict=True):
                process.start()
                started.append(process)
                writer.close()
        except BaseException:  # no more processes to be had, or Ctrl-C
            for process in started:
                process.kill()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            gc.unfreeze()

    def handles(self) -> list[Any]:
        """What to `multiprocessing.connection.wait` for: messages and deaths."""
        alive = [process.sentinel for r, process in enumerate(self._processes) if r not in self._dead]
        return alive + [reader for r, reader in enumerate(self._readers) if r not in self._dead]

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
        if len(self._dead) == len(self._processes) or (
            self._deadline is not None and time.monotonic() > self._deadline
        ):
            self.stop()
        return messages

    def stop(self) -> None:
        """Ends every rank now and names the culprit."""
        for process in self._processes:
            if process.is_alive():
                process.kill()
        for process, reader in zip(self._processes, self._readers, strict=True):
            process.join()
            reader.close()
        self._dead = set(range(len(self._processes)))
        shutil.rmtree(self._folder, ignore_errors=True)
        self.running = False
        culprits = [failure for failure in self._failures if not failure.secondary] or self._failures
        self.failure = culprits[0] if culprits else None

    def _read(self, rank: int) -> list[dict[str, Any]]:
        messages = []
        reader: Connection[Any, Any] = self._readers[rank]
        while reader.poll():
            try:
                message = json.loads(reader.recv_bytes())
            except EOFError:
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
        if rank in self._finished and code == 0:
            return
        if any(failure.rank == rank for failure in self._failures):
            return
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        self._failures.append(Failure(f"rank {rank} {cause} before the run had finished", rank=rank))


def watch(jobs: list[Job], timeout: float) -> None:
    """Waits until any rank of any job says something or dies, at most `timeout` seconds."""
    wait([handle for job in jobs for handle in job.handles()], timeout)


def _rank_main(
    rank: int, size: int, target: Target, writer: Connection[Any, Any], store: str, device: str, parent: int
) -> None:
    """The life of a forked rank. Ends by `os._exit` after a failure: a broken process group cannot be closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(parent)
    if Path("/sys/class/net/lo").exists():
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"

    def emit(message: dict[str, Any]) -> None:
        writer.send_bytes(json.dumps(message).encode())

    try:
        transport = ProcessGroup(rank, size, store, device=device, local_rank=rank)
        target(transport, emit)
        emit({"finished": True})
        transport.close()
    except BaseException as error:
        emit({"failure": vars(Failure.of(error, rank))})
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _die_with(parent: int) -> None:
    """Asks Linux to kill this rank when the launcher dies, however it dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
