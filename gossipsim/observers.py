"""Observers of an execution beside the display: several as one, and the one that records how long a run will be."""

from __future__ import annotations

from typing import Any

from gossipsim.execution import Observer
from gossipsim.experiment import Entry
from gossipsim.world import Failure


class Observers:
    """Tells each of several observers, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def started(self, entry: Entry) -> None:
        for observer in self._observers:
            observer.started(entry)

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        for observer in self._observers:
            observer.progressed(entry, message)

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        for observer in self._observers:
            observer.ended(entry, status, failure)


class TotalSteps:
    """Writes `total_steps` into run.json at a run's first message, for whoever watches the directory."""

    def __init__(self) -> None:
        self._told: set[Entry] = set()

    def started(self, entry: Entry) -> None:
        pass

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        if entry not in self._told:
            self._told.add(entry)
            entry.mark("running", total_steps=message["total"])

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        self._told.discard(entry)
