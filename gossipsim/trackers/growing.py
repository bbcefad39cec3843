"""A run's steps.jsonl and history.jsonl, read while they grow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

KINDS = ("steps", "history")
"""Files that are read; at the same step a record of the first comes before one of the second."""


class GrowingRecords:
    """The records of one run, each once, in the order of their steps."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, IO[bytes]] = {}
        self._rest = dict.fromkeys(KINDS, b"")
        self._waiting: list[tuple[int, int, dict[str, Any]]] = []

    def until(self, step: int | None) -> list[tuple[str, dict[str, Any]]]:
        """New (kind, record) up to `step`, None for all that there are.

        A run that tells of step k has written everything before k: what is later waits, since a record of the other
        file may come between.
        """
        for kind in KINDS:
            self._waiting += [
                (record["step"], KINDS.index(kind), record) for record in self._read(kind) if "step" in record
            ]
        self._waiting.sort(key=lambda found: found[:2])
        ready = [found for found in self._waiting if step is None or found[0] <= step]
        self._waiting = self._waiting[len(ready) :]
        return [(KINDS[kind], record) for _, kind, record in ready]

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _read(self, kind: str) -> list[dict[str, Any]]:
        if kind not in self._files:
            path = self._directory / f"{kind}.jsonl"
            if not path.exists():
                return []
            self._files[kind] = path.open("rb")
        *lines, self._rest[kind] = (self._rest[kind] + self._files[kind].read()).split(b"\n")
        return [json.loads(line) for line in lines]
