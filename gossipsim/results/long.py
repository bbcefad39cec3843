"""Results in long format: a row per number, for pandas, polars, R and databases.

Columns: task, model, optimizer, cell, one for each swept path, seed, status, step, epoch, round, metric, value. Of
``runs`` the metrics are the columns of results.csv (last_test_accuracy, rounds_to_test_accuracy_0.9, ...), and step,
epoch and round are empty. A swept spec is told by its display name: results.csv has all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

from gossipsim.config.names import display
from gossipsim.config.sweep import is_spec_path
from gossipsim.results.cells import Run, is_number
from gossipsim.results.files import LABELS
from gossipsim.spec import is_spec

Records = Literal["history", "steps", "runs"]
Row = dict[str, Any]

_PLACES = ("step", "epoch", "round")
_ENDS = ("seed", "status", *_PLACES, "metric", "value")


def long_columns(swept: Iterable[str]) -> list[str]:
    return [*LABELS, *swept, *_ENDS]


def named(path: str, value: Any) -> Any:
    """A swept value, a spec by its display name.

    >>> named("network.topology", "networkx.cycle_graph"), named("network.nodes", 8)
    ('cycle_graph', 8)
    """
    return display(value) if is_spec(value) or (isinstance(value, str) and is_spec_path(path)) else value


def long_rows(runs: Iterable[Run], table: Iterable[Row], swept: list[str], records: Records) -> Iterator[Row]:
    """The rows of runs, one after the other; `table` has a row of results.csv for each run.

    Raises:
        ValueError: for records of another name.
    """
    if records not in get_args(Records):
        raise ValueError(f"records: {records!r} is none of {', '.join(get_args(Records))}")
    for run, wide in zip(runs, table, strict=True):
        start: Row = {**run.labels, **{path: named(path, run.swept.get(path)) for path in swept}}
        start |= {"seed": run.seed, "status": run.status}
        if records == "runs":
            numbers = {name: value for name, value in wide.items() if name not in start and is_number(value)}
            yield from _melted(start, {}, numbers)
        else:
            for record in getattr(run, records):
                yield from _melted(start, record, record)


def _melted(start: Row, record: Row, numbers: Row) -> Iterator[Row]:
    placed = start | {place: record.get(place) for place in _PLACES}
    for name, value in numbers.items():
        if name not in _PLACES and is_number(value):
            yield {**placed, "metric": name, "value": value}
