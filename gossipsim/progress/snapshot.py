"""An experiment's state at this moment, read from its files: also from another machine that shares the disk."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gossipsim.progress.estimate import Estimate, UnderWay, Work
from gossipsim.progress.table import Line, Overall
from gossipsim.progress.text import clock, headline
from gossipsim.results import ENDED, LABELS, holders, read_json, state_of

SILENCE = 300.0
"""Seconds without a new record after which a run that is said to be running may have lost its process."""

_TAIL = 1 << 16  # bytes from the end of a file in which its last record is looked for


@dataclass(frozen=True)
class RunState:
    """One run. What the files do not tell is None.

    Attributes:
        speed: node-steps per second. elapsed: seconds since it began. remaining: seconds to its end.
        silent: seconds since its last record, where these are many.
        seconds: of training and evaluation, up to the last evaluation.
    """

    directory: str
    labels: dict[str, str]
    seed: int
    status: str = "missing"
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    speed: float | None = None
    elapsed: float = 0.0
    remaining: float | None = None
    silent: float | None = None
    seconds: float | None = None

    @property
    def work(self) -> Work:
        return Work(tuple(self.labels[label] for label in LABELS), 1.0)

    def line(self) -> Line:
        return Line(
            self.labels,
            self.seed,
            step=self.step,
            total=self.total_steps,
            loss=self.loss,
            metric=headline(self.metrics),
            speed=self.speed,
            remaining=self.remaining,
            silent=self.silent,
        )

    def as_json(self) -> dict[str, Any]:
        """Everything by name; `remaining` is called eta_seconds, speed node_steps_per_second."""
        return {
            "directory": self.directory,
            **self.labels,
            "seed": self.seed,
            "status": self.status,
            "step": self.step,
            "total_steps": self.total_steps,
            "loss": self.loss,
            "metrics": self.metrics,
            "node_steps_per_second": self.speed,
            "eta_seconds": self.remaining,
            "silent_seconds": self.silent,
        }


@dataclass(frozen=True)
class Snapshot:
    """All runs of an experiment, in its order.

    Attributes:
        at_work: whether somebody is, or may be, about to begin the next run.
    """

    directory: Path
    name: str
    runs: list[RunState]
    elapsed: float
    at_work: bool = True

    @property
    def statuses(self) -> dict[str, int]:
        """How many runs there are of each status."""
        return dict(Counter(run.status for run in self.runs))

    @property
    def ended(self) -> bool:
        return all(run.status in ENDED for run in self.runs)

    @property
    def abandoned(self) -> bool:
        """Nothing more comes, unless somebody starts the experiment again."""
        return not (self.ended or self.under_way or self.at_work)

    @property
    def under_way(self) -> list[RunState]:
        return [run for run in self.runs if run.status == "running"]

    @property
    def varying(self) -> set[str]:
        """What is not the same in all runs, of their labels and the seed."""
        names = {label for label in LABELS if len({run.labels[label] for run in self.runs}) > 1}
        return names | ({"seed"} if len({run.seed for run in self.runs}) > 1 else set())

    def remaining(self) -> float | None:
        """Seconds until all have ended, as many at a time as now."""
        estimate, waiting = Estimate(), []
        for run in self.runs:
            if run.status in ENDED and run.seconds:
                estimate.learn(run.work, run.seconds)
            elif run.status not in (*ENDED, "running"):
                waiting.append(run.work)
        active = [UnderWay(run.work, run.elapsed, run.remaining) for run in self.under_way]
        return estimate.remaining(waiting, active, len(active)) if active else None

    def overall(self) -> Overall:
        statuses = {status: n for status, n in self.statuses.items() if status not in ("running", "missing")}
        return Overall(
            total=len(self.runs),
            ended=sum(run.status in ENDED for run in self.runs),
            statuses=statuses,
            under_way=len(self.under_way),
            elapsed=self.elapsed if self.under_way else None,
            remaining=self.remaining(),
        )

    def sentence(self) -> str:
        """One line of plain text, e.g. `12/72 runs: 11 complete, 1 failed, 2 under way, ETA 3:20`."""
        overall = self.overall()
        counts = ", ".join(text for text, _ in overall.counts())
        eta = f", ETA {clock(overall.remaining)}" if overall.remaining is not None else ""
        return f"{overall.ended}/{overall.total} runs{': ' if counts else ''}{counts}{eta}"

    def as_json(self) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "name": self.name,
            "ended": self.ended,
            "abandoned": self.abandoned,
            "statuses": self.statuses,
            "eta_seconds": self.remaining(),
            "runs": [run.as_json() for run in self.runs],
        }


def read_snapshot(directory: Path, before: Snapshot | None = None) -> Snapshot:
    """Reads what has changed since `before`; a run that has ended stays as it was while its run.json does.

    Raises:
        FileNotFoundError, ValueError: where resolved.json is missing or damaged.
    """
    plan = read_json(directory / "resolved.json")
    now = time.time()
    known = {run.directory: run for run in before.runs} if before is not None else {}
    runs = [_read_run(directory, entry, known.get(entry["directory"]), now) for entry in plan["runs"]]
    began = _modified(directory / "env.json")
    elapsed = max(0.0, now - began) if began else 0.0
    return Snapshot(directory, plan.get("name", directory.name), runs, elapsed, _at_work(directory))


def _at_work(directory: Path) -> bool:
    """Whether somebody holds the lock, as far as can be told from here, or jobs of a cluster may be in its queue."""
    return bool(holders(directory)) or (directory / "slurm" / "jobs.json").exists()


def _read_run(experiment: Path, entry: Mapping[str, Any], known: RunState | None, now: float) -> RunState:
    place = experiment / entry["directory"]
    state = {
        "directory": entry["directory"],
        "labels": {label: entry[label] for label in LABELS},
        "seed": entry["seed"],
    }
    try:
        record = read_json(place / "run.json")
    except (OSError, ValueError):
        return RunState(**state)
    status = state_of(record)
    if known is not None and known.status == status and status in ENDED:
        return known
    step_record, evaluation = _last_record(place / "steps.jsonl"), _last_record(place / "history.jsonl")
    timing = _last_record(place / "timing.jsonl")
    steps = [found["step"] for found in (step_record, evaluation) if "step" in found]
    state |= {
        "status": status,
        "step": max(steps, default=None),
        "total_steps": record.get("total_steps"),
        "loss": step_record.get("batch_loss"),
        "metrics": evaluation,
        "seconds": timing["train_seconds"] + timing["eval_seconds"] if timing else None,
    }
    if status == "running":
        state |= _progress(place, record, state, timing.get("step"), now)
    return RunState(**state)


def _progress(
    place: Path, record: Mapping[str, Any], state: Mapping[str, Any], timed: int | None, now: float
) -> dict[str, Any]:
    """Speed and times of a run under way: of the steps up to the last evaluation, else from when files were written."""
    began = _modified(place / "run.json")
    latest = max(_modified(place / name) for name in ("run.json", "steps.jsonl", "history.jsonl"))
    step, total = state["step"], state["total_steps"]
    per_step = None
    if timed and state["seconds"]:
        per_step = state["seconds"] / timed
    elif step and latest > began:
        per_step = (latest - began) / step
    silent = now - latest if now - latest > SILENCE else None
    remaining = None
    if per_step and total and silent is None:
        remaining = max(0.0, (total - step) * per_step - (now - latest))
    return {
        "speed": record["spec"]["network"]["nodes"] / per_step if per_step else None,
        "elapsed": max(0.0, now - began),
        "remaining": remaining,
        "silent": silent,
    }


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_record(path: Path) -> dict[str, Any]:
    """The last whole line of a file that grows; {} where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().split(b"\n")[:-1]
        record: dict[str, Any] = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return record
