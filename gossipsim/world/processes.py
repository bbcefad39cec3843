"""What the system tells of processes on this machine: whether they live, stand still, or were ended for memory."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

LOOK = 0.5
"""Seconds from one look at the state of a process to the next."""

STANDSTILL = 8
"""Looks in a row at which a process was stopped, until it counts as lost: 4 s. Ctrl-Z and `fg` stop all at once, those
who look included, and so never count."""

VMSTAT = Path("/proc/vmstat")


def has_ended(process: int) -> bool:
    """Also of a process whose parent has not yet asked how it ended."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    except OSError:  # this kernel has none
        return False
    try:
        return bool(select.select([handle], [], [], 0)[0])
    finally:
        os.close(handle)


def is_stopped(process: int) -> bool:
    """Whether a signal such as SIGSTOP has stopped it; False where the system does not tell."""
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] == b"T"


class Standstill:
    """Counts the looks in a row at which processes were stopped."""

    def __init__(self) -> None:
        self._looks: dict[int, tuple[int, float]] = {}

    def of(self, process: int) -> bool:
        """Looks at a process, if it is time to; whether it has been stopped for too long."""
        stopped, next_look = self._looks.get(process, (0, 0.0))
        if (now := time.monotonic()) >= next_look:
            stopped = stopped + 1 if is_stopped(process) else 0
            self._looks[process] = stopped, now + LOOK
        return stopped >= STANDSTILL


def die_with(parent: int) -> None:
    """Asks Linux to kill this process when its parent dies, however it dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def give_back_memory() -> None:
    """Returns to the system what this process has freed, which the C library keeps otherwise; takes 0.5 ms.

    A rank has 1 to 3 MB of it after it has built a model of 100,000 parameters and evaluated it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


@contextmanager
def raising_exits() -> Iterator[None]:
    """Within, `os._exit` raises SystemExit in this process, but not in those that it forks.

    Nobody else would notice that a run in the middle is not complete, and code 0 would say that it is.
    """
    leave, here = os._exit, os.getpid()

    def raise_exit(status: int) -> NoReturn:
        if os.getpid() == here:
            raise SystemExit(status)
        leave(status)

    os._exit = raise_exit
    try:
        yield
    finally:
        os._exit = leave


def ended_for_memory() -> int | None:
    """How many processes the system has ended so far for lack of memory; None where it does not tell."""
    with suppress(OSError):
        for line in VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def death(code: int, ended_for_memory_before: int | None) -> str:
    """How a process ended, from its exit code as `multiprocessing` gives it.

    >>> death(3, 0)
    'exited with code 3'
    """
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name
    if -code != signal.SIGKILL:
        return f"was killed by {name}"
    now = ended_for_memory()
    if now is None or ended_for_memory_before is None:
        return f"was killed by {name}, as the system does where memory runs out,"
    return f"was killed by {name}" + " as the system ran out of memory" * (now > ended_for_memory_before)
