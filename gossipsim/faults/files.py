"""What happens to files: a byte that changes, a disk that is full, a process that dies while it writes.

Nothing that writes knows of it: Python announces what is opened and renamed (:func:`sys.addaudithook`), and whoever
listens can prevent it. Of files that are open already, Linux's /dev/full takes the place, which cannot be synchronised;
so that is announced here, too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

NEWEST_CHECKPOINT = "checkpoint/step_*.pt"

FULL = "/dev/full"


class Obstruction(Protocol):
    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hears of what this process is about to do; what it raises comes in place of that."""


_heard: list[Sequence[Obstruction]] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    for obstructions in _heard:
        for obstruction in obstructions:
            obstruction(event, arguments)


@contextmanager
def obstructed(obstructions: Sequence[Obstruction]) -> Iterator[None]:
    """Within, the obstructions hear what happens; there may be more of them later."""
    if not _installed:
        sys.addaudithook(_listen)  # for good
        _installed.append(True)
    _heard.append(obstructions)
    synchronise = os.fsync

    def announced(descriptor: int) -> None:
        _listen("os.fsync", (descriptor,))
        synchronise(descriptor)

    os.fsync = announced  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = synchronise
        _heard.remove(obstructions)


_installed: list[bool] = []


class Full:
    """As if the disk of a folder were full from here on, for this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.join(os.path.realpath(folder), "")
        full = os.open(FULL, os.O_WRONLY)
        for descriptor in _open_files():
            with suppress(OSError):
                writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
                if writes and _path_of(descriptor).startswith(self._folder):
                    os.dup2(full, descriptor, inheritable=False)
        os.close(full)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.fsync" and _path_of(arguments[0]) == FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if event == "open" and not isinstance(arguments[0], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path.startswith(self._folder):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _open_files() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []


class Torn:
    """Ends this process when the content of a checkpoint is on disk, and neither its name nor its seal.

    Args:
        before: called first.
    """

    def __init__(self, run: Path, before: Callable[[], None]) -> None:
        self._folder, self._before = os.path.realpath(run / "checkpoint"), before

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "os.rename":
            return
        path = os.path.realpath(os.fsdecode(arguments[1]))
        if os.path.dirname(path) == self._folder and path.endswith(".pt"):
            self._before()
            os.kill(os.getpid(), signal.SIGKILL)


def target(run: Path, pattern: str | None) -> Path | None:
    """The last file of a run that fits; None where there is none yet."""
    found = [path for path in run.glob(pattern or NEWEST_CHECKPOINT) if path.is_file() and path.stat().st_size]
    return max(found, default=None)


def corrupt(path: Path) -> None:
    """Flips all bits of the byte in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0xFF]))
