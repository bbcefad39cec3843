"""The tables of an experiment: results.csv (runs), results_mean.csv (cells), summary.json."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gossipsim.results.cells import COUNTERS, Run, higher_is_better, is_number
from gossipsim.results.files import LABELS, write_json, write_text
from gossipsim.results.reading import Results, load
from gossipsim.results.statistics import Summary, summarize
from gossipsim.results.targets import reached, target_columns

_LAST = ("n", "diverged", "selected")  # columns of results_mean.csv


def write_tables(source: Path | str | Results) -> None:
    """Writes results.csv, results_mean.csv and summary.json of an experiment."""
    results = source if isinstance(source, Results) else load(source)
    metrics, targets = results.metrics, target_columns(results.targets)
    columns = [*LABELS, "seed", "status", "key", *results.swept, *(f"last_{name}" for name in metrics)]
    columns += [f"best_{name}" for name in metrics if name not in COUNTERS]
    write_text(results.directory / "results.csv", as_csv([*columns, *targets, "selected"], results.table()))
    columns = [*LABELS, *results.swept]
    columns += [f"{name}_{statistic}" for name in metrics for statistic in ("mean", "std", "ci95")]
    columns += [f"{name}_{statistic}" for name in targets for statistic in ("mean", "std", "ci95", "n")]
    write_text(results.directory / "results_mean.csv", as_csv([*columns, *_LAST], mean_table(results)))
    write_json(results.directory / "summary.json", _summary(results))


def mean_table(results: Results) -> list[dict[str, Any]]:
    """A row per cell, with the columns of results_mean.csv; what is undefined (std of one seed) is absent.

    What a target took is averaged over those complete seeds that reached it, and its ``_n`` says how many did: where
    that is less than ``n``, the mean is of the quicker seeds.
    """
    rows = []
    chosen = {id(each.chosen.cell) for each in results.selections if each.chosen}
    for cell in results.cells:
        row: dict[str, Any] = {**cell.labels, **cell.swept}
        row |= {} if cell.tuned is None else {"selected": int(id(cell) in chosen)}
        for metric in results.metrics:
            row |= _statistics(metric, cell.summary(metric))
        taken = [reached(run, results.targets) for run in cell.complete]
        for column in target_columns(results.targets):
            values = [each[column] for each in taken if column in each]
            row |= _statistics(column, summarize(values)) | {f"{column}_n": len(values)}
        rows.append({**row, "n": len(cell.complete), "diverged": cell.diverged})
    return rows


def _statistics(name: str, summary: Summary | None) -> dict[str, float]:
    if summary is None:
        return {}
    found = {f"{name}_mean": summary.mean, f"{name}_std": summary.std, f"{name}_ci95": summary.ci95}
    return {column: value for column, value in found.items() if value is not None}


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """RFC 4180; floats as repr, blank where absent, anything nested as JSON."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([as_text(row[column]) if column in row else "" for column in columns])
    return text.getvalue()


def as_text(value: Any) -> str | int | float:
    """What a table holds: numbers and text as they are, anything else as JSON."""
    plain = isinstance(value, str) or is_number(value)
    return value if plain else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _summary(results: Results) -> dict[str, Any]:
    complete = [run for run in results.runs if run.status == "complete"]
    return {
        "name": results.name,
        "key": results.key,
        "runs": len(results.runs),
        "status": dict(Counter(run.status for run in results.runs)),
        "best": {task: _best(complete, task, results.metrics) for task in _tasks(results)},
        "directories": {run.directory.relative_to(results.directory).as_posix(): run.status for run in results.runs},
    }


def _tasks(results: Results) -> list[str]:
    return list(dict.fromkeys(run.labels["task"] for run in results.runs))


def _best(complete: Sequence[Run], task: str, metrics: Sequence[str]) -> dict[str, Any]:
    """For each metric of a task: its best value at any evaluation of a complete run, and which run had it."""
    found: dict[str, Any] = {}
    for metric in metrics:
        runs = [run for run in complete if run.labels["task"] == task and metric in run.best]
        if runs:
            choose = max if higher_is_better(metric) else min
            run = choose(runs, key=lambda run: run.best[metric])
            found[metric] = {"value": run.best[metric], **run.labels, "seed": run.seed, "key": run.key}
    return found
