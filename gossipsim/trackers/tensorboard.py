"""TensorBoard event files: `<experiment>/tensorboard/<task>/<model>/<optimizer>/<cell>/seed_<s>`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossipsim.experiment import Entry


class TensorBoard:
    """A folder of event files per run; one that is run again begins a new one."""

    def __init__(self, experiment: Path) -> None:
        self.experiment = experiment

    def start(self, entry: Entry) -> TensorBoardRun:
        from torch.utils.tensorboard import SummaryWriter

        folder = self.experiment / "tensorboard" / entry.directory.relative_to(self.experiment / "runs")
        shutil.rmtree(folder, ignore_errors=True)
        writer = SummaryWriter(folder, flush_secs=10)
        about = {"key": entry.run.key, **entry.run.resolved()}
        writer.add_text("run", f"    {json.dumps(about, indent=2)}".replace("\n", "\n    "))  # Markdown for code
        return TensorBoardRun(writer)


class TensorBoardRun:
    """Scalars `steps/<field>` and `history/<metric>`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def record(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def end(self, status: str) -> None:
        self._writer.add_text("status", status)
        self._writer.close()
