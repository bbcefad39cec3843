"""A strategy whose rounds meet faults: the only place where a run and its faults touch.

Each fault is noted in the run's faults.jsonl before it happens, so that it happens no more often than it was asked for,
however often the run is begun again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from gossipsim.faults import acts, files
from gossipsim.faults.fault import Fault

LEDGER = "faults.jsonl"
"""In a run's directory: the faults that have happened, in that order."""


class World(Protocol):
    rank: int
    transport: Any


class Nodes(Protocol):
    """What faults know of the hosted nodes."""

    world: World
    ids: range
    step: int
    between_steps: Callable[[], None]

    @property
    def X(self) -> Any: ...  # noqa: N802  the field's name for a matrix


@contextmanager
def struck(
    faults: Sequence[Fault], strategy: Any, directory: Path, emit: Callable[[dict[str, Any]], None]
) -> Iterator[Any]:
    """The strategy as it goes with these faults, in this process; itself where there are none."""
    if not faults:
        yield strategy
        return
    ledger = _Ledger(directory / LEDGER)
    victim = _Struck(strategy, faults, directory, ledger)
    with files.obstructed(victim.obstructions):
        yield victim
    if victim.rank == 0:
        for fault in faults:
            if not ledger.count(fault):
                emit({"note": f"the fault {fault} did not happen"})


class _Ledger:
    def __init__(self, path: Path) -> None:
        self._path = path

    def count(self, fault: Fault) -> int:
        """How often a fault has happened."""
        try:
            return self._path.read_text().splitlines().count(_line(fault))
        except FileNotFoundError:
            return 0

    def note(self, fault: Fault) -> None:
        """It happens now."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, f"{_line(fault)}\n".encode())
        finally:
            os.close(descriptor)


def _line(fault: Fault) -> str:
    return json.dumps(fault.record())


class _Struck:
    """Looks before every step whether a fault is due."""

    def __init__(self, strategy: Any, faults: Sequence[Fault], directory: Path, ledger: _Ledger) -> None:
        self.rank: int | None = None
        self.obstructions: list[files.Obstruction] = []
        self._strategy, self._directory, self._ledger = strategy, directory, ledger
        self._pending = [fault for fault in faults if ledger.count(fault) < fault.attempts]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def round(self, nodes: Nodes, mix: Any) -> None:
        if self.rank is None:
            self._attach(nodes)
        self._strike(nodes)
        self._strategy.round(nodes, mix)

    def _attach(self, nodes: Nodes) -> None:
        self.rank, recorded = nodes.world.rank, nodes.between_steps
        self._pending = [fault for fault in self._pending if _is_here(fault, nodes)]

        def between_steps() -> None:
            recorded()
            self._strike(nodes)

        nodes.between_steps = between_steps

    def _strike(self, nodes: Nodes) -> None:
        for fault in list(self._pending):
            if fault.step <= nodes.step:
                self._happen(fault, nodes)

    def _happen(self, fault: Fault, nodes: Nodes) -> None:
        if fault.fault == "tear":
            self._pending.remove(fault)
            self.obstructions.append(files.Torn(self._directory, lambda: self._ledger.note(fault)))
            return
        target = files.target(self._directory, fault.file) if fault.fault == "corrupt" else None
        if fault.fault == "corrupt" and target is None:
            return  # not yet there
        self._pending.remove(fault)
        self._ledger.note(fault)
        if target is not None:
            files.corrupt(target)
        elif fault.fault == "disk":
            self.obstructions.append(files.Full(self._directory))
        else:
            acts.ACTS[fault.fault](fault, nodes)


def _is_here(fault: Fault, nodes: Nodes) -> bool:
    """Whether it is this process to which a fault happens."""
    return fault.node in nodes.ids if fault.node is not None else nodes.world.rank == (fault.rank or 0)
