"""An experiment: the runs of one configuration, what of them exists already, and the order in which the rest is run.

A run is a cell of the grid with a task, a model, an optimizer and a seed. Its directory tells its state in run.json:
running, then complete, diverged, failed or interrupted. Only complete and diverged are results.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gossipsim.config import ConfigError, Plan, RunSpec
from gossipsim.parts import Parts, forget
from gossipsim.preflight import check
from gossipsim.results import (
    LABELS,
    Results,
    find_experiments,
    load,
    next_experiment,
    read_json,
    run_directory,
    unique_names,
    write_json,
    write_tables,
)
from gossipsim.world import Failure

RESULTS = ("complete", "diverged")
"""Statuses that are results: skipped when the experiment is started again."""


def preflight(plan: Plan) -> list[str]:
    """Builds the parts of every run once, before anything is written; returns warnings.

    Raises:
        ConfigError: with every error of every cell.
    """
    forget()
    done: set[str] = set()
    problems: list[str] = []
    warnings: dict[str, None] = {}
    if plan.selection and not any(run.tuned for run in plan.runs):
        warnings[f"{plan.runs[0].origins.of('selection')}: no optimizer has 'tune', so that nothing is selected"] = None
    for run in plan.runs:
        parts = Parts(run)
        try:
            check(parts, done)
            warnings |= dict.fromkeys(parts.warnings())
        except ConfigError as error:
            problems += [line for line in error.errors if line not in problems]
    if problems:
        raise ConfigError(sorted(problems, key=_place))
    return list(warnings)


def _place(error: str) -> tuple[str, int]:
    """File and line of an error, to sort by; errors of the command line come last."""
    found = re.match(r"(.+?):(\d+): ", error)
    return (found[1], int(found[2])) if found else ("\uffff", 0)


@dataclass(frozen=True)
class Entry:
    """One run and its place on disk."""

    run: RunSpec
    directory: Path

    @property
    def title(self) -> str:
        """E.g. `digits / CNN / SGD(lr=0.1) / topology=ring / seed 0`, without what is not swept."""
        parts = [self.run.labels[name] for name in LABELS if self.run.labels[name] != "default"]
        return " / ".join([*parts, f"seed {self.run.seed}"])

    def status(self) -> str:
        """The status that run.json records for this very run, "missing" where it holds another one or none."""
        try:
            record = read_json(self.directory / "run.json")
        except (OSError, ValueError):
            return "missing"
        return str(record.get("status")) if record.get("key") == self.run.key else "missing"

    def mark(self, status: str, failure: Failure | None = None, total_steps: int | None = None) -> None:
        """Writes run.json; of a run under way also how many steps it will take, once that is known."""
        error = None
        if failure is not None:
            error = {name: getattr(failure, name) for name in ("message", "node", "rank", "traceback")}
        write_json(
            self.directory / "run.json",
            {
                **{name: self.run.labels[name] for name in LABELS},
                "swept": self.run.cell,
                "seed": self.run.seed,
                "key": self.run.key,
                "status": status,
                **({} if total_steps is None else {"total_steps": total_steps}),
                "error": error,
                "spec": self.run.resolved(),
                "version": version("gossipsim"),
            },
        )


class Experiment:
    """An experiment directory with the runs of a plan."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan, self.directory = plan, directory
        self.entries = _entries(plan, directory)

    @classmethod
    def open(cls, plan: Plan, *, exp_id: int | None = None, new: bool = False) -> Experiment:
        """The experiment in the directory that :meth:`choose` names, or in a new one.

        Raises:
            ConfigError: where `exp_id` does not exist, or no directory can be made.
        """
        try:
            directory = cls.choose(plan, exp_id=exp_id, new=new)
            return cls(plan, directory if directory is not None else next_experiment(Path(plan.workflow)))
        except OSError as error:
            raise ConfigError([f"workflow: cannot write results to {plan.workflow}: {error.strerror}"]) from error

    @classmethod
    def choose(cls, plan: Plan, *, exp_id: int | None = None, new: bool = False) -> Path | None:
        """The directory to go on in: `exp_id`'s, or that of an incomplete experiment of the same configuration.

        Raises:
            ConfigError: where `exp_id` does not exist.
        """
        workflow = Path(plan.workflow)
        existing = find_experiments(workflow)
        if exp_id is not None:
            directory = workflow / f"exp_{exp_id:04d}"
            if directory not in existing:
                names = ", ".join(path.name for path in existing) or "none"
                raise ConfigError([f"--exp-id {exp_id}: {directory} does not exist (there: {names})"])
            return directory
        for directory in reversed([] if new else existing):
            experiment = cls(plan, directory)
            if experiment._recorded_key() == experiment.key and experiment.pending():
                return directory
        return None

    @property
    def key(self) -> str:
        """Identifies the configuration: the SHA-256 of its runs' keys."""
        return hashlib.sha256("".join(run.key for run in self.plan.runs).encode()).hexdigest()

    def pending(self, *, skip_existing: bool = True) -> list[Entry]:
        """The runs that have no result yet; all of them where existing results do not count."""
        return [entry for entry in self.entries if not (skip_existing and entry.status() in RESULTS)]

    def describe(self, command: Sequence[str] | None = None) -> None:
        """Writes config.json, resolved.json and env.json."""
        write_json(self.directory / "config.json", self.plan.document)
        runs = [
            {
                "directory": entry.directory.relative_to(self.directory).as_posix(),
                "key": entry.run.key,
                **{name: entry.run.labels[name] for name in LABELS},
                "swept": entry.run.cell,
                "seed": entry.run.seed,
                **({"tuned": entry.run.tuned} if entry.run.tuned else {}),
            }
            for entry in self.entries
        ]
        plan = self.plan
        resolved: dict[str, Any] = {"name": plan.name, "key": self.key, "swept": plan.swept}
        resolved |= {"targets": plan.targets, "selection": plan.selection, "runs": runs}
        write_json(self.directory / "resolved.json", resolved)
        write_json(self.directory / "env.json", environment(command))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second launcher, and jobs of a cluster, out of the directory.

        Raises:
            ConfigError: where another launcher is at work in it.
        """
        with occupied(self.directory):
            yield

    def finish(self) -> Results:
        """Writes the tables and reads everything back."""
        write_tables(self.directory)
        return load(self.directory)

    def _recorded_key(self) -> str | None:
        try:
            key: str = read_json(self.directory / "resolved.json")["key"]
        except (OSError, ValueError, KeyError):
            return None
        return key


@contextmanager
def occupied(directory: Path, *, shared: bool = False, patience: float = 0) -> Iterator[None]:
    """Holds an experiment directory alone, or together with others whose runs are not ours.

    Raises:
        ConfigError: where it is held by somebody else for longer than `patience` seconds.
    """
    deadline = time.monotonic() + patience
    try:
        file = (directory / ".lock").open("a")
    except OSError as error:
        raise ConfigError([f"{directory}: cannot write here: {error.strerror}"]) from error
    with file:
        while True:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = "another launcher is at work here; wait for it, or begin anew with --new"
                    raise ConfigError([f"{directory}: {message}"]) from None
                time.sleep(0.2)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _entries(plan: Plan, directory: Path) -> list[Entry]:
    """Gives every run a directory of its own, readable and distinct."""
    names = {}
    for label in LABELS:
        displays = list(dict.fromkeys(run.labels[label] for run in plan.runs))
        names[label] = dict(zip(displays, unique_names(displays), strict=True))
    return [
        Entry(
            run,
            run_directory(directory, {label: names[label][run.labels[label]] for label in LABELS}, run.seed),
        )
        for run in plan.runs
    ]


def environment(command: Sequence[str] | None = None) -> dict[str, Any]:
    """What a reader needs to know about where results come from."""
    packages = ("gossipsim", "torch", "numpy", "networkx", "scipy")
    return {
        "command": shlex.join(command or [Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads_per_process": torch.get_num_threads(),
        "packages": {name: version(name) for name in packages},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
