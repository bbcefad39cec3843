"""An experiment read back from its files: runs, the cells that group their seeds, and which of them are selected."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gossipsim.results.cells import Cell, Run, is_number
from gossipsim.results.files import LABELS, find_experiments, read_json, read_jsonl
from gossipsim.results.long import Records, long_rows
from gossipsim.results.manifest import doubts
from gossipsim.results.selection import Selection, select
from gossipsim.results.states import RESULTS, state_of
from gossipsim.results.targets import reached


class ChangedResult(UserWarning):
    """A result has files that are not what was written."""


@dataclass(frozen=True)
class Results:
    """The runs of one experiment, in grid order, then task, model, optimizer, seed.

    ``swept``: the swept paths; ``targets``: metric -> values whose cost is told; ``selection``: how tuned optimizers
    are chosen, as the configuration says it.
    """

    directory: Path
    runs: list[Run]
    name: str = ""
    key: str = ""
    swept: list[str] = field(default_factory=list)
    targets: dict[str, list[float]] = field(default_factory=dict)
    selection: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.status == "failed"]

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the recorded numbers, in the order in which they first appear."""
        records = (record for run in self.runs for record in run.history)
        return list(dict.fromkeys(name for record in records for name in record if is_number(record[name])))

    @cached_property
    def cells(self) -> list[Cell]:
        """Runs that differ in nothing but their seed, together."""
        groups: dict[Path, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.directory.parent, []).append(run)
        return [Cell(runs[0].labels, runs[0].swept, runs) for runs in groups.values()]

    @cached_property
    def selections(self) -> list[Selection]:
        """What was chosen for each tuned optimizer, by validation; nothing where nothing is tuned."""
        return select(self.cells, self.selection.get("metric"))

    @cached_property
    def selected_cells(self) -> list[Cell]:
        """The cells that stand for their optimizers: all that are not tuned, and one for each that is."""
        standing = {id(selection.standing) for selection in self.selections}
        return [cell for cell in self.cells if cell.tuned is None or id(cell) in standing]

    def table(self) -> list[dict[str, Any]]:
        """A row per run, with the columns of results.csv; what does not apply to a run is absent."""
        rows = []
        chosen = {run.directory for each in self.selections if each.chosen for run in each.chosen.cell.runs}
        for run in self.runs:
            row: dict[str, Any] = {**run.labels, "seed": run.seed, "status": run.status, "key": run.key}
            row |= {path: run.swept[path] for path in self.swept if path in run.swept}
            row |= {} if run.tuned is None else {"selected": int(run.directory in chosen)}
            row |= reached(run, self.targets)
            row |= {f"last_{name}": value for name, value in run.last.items()}
            row |= {f"best_{name}": value for name, value in run.best.items()}
            rows.append(row)
        return rows

    def long(self, records: Records = "history") -> Iterator[dict[str, Any]]:
        """A row per number of all histories, steps, or (``"runs"``) of :meth:`table`.

        Keys: task, model, optimizer, cell, the swept paths, seed, status, step, epoch, round, metric, value; None where
        one does not apply. ``pandas.DataFrame(results.long())`` is a data frame.

        Raises:
            ValueError: for records of another name.
        """
        return long_rows(self.runs, self.table(), self.swept, records)


def load(directory: Path | str) -> Results:
    """Reads an experiment directory, or the newest experiment of a workflow.

    What cannot be read of a run is left out, and told with all else that has changed since it was written, as a
    :class:`ChangedResult` warning and in :attr:`Run.doubts`.

    Raises:
        FileNotFoundError: when `directory` is neither.
        ValueError: where resolved.json is damaged.
    """
    path = experiment_in(directory)
    plan = read_json(path / "resolved.json")
    runs = [_read_run(path, entry) for entry in plan["runs"]]
    for run in runs:
        if run.doubts:
            warnings.warn(ChangedResult(f"{run.directory}: {', '.join(run.doubts)}"), stacklevel=2)
    return Results(
        directory=path,
        runs=runs,
        name=plan.get("name", path.name),
        key=plan.get("key", ""),
        swept=list(plan.get("swept", [])),
        targets={metric: list(values) for metric, values in plan.get("targets", {}).items()},
        selection=dict(plan.get("selection", {})),
    )


def experiment_in(directory: Path | str) -> Path:
    """The experiment that `directory` is, or the newest of the workflow that it is.

    Raises:
        FileNotFoundError: when it is neither.
    """
    path = Path(directory)
    if (path / "resolved.json").is_file():
        return path
    for candidate in reversed(find_experiments(path)):
        if (candidate / "resolved.json").is_file():
            return candidate
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such directory; give an experiment (exp_0001) or its workflow")
    above = next((parent for parent in path.resolve().parents if (parent / "resolved.json").is_file()), None)
    raise FileNotFoundError(
        f"{path}: neither an experiment (it has no resolved.json) nor a workflow (no exp_0001, exp_0002, ..."
        f" with one)" + (f"; it belongs to the experiment {above}, give that" if above else "")
    )


def _read_run(experiment: Path, entry: Mapping[str, Any]) -> Run:
    place = Path(entry["directory"])
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(f"{experiment / 'resolved.json'}: {entry['directory']!r} is not a folder of this experiment")
    directory = experiment / place
    files = _Files(directory)
    record: dict[str, Any] = files.json("run.json")
    started = "status" in record
    status = state_of(record) if started else "missing"
    key = record.get("key", entry["key"])
    changed = doubts(directory, key, status) if status in RESULTS else []
    return Run(
        directory=directory,
        key=key,
        seed=entry["seed"],
        labels={label: entry[label] for label in LABELS},
        swept=dict(entry.get("swept", {})),
        status=status,
        error=record.get("error"),
        version=record.get("version", ""),
        tuned=entry.get("tuned"),
        spec=record.get("spec", {}),
        history=files.lines("history.jsonl") if started else [],
        steps=files.lines("steps.jsonl") if started else [],
        timing=files.lines("timing.jsonl") if started else [],
        summary=files.json("summary.json") if started else {},
        doubts=changed or files.damaged,
    )


class _Files:
    """The files of a run, as far as they can be read; the others are `damaged`, in words."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.damaged: list[str] = []

    def json(self, name: str) -> dict[str, Any]:
        path = self.directory / name
        try:
            found = read_json(path) if path.is_file() else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self.damaged.append(f"{name} is damaged")
            return {}
        return found

    def lines(self, name: str) -> list[dict[str, Any]]:
        try:
            return read_jsonl(self.directory / name)
        except ValueError:
            self.damaged.append(f"{name} is damaged")
            return []
