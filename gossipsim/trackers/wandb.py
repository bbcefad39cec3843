"""Weights & Biases, and Trackio, which has the same interface: one of their runs per run, grouped by cell."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gossipsim.results import LABELS, safe_name

if TYPE_CHECKING:
    from gossipsim.experiment import Entry

_LONGEST = 128  # characters of a name, for wandb


class WandbLike:
    """What the two have in common; a subclass says what else their `init` and `finish` are to be told."""

    library: ClassVar[str]

    def __init__(self, experiment: Path, project: str) -> None:
        self.experiment = experiment.resolve()
        self.project = safe_name(project)

    def start(self, entry: Entry) -> WandbLikeRun:
        self.prepare()
        module = importlib.import_module(self.library)
        labels = entry.run.labels
        group = " / ".join(labels[name] for name in LABELS if labels[name] != "default")
        arguments = {
            "project": self.project,
            "name": entry.title[-_LONGEST:],
            "group": group[-_LONGEST:],
            "config": {**entry.run.resolved(), "swept": entry.run.cell, "labels": dict(labels), "key": entry.run.key},
            **self.init_arguments(module),
        }
        run = Context().run(
            lambda: module.init(**arguments)
        )  # trackio ends the run of the context that it is called in
        return WandbLikeRun(run, self)

    def prepare(self) -> None:
        """Before the library is imported."""

    def init_arguments(self, module: Any) -> dict[str, Any]:
        return {}

    def finish_arguments(self, failed: bool) -> dict[str, Any]:
        return {}


class Wandb(WandbLike):
    """Files under `<experiment>/wandb`; WANDB_MODE=offline needs no network and no account."""

    library = "wandb"

    def init_arguments(self, module: Any) -> dict[str, Any]:
        settings = module.Settings(silent=True, console="off")  # its console capture would take the bars for output
        return {"dir": str(self.experiment), "reinit": "create_new", "settings": settings}

    def finish_arguments(self, failed: bool) -> dict[str, Any]:
        return {"exit_code": int(failed)}


class Trackio(WandbLike):
    """A database under `<experiment>/trackio`, or where TRACKIO_DIR says."""

    library = "trackio"

    def prepare(self) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(self.experiment / "trackio"))  # read when trackio is imported

    def init_arguments(self, module: Any) -> dict[str, Any]:
        return {"embed": False}


class WandbLikeRun:
    """Metrics `steps/<field>` and `history/<metric>` against optimizer steps."""

    def __init__(self, run: Any, tracker: WandbLike) -> None:
        self._run, self._tracker = run, tracker

    def record(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def end(self, status: str) -> None:
        self._run.finish(**self._tracker.finish_arguments(status not in ("complete", "diverged")))
