"""An experiment: the runs of one configuration, what of them exists already, and the order in which the rest is run.

A run is a cell of the grid with a task, a model, an optimizer and a seed. Its directory tells its state in run.json,
see :mod:`gossipsim.results.states`. Only complete and diverged are results, and only while their files are those that
manifest.json lists.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gossipsim.checkpoints import Folder
from gossipsim.config import ConfigError, Plan, RunSpec
from gossipsim.environment import environment
from gossipsim.parts import Parts, forget
from gossipsim.preflight import check, within_memory
from gossipsim.record import FILES as RECORDS
from gossipsim.results import (
    FOLLOWING,
    LABELS,
    MANIFEST,
    RESULTS,
    CannotWrite,
    Occupied,
    Process,
    Results,
    Vanished,
    doubts,
    experiment_of,
    find_experiments,
    is_sealed,
    load,
    next_experiment,
    occupied,
    read_json,
    remove_temporaries,
    run_directory,
    seal,
    state_of,
    unique_names,
    write_json,
    write_tables,
    writing,
)
from gossipsim.world import Failure

UNFINISHED = ".unfinished"
"""A file of an experiment whose launcher has not come to its end."""

MOST_TOLD = 10
"""Results that are not trusted, told one by one."""


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
            with within_memory():
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
        """The state that run.json records for this very run, "missing" where it holds another one or none."""
        status = str(self._record().get("status"))
        return status if status in FOLLOWING else "missing"

    def state(self) -> str:
        """The same, but "interrupted" where the launcher of a run is known to be dead."""
        return state_of({"status": "missing"} | self._record())

    def doubts(self) -> list[str] | None:
        """How the files of a result differ from those that were written; None where there is no result."""
        status = self.status()
        return doubts(self.directory, self.run.key, status) if status in RESULTS else None

    def has_result(self) -> bool:
        """Whether there is a result, and it can be trusted."""
        return self.doubts() == []

    def begin(self) -> None:
        """Marks the run as running and removes what an earlier attempt left, but for what it can go on from.

        In this order: where the disk takes nothing, nothing is lost.

        Raises:
            CannotWrite: naming what cannot be written.
        """
        goes_on = self.status() not in ("missing", *RESULTS)
        with writing(self.directory):
            if not experiment_of(self.directory).is_dir():
                raise Vanished(experiment_of(self.directory))
            self.directory.mkdir(parents=True, exist_ok=True)
        self.mark("running")
        with writing(self.directory):
            self._clear(keep_checkpoint=goes_on)

    def _clear(self, *, keep_checkpoint: bool) -> None:
        checkpoints = Folder(self.directory, self.run.key)
        stays = keep_checkpoint and bool(checkpoints.names())
        results = (MANIFEST, "summary.json", "parameters.npz")
        for name in (*results, *(() if stays else [f"{name}.jsonl" for name in RECORDS])):
            (self.directory / name).unlink(missing_ok=True)
        remove_temporaries(self.directory)
        if not stays:
            checkpoints.clear()

    def _record(self) -> dict[str, Any]:
        """run.json, where it is about this very run."""
        try:
            record: dict[str, Any] = read_json(self.directory / "run.json")
            return record if record["key"] == self.run.key else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def mark(self, status: str, failure: Failure | None = None, total_steps: int | None = None) -> None:
        """Writes run.json, the manifest of a result before it.

        Args:
            total_steps: how many steps a run under way will take, once that is known.

        Raises:
            CannotWrite: where it cannot be written, or the run was removed while it was under way.
        """
        if status not in FOLLOWING[self.status()] or not self.directory.is_dir():
            raise Vanished(self.directory / "run.json")
        if status in RESULTS:
            seal(self.directory, self.run.key, status)
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
                **({"launcher": Process.this().as_json()} if status == "running" else {}),
                "error": error,
                "spec": self.run.resolved(),
                **({"files": self.run.files} if self.run.files else {}),
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
        with _refusing(), writing(Path(plan.workflow)):
            directory = cls.choose(plan, exp_id=exp_id, new=new)
            return cls(plan, directory if directory is not None else next_experiment(Path(plan.workflow)))

    @classmethod
    def choose(cls, plan: Plan, *, exp_id: int | None = None, new: bool = False) -> Path | None:
        """The directory to go on in: `exp_id`'s, or that of an incomplete experiment of the same configuration.

        An experiment is complete where all runs have a result and tables and report have been made.

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
            if experiment._recorded_key() != experiment.key:
                continue
            if (directory / UNFINISHED).exists() or experiment.pending():
                return directory
        return None

    @property
    def key(self) -> str:
        """Identifies the configuration: the SHA-256 of its runs' keys."""
        return hashlib.sha256("".join(run.key for run in self.plan.runs).encode()).hexdigest()

    def pending(self) -> list[Entry]:
        """The runs that have no result yet, or one that is not what was written."""
        return [entry for entry in self.entries if not entry.has_result()]

    def cautions(self) -> list[str]:
        """Results that are not trusted, and why, and how many have no manifest to be compared with."""
        results = {entry: found for entry in self.entries if (found := entry.doubts()) is not None}
        changed = [f"{entry.directory}: {', '.join(found)}" for entry, found in results.items() if found]
        told = [f"{text}; it is not taken for a result" for text in changed[:MOST_TOLD]]
        if len(changed) > MOST_TOLD:
            told.append(f"{len(changed) - MOST_TOLD} more results are not what was written")
        if unsealed := sum(not is_sealed(entry.directory) for entry in results):
            told.append(f"{unsealed} of {len(results)} results have no {MANIFEST} to be checked by, and are trusted")
        return told

    def begin_anew(self) -> list[Entry]:
        """All runs, none of which goes on from a checkpoint."""
        for entry in self.entries:
            Folder(entry.directory, entry.run.key).clear()
        return self.entries

    def describe(self, command: Sequence[str] | None = None) -> None:
        """Writes config.json, resolved.json and env.json, and tidies up what killed processes have left.

        Raises:
            ConfigError: where they cannot be written.
        """
        with _refusing():
            with writing(self.directory):
                self._tidy()
            self._describe(command)

    def _tidy(self) -> None:
        remove_temporaries(self.directory)
        for entry in self.entries:
            if entry.has_result():
                Folder(entry.directory, entry.run.key).clear()

    def _describe(self, command: Sequence[str] | None) -> None:
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
        """Keeps a second launcher, and jobs of a cluster, out of the directory; it is unfinished until the block ends.

        Raises:
            ConfigError: where another launcher is at work in it, or it cannot be written to.
        """
        with ExitStack() as stack:
            with _refusing():
                stack.enter_context(occupied(self.directory))
                with writing(self.directory):
                    (self.directory / UNFINISHED).touch()
            yield
            with writing(self.directory):
                (self.directory / UNFINISHED).unlink(missing_ok=True)

    def finish(self, failures: Mapping[Path, Failure]) -> Results:
        """Reads everything back, and writes the tables.

        Args:
            failures: by directory of the run, also of those whose run.json cannot be written to say so.

        Raises:
            CannotWrite: where the tables cannot be written, or the experiment is not there any more.
        """
        try:
            results = load(self.directory)
        except FileNotFoundError as error:
            raise Vanished(self.directory) from error
        runs = [
            replace(run, status="failed", error=vars(failures[run.directory])) if run.directory in failures else run
            for run in results.runs
        ]
        results = replace(results, runs=runs)
        write_tables(results)
        return results

    def _recorded_key(self) -> str | None:
        try:
            key: str = read_json(self.directory / "resolved.json")["key"]
        except (OSError, ValueError, KeyError):
            return None
        return key


@contextmanager
def _refusing() -> Iterator[None]:
    """Before anything has begun, a disk that takes nothing is as a wrong configuration: choose another place."""
    try:
        yield
    except Occupied as error:
        raise ConfigError([str(error)]) from error
    except CannotWrite as error:
        raise ConfigError([f"{error} (--workflow DIR is another place)"]) from error


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
