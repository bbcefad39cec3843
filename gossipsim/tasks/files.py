"""Finding data files, and fetching them once: one process downloads, the others wait, and offline is said in one line.

Files are read wherever they lie, also below a read-only root. A download goes to a folder of its own and its
files are moved into place one by one when all is there, so that a reader never sees half a file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

_PATIENCE = 6.0
"""Seconds to wait for the server before it counts as out of reach."""


class MissingDataError(RuntimeError):
    """A data set is neither in its folder nor to be had; the message is one line and says what to do."""


def data_root(root: str | Path | None) -> Path:
    """`root`, else the environment's GOSSIPSIM_DATA, else a cache folder; not created here."""
    chosen = root or os.environ.get("GOSSIPSIM_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gossipsim"


def ensure(name: str, root: Path, present: Callable[[Path], bool], fetch: Callable[[Path], None], server: str) -> None:
    """Makes sure that the data set `name` is below `root`.

    Args:
        present: whether a folder holds the complete data set.
        fetch: downloads the data set into an empty folder, in the layout that `present` knows.
        server: an address that answers if the download can work.

    Raises:
        MissingDataError: when it is not there and cannot be fetched.
    """
    if present(root):
        return
    asked = time.time()
    failure = root / f".{name}.failed"
    try:
        _knock(server)  # before anything is written
    except ConnectionError as error:
        raise MissingDataError(_explain(name, root, str(error))) from None
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if present(root):
                return
            if failure.exists() and failure.stat().st_mtime > asked:  # another process has just tried
                raise MissingDataError(failure.read_text(encoding="utf-8"))
            try:
                _download(name, root, fetch)
            except Exception as error:
                message = _explain(name, root, str(error) or type(error).__name__)
                failure.write_text(message, encoding="utf-8")
                raise MissingDataError(message) from None
            failure.unlink(missing_ok=True)
    except OSError as error:
        raise MissingDataError(_explain(name, root, f"the folder cannot be written: {error}")) from None


def _explain(name: str, root: Path, reason: str) -> str:
    line = " ".join(reason.split())
    return (
        f"root: no {name} in {root.absolute()} and it cannot be downloaded ({line}): set GOSSIPSIM_DATA or `root` "
        "to a folder that has it, or use gossipsim.tasks.DigitsSupervisedTask, which needs no files"
    )


def _download(name: str, root: Path, fetch: Callable[[Path], None]) -> None:
    incoming = root / f".{name}.incoming"
    incoming.mkdir(exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            fetch(incoming)
    finally:
        socket.setdefaulttimeout(timeout)
    for file in sorted(path for path in incoming.rglob("*") if path.is_file()):
        target = root / file.relative_to(incoming)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
    shutil.rmtree(incoming)


def _knock(server: str) -> None:
    """Raises ConnectionError unless `server` answers soon; urllib alone would try each of its addresses in turn."""
    outcome: list[str] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=_PATIENCE).close()
            outcome.append("")
        except urllib.error.HTTPError:
            outcome.append("")  # it is there
        except Exception as error:
            outcome.append(f"{server}: {error}")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if not outcome or outcome[0]:
        raise ConnectionError(outcome[0] if outcome else f"{server} does not answer")
