"""The gates from theory on a terminal: a line per gate as it is known, and how many passed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from rich.console import Console

from gossipsim.checks.theory import Outcome, Spec, laws, of_networks, of_oracles, of_strategy, subject_of
from gossipsim.config.names import display
from gossipsim.spec import normalise

_MARKS = {True: "[green]PASS[/green]", False: "[red]FAIL[/red]", None: "    "}
_WIDTHS = (36, 44, 20)


def tell_theory(console: Console, strategies: Sequence[Spec], *, shared: bool, with_laws: bool) -> bool:
    """Measures what graphs and strategies claim; whether all gates have passed.

    Raises:
        ConfigError: for a strategy that cannot be built.
    """
    started, outcomes = time.perf_counter(), list[Outcome]()
    subjects = [subject_of(spec) for spec in strategies]
    _line(console, "    ", "strategy", "gate", "wanted", "found")
    if shared:
        outcomes += _tell(console, "(pure gossip)", of_networks())
    if with_laws:
        for subject in subjects:
            name = display(normalise(subject.spec))
            outcomes += _tell(console, name, of_strategy(subject)) + _tell(console, name, laws(subject))
    else:
        outcomes += _tell_side_by_side(console, strategies)
    if shared:  # last: after a backward pass this process had better not fork
        outcomes += _tell(console, "(oracles)", of_oracles())
    judged = [outcome for outcome in outcomes if outcome.passed is not None]
    failed = sum(not outcome.passed for outcome in judged)
    seconds = time.perf_counter() - started
    console.print(f"{len(judged) - failed} of {len(judged)} gates passed in {seconds:.0f} s", highlight=False)
    return not failed


def _tell_side_by_side(console: Console, strategies: Sequence[Spec]) -> list[Outcome]:
    """On all cores; forked, so that torch need not be imported again."""
    told: list[Outcome] = []
    workers = min(len(os.sched_getaffinity(0)), len(strategies))
    context = get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(workers)]
    processes = [
        context.Process(target=_measure, args=(strategies[k::workers], theirs), daemon=True)
        for k, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, theirs in pipes:
        theirs.close()
    for number, spec in enumerate(strategies):
        outcomes = json.loads(pipes[number % workers][0].recv_bytes())
        told += _tell(console, display(normalise(spec)), [Outcome(**each) for each in outcomes])
    for process in processes:
        process.join()
    return told


def _measure(strategies: Sequence[Spec], pipe: Connection[Any, Any]) -> None:
    """The outcomes of each strategy, as JSON."""
    for spec in strategies:
        pipe.send_bytes(json.dumps([asdict(outcome) for outcome in of_strategy(subject_of(spec))]).encode())


def _tell(console: Console, name: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    told = []
    for outcome in outcomes:
        _line(console, _MARKS[outcome.passed], name, outcome.gate, outcome.wanted, outcome.found)
        told.append(outcome)
    return told


def _line(console: Console, mark: str, *cells: str) -> None:
    *padded, found = cells
    text = " ".join(f"{cell:<{width}}" for cell, width in zip(padded, _WIDTHS, strict=True))
    console.print(mark, end=" ", highlight=False)
    console.print(f"{text} {found}", markup=False, highlight=False, soft_wrap=True)
