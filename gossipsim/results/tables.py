"""The tables of an experiment: results.csv (runs), results_mean.csv (cells), summary.json."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gossipsim.results.files import LABELS, write_json, write_text
from gossipsim.results.reading import COUNTERS, Results, Run, higher_is_better, is_number, load


def write_tables(source: Path | str | Results) -> None:
    """Writes results.csv, results_mean.csv and summary.json of an experiment."""
    results = source if isinstance(source, Results) else load(source)
    metrics = results.metrics
    columns = [*LABELS, "seed", "status", "key", *results.swept, *(f"last_{name}" for name in metrics)]
    columns += [f"best_{name}" for name in metrics if name not in COUNTERS]
    write_text(results.directory / "results.csv", _csv(columns, results.table()))
    columns = [*LABELS, *results.swept]
    columns += [f"{name}_{statistic}" for name in metrics for statistic in ("mean", "std")]
    write_text(results.directory / "results_mean.csv", _csv([*columns, "n", "diverged"], mean_table(results)))
    write_json(results.directory / "summary.json", _summary(results))


def mean_table(results: Results) -> list[dict[str, Any]]:
    """A row per cell, with the columns of results_mean.csv; what is undefined (std of one seed) is absent."""
    rows = []
    for cell in results.cells:
        row: dict[str, Any] = {**cell.labels, **cell.swept}
        for metric in results.metrics:
            mean, std = cell.statistics(metric)
            row |= {} if mean is None else {f"{metric}_mean": mean}
            row |= {} if std is None else {f"{metric}_std": std}
        rows.append({**row, "n": len(cell.complete), "diverged": cell.diverged})
    return rows


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """RFC 4180; floats as repr, blank where absent, anything nested as JSON."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_field(row[column]) if column in row else "" for column in columns])
    return text.getvalue()


def _field(value: Any) -> str | int | float:
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
