"""What a run leaves behind while it runs: history.jsonl, steps.jsonl, nodes.jsonl, timing.jsonl. Only rank 0 writes.

Timings stay out of the other files, so that those are byte-identical however the run was hosted. A value that is not
finite is written as null: JSON has no NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from gossipsim.results import COUNTERS, higher_is_better

FILES = ("history", "steps", "nodes", "timing")


class Recorder:
    """Appends records as JSON lines to files of a run directory; `directory=None` (ranks > 0) writes nothing.

    A file appears with its first record: there is a nodes.jsonl only where a run leaves frames of its nodes.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._files: dict[str, IO[str]] = {}
        self.records: dict[str, list[dict[str, Any]]] = {name: [] for name in FILES}

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Appends one record to `<name>.jsonl` and hands the line to the operating system."""
        clean = {key: _finite(value) for key, value in record.items()}
        self.records[name].append(clean)
        if self._directory is None:
            return
        if name not in self._files:
            self._files[name] = (self._directory / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n")
        self._files[name].write(json.dumps(clean, allow_nan=False) + "\n")
        self._files[name].flush()

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def last(self) -> dict[str, Any]:
        """The last evaluation."""
        return dict(self.records["history"][-1]) if self.records["history"] else {}

    def best(self) -> dict[str, Any]:
        """The best value of each metric over all evaluations: highest accuracies, lowest of the rest."""
        best: dict[str, Any] = {}
        for record in self.records["history"]:
            for key, value in record.items():
                if key in COUNTERS or value is None:
                    continue
                better = max if higher_is_better(key) else min
                best[key] = value if key not in best else better(best[key], value)
        return best


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
