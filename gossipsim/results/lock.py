"""The lock of an experiment directory: one launcher alone, or jobs of a cluster that have other runs each.

The system frees it when its holder dies, however it dies. The file says who took it, for whoever finds it taken.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from gossipsim.results.disk import writing
from gossipsim.results.processes import Process

LOCK = ".lock"

AFTERMATH = 5.0
"""Seconds to wait for what a dead holder has left: its ranks hold the lock too, and die with it."""

_MOST_NAMED = 3
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Occupied(Exception):
    """The lock is somebody else's, or the file system has none; the text is one line for a person."""


@dataclass(frozen=True)
class Holder:
    """Who took a lock, and when."""

    process: Process
    since: str

    def __str__(self) -> str:
        return f"{self.process}, since {self.since}"


def holders(directory: Path) -> list[Holder]:
    """Who took the lock of an experiment, without those that are known to be dead; [] where nobody did."""
    found = []
    with suppress(OSError):
        for line in (directory / LOCK).read_bytes().splitlines():
            with suppress(ValueError):  # being written
                record = json.loads(line)
                process = Process.of(record)
                if process is not None and process.lives() is not False:
                    found.append(Holder(process, str(record.get("since"))))
    return found


@contextmanager
def occupied(directory: Path, *, shared: bool = False, patience: float = 0.0) -> Iterator[None]:
    """Holds an experiment directory alone, or together with others whose runs are not ours.

    Raises:
        Occupied: where it is held by somebody else for longer than `patience` seconds.
        CannotWrite: where the directory cannot be written to.
    """
    path = directory / LOCK
    with writing(path):
        file = path.open("ab", buffering=0)
    with file:
        _take(file, directory, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, patience)
        try:
            with writing(path):
                if not shared:
                    file.truncate(0)
                since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
                file.write(json.dumps(Process.this().as_json() | {"since": since}).encode() + b"\n")
            yield
        finally:
            _leave(file)


def _take(file: IO[bytes], directory: Path, kind: int, patience: float) -> None:
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            found = holders(directory)
            if time.monotonic() - began > (patience if found else max(patience, AFTERMATH)):
                raise Occupied(_refusal(directory, found)) from None
            time.sleep(0.1)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            reason = f"its file system cannot lock files ({os.strerror(error.errno)})"
            way_out = "so that two launchers could be at work in it at once; write elsewhere"
            raise Occupied(f"{directory}: {reason}, {way_out}") from error
        else:
            return


def _refusal(directory: Path, found: list[Holder]) -> str:
    names = "; ".join(map(str, found[:_MOST_NAMED])) + ("; ..." if len(found) > _MOST_NAMED else "")
    who = f"another launcher is at work here ({names})" if found else "a process that does not say who it is locks it"
    return f"{directory}: {who}; wait for it, or begin anew with --new"


def _leave(file: IO[bytes]) -> None:
    """Who is the last to leave takes the names away."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
    fcntl.flock(file, fcntl.LOCK_UN)
