"""What a run leaves behind while it runs: history.jsonl, steps.jsonl, nodes.jsonl, timing.jsonl. Only rank 0 writes.

Timings stay out of the other files, so that those are byte-identical however the run was hosted. A value that is not
finite is written as null: JSON has no NaN. A full disk leaves whole lines only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gossipsim.results import COUNTERS, Changed, Vanished, higher_is_better, read_jsonl, writing

FILES = ("history", "steps", "nodes", "timing")

_encode = json.JSONEncoder(allow_nan=False).encode

FLUSH_SECONDS = 0.2
"""How long records may wait for one another: handing each to the system costs 2 % of a small model's steps."""


class Recorder:
    """Appends records as JSON lines to files of a run directory; `directory=None` (ranks > 0) writes nothing.

    A file appears with its first record: there is a nodes.jsonl only where a run leaves frames of its nodes.

    Args:
        patience: seconds that records may wait for one another.
    """

    def __init__(self, directory: Path | None, patience: float = FLUSH_SECONDS) -> None:
        self._directory, self._patience = directory, patience
        self._files: dict[str, _Lines] = {}
        self._flush_at = 0.0
        self._history: list[dict[str, Any]] = []

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Appends one record to `<name>.jsonl`; the operating system has it within `patience` of the next.

        Raises:
            CannotWrite: naming the file.
        """
        if self._directory is None:
            return
        clean = {key: _finite(value) for key, value in record.items()}
        if name == "history":
            self._history.append(clean)
        if name not in self._files:
            self._files[name] = _Lines(self._directory / f"{name}.jsonl")
        self._files[name].append(_encode(clean) + "\n")
        now = time.monotonic()
        if now >= self._flush_at:
            self.flush()
            self._flush_at = now + self._patience

    def flush(self) -> None:
        """Hands everything to the operating system."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def tree(self) -> dict[str, dict[str, Any]]:
        """How long each file is, and its SHA-256, once all of it is on disk.

        Raises:
            CannotWrite: where a file cannot be written, or is not in its place any more.
        """
        return {name: file.sealed() for name, file in self._files.items()}

    def verify(self) -> None:
        """Brings everything to disk, and looks whether the files are what was recorded.

        Raises:
            CannotWrite: where they are not, naming the file.
        """
        for file in self._files.values():
            file.verify()

    def restore(self, tree: Mapping[str, Mapping[str, Any]]) -> None:
        """Cuts the files back to what :meth:`tree` told, to be continued from there.

        Raises:
            ValueError: where a file does not begin with what it then held; nothing has changed.
        """
        assert self._directory is not None, "only rank 0 has files"
        for name, seal in tree.items():
            with (self._directory / f"{name}.jsonl").open("rb") as file:
                if hashlib.sha256(file.read(seal["bytes"])).hexdigest() != seal["sha256"]:
                    raise ValueError(f"{name}.jsonl is not what it was then")
        self._keep({name: seal["bytes"] for name, seal in tree.items()})

    def clear(self) -> None:
        """As if nothing had been recorded."""
        self._keep({})

    def _keep(self, lengths: Mapping[str, int]) -> None:
        """Only so many bytes of these files remain, and are what has been recorded."""
        assert self._directory is not None, "only rank 0 has files"
        self.close()
        self._files, self._history = {}, []
        for name in FILES:
            path = self._directory / f"{name}.jsonl"
            if name in lengths:
                os.truncate(path, lengths[name])
                self._files[name] = _Lines(path, old=True)
                if name == "history":
                    self._history = read_jsonl(path)
            else:
                path.unlink(missing_ok=True)

    def last(self) -> dict[str, Any]:
        """The last evaluation."""
        return dict(self._history[-1]) if self._history else {}

    def best(self) -> dict[str, Any]:
        """The best value of each metric over all evaluations: highest accuracies, lowest of the rest."""
        best: dict[str, Any] = {}
        for record in self._history:
            for key, value in record.items():
                if key in COUNTERS or value is None:
                    continue
                better = max if higher_is_better(key) else min
                best[key] = value if key not in best else better(best[key], value)
        return best


class _Lines:
    """A file that lines are appended to, and the digest of what it holds.

    Args:
        old: what it holds already is kept.
    """

    def __init__(self, path: Path, *, old: bool = False) -> None:
        self._path = path
        with writing(path):
            self._digest = hashlib.sha256(path.read_bytes() if old else b"")
            self._file = path.open("ab", buffering=0)
            if not old:
                self._file.truncate(0)
            self._length = os.fstat(self._file.fileno()).st_size
        self._waiting: list[bytes] = []

    def append(self, line: str) -> None:
        self._waiting.append(line.encode())

    def flush(self) -> None:
        """All that waits, or nothing of it."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        if not data:
            return
        with writing(self._path):
            try:
                written = 0
                while written < len(data):
                    written += self._file.write(data[written:])
            except OSError:
                with suppress(OSError):  # the first error is the cause
                    self._file.truncate(self._length)
                raise
        self._digest.update(data)
        self._length += len(data)

    def sealed(self) -> dict[str, Any]:
        self.flush()
        with writing(self._path):
            os.fsync(self._file.fileno())
        if not (self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))):
            raise Vanished(self._path)
        return {"bytes": self._length, "sha256": self._digest.hexdigest()}

    def verify(self) -> None:
        sealed = self.sealed()
        with writing(self._path), self._path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sealed["sha256"]:
                raise Changed(self._path)

    def close(self) -> None:
        with self._file:
            self.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [_finite(each) for each in value] if isinstance(value, list) else value
