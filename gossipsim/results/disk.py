"""What a person is told where the disk does not take what is written: the path, the cause and the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAKE_ROOM = "make room there, then the same command goes on"
_ALLOW = "make it writable, or write elsewhere"
_CLEAR_THE_WAY = "move away what stands there"

_WAYS_OUT = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), then the same command goes on",
    errno.EROFS: _ALLOW,
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EEXIST: _CLEAR_THE_WAY,
    errno.ENOTDIR: _CLEAR_THE_WAY,
    errno.EISDIR: _CLEAR_THE_WAY,
    errno.ENOENT: "its directory was removed; the same command makes it again",
    errno.ENAMETOOLONG: "write to a shorter path",
}


class CannotWrite(OSError):
    """The disk does not take it; the text is one line for a person.

    >>> print(CannotWrite(Path("wf/run.json"), OSError(errno.EROFS, "Read-only file system")))
    wf/run.json: cannot be written (Read-only file system): make it writable, or write elsewhere
    """

    def __init__(self, path: Path, cause: OSError) -> None:
        reason = cause.strerror or " ".join(str(cause).split())
        way_out = _WAYS_OUT.get(cause.errno or 0)
        super().__init__(f"{path}: cannot be written ({reason})" + (f": {way_out}" if way_out else ""))


class Vanished(CannotWrite):
    """What a run is writing to was removed or replaced by somebody."""

    def __init__(self, path: Path) -> None:
        OSError.__init__(
            self, f"{path}: was removed or replaced while the run was under way; the same command runs it again"
        )


class Changed(CannotWrite):
    """What a run has written was changed by somebody."""

    def __init__(self, path: Path) -> None:
        OSError.__init__(self, f"{path}: was changed while the run was under way; the same command runs it again")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within, what goes wrong with files is a :class:`CannotWrite` of `path`."""
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        raise CannotWrite(path, error) from error
    except UnicodeEncodeError as error:
        letters = error.object[error.start : error.end]
        reason = f"this system has no {letters!r} in names of files; set PYTHONUTF8=1"
        raise CannotWrite(path, OSError(0, reason)) from error
