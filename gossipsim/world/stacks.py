"""Where in its code a process is, or was when it crashed: told by handlers that need no interpreter that still runs."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from contextlib import suppress

from gossipsim.world.processes import has_ended

ASKED_BY = signal.SIGUSR1
"""The signal upon which a rank tells where it is."""

SECONDS_TO_TELL = 0.3

LONGEST = 1 << 16
"""Bytes that are read of what has been told."""


def tell(file: int | None = None) -> None:
    """From here on, this process tells where it is when it crashes, and when it is asked; on stderr without a file."""
    where = sys.stderr if file is None else file
    faulthandler.enable(where)
    faulthandler.register(ASKED_BY, where)


def ask(process: int) -> None:
    """Lets a process on this machine tell where it is, if it can."""
    with suppress(OSError):
        os.kill(process, ASKED_BY)
    time.sleep(SECONDS_TO_TELL)


def end_stuck(process: int) -> None:
    """Ends a process on this machine that cannot end itself; it tells where it is before."""
    if not has_ended(process):
        ask(process)
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)


class Stacks:
    """A file without a name that all ranks of a group write to.

    Made before they are forked; nothing is told on systems that have no such files.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("gossipsim-stacks") if hasattr(os, "memfd_create") else None

    def tell(self) -> None:
        """From here on, this process tells it there."""
        if self._file is not None:
            tell(self._file)

    def told(self) -> str | None:
        """What has been told so far."""
        if self._file is None:
            return None
        text = os.pread(self._file, LONGEST, 0).decode(errors="replace")
        return text.partition("\nExtension modules: ")[0] or None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
