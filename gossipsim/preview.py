"""What would run, before anything does: a line per run, or a row per cell with what it costs. Writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from gossipsim.config.names import display
from gossipsim.experiment import Entry, Experiment
from gossipsim.parts import Parts
from gossipsim.results import LABELS
from gossipsim.strategies import stability_limit

MAX_EIGENVALUES = 500
"""Nodes up to which `plan` finds all eigenvalues of W for the largest stable step size."""


def list_runs(console: Console, experiment: Experiment, pending: list[Entry]) -> None:
    """A line per run: whether it would run or has a result."""
    for entry in experiment.entries:
        _plain(console, f"{'run ' if entry in pending else 'skip'}  {entry.title}")
    _print_todo(console, experiment, pending)


def list_cells(console: Console, experiment: Experiment, pending: list[Entry]) -> None:
    """A row per cell: how many runs have a result, and what a round costs."""
    cells: dict[Path, list[Entry]] = {}
    for entry in experiment.entries:
        cells.setdefault(entry.directory.parent, []).append(entry)
    labels = [[entries[0].run.labels[name] for name in LABELS] for entries in cells.values()]
    shown = [k for k, name in enumerate(LABELS) if name == "optimizer" or len({row[k] for row in labels}) > 1]
    table = Table(*[LABELS[k] for k in shown], "done", "nodes", "slem", "parameters", "sent per round", "rows")
    for row, entries in zip(labels, cells.values(), strict=True):
        parts = Parts(entries[0].run)
        cost = parts.costs()
        slem = "-" if cost["slem"] is None else f"{round(cost['slem'], 12):.4g}"
        done = f"{sum(entry not in pending for entry in entries)}/{len(entries)}"
        sizes = [f"{cost['parameters']:,}", decimal(cost["bytes_per_round"]), decimal(cost["row_bytes"])]
        table.add_row(*[row[k] for k in shown], done, str(parts.count), slem, *sizes)
    console.print(table)
    claimed: dict[str, dict[str, None]] = {}
    for entries in cells.values():
        parts = Parts(entries[0].run)
        claimed.setdefault(_claims(parts), {}).update(dict.fromkeys(_limits(parts)))
    for sentence, limits in claimed.items():
        stable = f"; stable for eta h < {', '.join(limits)}" if limits else ""
        _plain(console, f"{sentence}{stable}")
    _print_todo(console, experiment, pending)


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
    if claims.characteristic is None or claims.over != "graph" or network.period != 1 or parts.count > MAX_EIGENVALUES:
        return []
    certificate = network.certificate()
    if not certificate["symmetric"]:
        return []
    limit = stability_limit(claims.characteristic, np.linalg.eigvalsh(network.matrix(0).toarray()).tolist())
    return [f"{limit:.4g} on {certificate['name'].rpartition('.')[2]}({parts.count})"]


def _print_todo(console: Console, experiment: Experiment, pending: list[Entry]) -> None:
    _plain(console, f"{len(pending)} of {len(experiment.entries)} runs to do; nothing was written")


def _plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
