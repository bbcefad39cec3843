"""What would run, before anything does: a line per run, or a row per cell with what it costs. Writes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from gossipsim.config import Plan
from gossipsim.config.names import display
from gossipsim.estimate import Estimator, at_a_time, kind_of
from gossipsim.execution import Local
from gossipsim.experiment import Entry, Experiment
from gossipsim.options import Options
from gossipsim.parts import Parts
from gossipsim.parts.cautions import known_eigenvalues
from gossipsim.results import LABELS
from gossipsim.strategies import stability_limit


def would_run(plan: Plan, options: Options) -> tuple[Experiment, list[Entry]]:
    """The experiment that these options go on with, or a new one, and its runs without a result."""
    directory = Experiment.choose(plan, exp_id=options.exp_id, new=options.new)
    experiment = Experiment(plan, directory or Path(plan.workflow) / "exp_new")
    return experiment, experiment.pending() if options.skip_existing else experiment.entries


def runs_survey(experiment: Experiment, pending: list[Entry]) -> dict[str, Any]:
    """What would be run, ready for JSON."""
    runs = [
        {
            **{name: entry.run.labels[name] for name in LABELS},
            "seed": entry.run.seed,
            "swept": entry.run.cell,
            "key": entry.run.key,
            "status": entry.state(),
            "to_do": entry in pending,
        }
        for entry in experiment.entries
    ]
    return {"name": experiment.plan.name, "directory": str(experiment.directory), "to_do": len(pending), "runs": runs}


def list_runs(console: Console, experiment: Experiment, pending: list[Entry]) -> None:
    """A line per run: whether it would run or has a result."""
    for entry in experiment.entries:
        _plain(console, f"{'run ' if entry in pending else 'skip'}  {entry.title}")
    _print_todo(console, len(pending), len(experiment.entries))


def survey(experiment: Experiment, pending: list[Entry], options: Options, *, timed: bool) -> dict[str, Any]:
    """Every cell with what of it exists and what it costs, ready for JSON."""
    cells: dict[Path, list[Entry]] = {}
    for entry in experiment.entries:
        cells.setdefault(entry.directory.parent, []).append(entry)
    kinds = {kind_of(entries[0].run) for entries in cells.values()}
    estimator = Estimator(len(kinds), timed=timed, jobs=options.jobs)
    local = Local(options.processes, options.jobs)
    rows = [_cell(entries, pending, estimator, local) for entries in cells.values()]
    untimed = [row for row in rows if row["cost"]["seconds"] is None]
    return {
        "name": experiment.plan.name,
        "directory": str(experiment.directory),
        "runs": len(experiment.entries),
        "to_do": len(pending),
        "cells": rows,
        "candidates": _candidates(experiment.plan),
        "bytes_sent": sum((row["cost"]["bytes_sent"] or 0) * row["missing"] for row in rows),
        "seconds": _seconds(rows, options.jobs),
        "untimed": len(untimed),
        "not_tried": estimator.failures,
    }


def _cell(entries: list[Entry], pending: list[Entry], estimator: Estimator, local: Local) -> dict[str, Any]:
    run = entries[0].run
    parts = Parts(run)
    costs, processes = parts.costs(), local.count(run)
    missing = sum(entry in pending for entry in entries)
    certificate = parts.network.certificate() if parts.claims.over == "graph" else {}
    return {
        **{name: run.labels[name] for name in LABELS},
        "swept": run.cell,
        "complete": len(entries) - missing,
        "missing": missing,
        "nodes": parts.count,
        "processes": processes,
        "lambda_2": certificate.get("lambda_2"),
        "slem": costs["slem"],
        "parameters": costs["parameters"],
        "bytes_per_round": costs["bytes_per_round"],
        "cost": vars(estimator.cost(run, costs, processes)),
    }


def _seconds(rows: list[dict[str, Any]], jobs: int | str) -> float | None:
    """Until everything has been run; a cell whose time is not known takes the mean of the others'."""
    known = [row["cost"]["seconds"] for row in rows if row["cost"]["seconds"] is not None]
    if not known:
        return None
    mean, total, longest = sum(known) / len(known), 0.0, 0.0
    for row in rows:
        seconds = mean if row["cost"]["seconds"] is None else row["cost"]["seconds"]
        total += seconds * row["missing"] / at_a_time(jobs, row["processes"])
        longest = max(longest, seconds * (row["missing"] > 0))
    return max(total, longest)


def _candidates(plan: Plan) -> dict[str, int]:
    """How many candidates each optimizer has; 1 where it is not tuned."""
    found: dict[str, dict[str, None]] = {}
    for run in plan.runs:
        family = run.tuned["optimizer"] if run.tuned else run.labels["optimizer"]
        found.setdefault(family, {})[run.labels["optimizer"]] = None
    return {family: len(names) for family, names in found.items()}


def list_cells(console: Console, experiment: Experiment, found: dict[str, Any]) -> None:
    """A :func:`survey` as a table, with what the strategies claim."""
    rows = found["cells"]
    labels = [name for name in LABELS if name == "optimizer" or len({row[name] for row in rows}) > 1]
    table = Table(*labels, "done", "nodes", "λ2", "slem", "parameters", "per round", "rounds", "in all", "memory")
    table.add_column("a run")
    for row in rows:
        cost = row["cost"]
        numbers = [_number(row[name]) for name in ("lambda_2", "slem")]
        sizes = [
            _size(row["bytes_per_round"]),
            _count(cost["rounds"]),
            _size(cost["bytes_sent"]),
            _size(cost["memory"]),
        ]
        done = f"{row['complete']}/{row['complete'] + row['missing']}"
        shown = [done, str(row["nodes"]), *numbers, f"{row['parameters']:,}", *sizes, _duration(cost["seconds"])]
        table.add_row(*[escape(row[name]) for name in labels], *shown)
    console.print(table)
    console.print(
        "done: runs with a result. per round, in all: bytes that all nodes send, in a run. memory: of one process, "
        "beside Python and torch. a run: its time.",
        style="dim",
        highlight=False,
    )
    _print_claims(console, experiment)
    if any(number > 1 for number in found["candidates"].values()):
        told = ", ".join(f"{name} {number}" for name, number in found["candidates"].items())
        _plain(console, f"candidates: {told}")
    for reason in found["not_tried"]:
        _plain(console, f"could not be tried: {reason}")
    _print_todo(console, found["to_do"], found["runs"])
    if found["seconds"] is not None:
        guessed = f", {found['untimed']} cells as the others" if found["untimed"] else ""
        _plain(console, f"about {_duration(found['seconds'])} without the report{guessed}")


def _print_claims(console: Console, experiment: Experiment) -> None:
    """A line per strategy."""
    claimed: dict[str, dict[str, None]] = {}
    for entry in {entry.directory.parent: entry for entry in experiment.entries}.values():
        parts = Parts(entry.run)
        claimed.setdefault(_claims(parts), {}).update(dict.fromkeys(_limits(parts)))
    for sentence, limits in claimed.items():
        stable = f"; stable for eta h < {', '.join(limits)}" if limits else ""
        _plain(console, f"{sentence}{stable}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 12):.4g}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return "-" if value is None else decimal(value)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2g} s" if seconds < 99.5 else str(timedelta(seconds=round(seconds)))


def _claims(parts: Parts) -> str:
    """What a strategy promises and needs, in one line."""
    claims = parts.claims
    words = {True: "exact", False: "biased", None: "bias unknown"}
    said = [
        f"{words[claims.exact]} with SGD, {words[claims.exact_lmo]} with Frank-Wolfe, Muon, Scion where nodes differ"
    ]
    if parts.count > 1 and claims.needs:
        said.append(f"needs {', '.join(sorted(claims.needs)).replace('_', ' ')}")
    numbers = f" and {claims.numbers} number" if claims.numbers else ""
    row = "row" if claims.sends == 1 else "rows"
    way = {"graph": "over each edge", "complete": "to all others", "server": "to a server, which answers"}[claims.over]
    said.append(f"sends {claims.sends} {'compressed ' if claims.compressor else ''}{row}{numbers} {way} per round")
    return f"{display(parts.run.strategy)}: {'; '.join(said)}"


def _limits(parts: Parts) -> list[str]:
    """The largest stable step size times curvature on this graph, where it is known."""
    claims, network = parts.claims, parts.network
    eigenvalues = known_eigenvalues(claims, network) if claims.over == "graph" else None
    if eigenvalues is None or claims.characteristic is None:
        return []
    limit = stability_limit(claims.characteristic, eigenvalues)
    return [f"{limit:.4g} on {network.certificate()['name'].rpartition('.')[2]}({parts.count})"]


def _print_todo(console: Console, pending: int, runs: int) -> None:
    _plain(console, f"{pending} of {runs} runs to do; nothing was written")


def _plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
