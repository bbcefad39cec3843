"""Observers of an execution beside the display: several as one, and the one that records how long a run will be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from gossipsim.execution import Observer
from gossipsim.experiment import Entry
from gossipsim.results import CannotWrite
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

    def noted(self, entry: Entry, text: str) -> None:
        for observer in self._observers:
            observer.noted(entry, text)

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        for observer in self._observers:
            observer.ended(entry, status, failure)


class Silent:
    """An observer that does nothing: others say what they do otherwise."""

    def started(self, entry: Entry) -> None:
        pass

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        pass

    def noted(self, entry: Entry, text: str) -> None:
        pass

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        pass


class Failures(Silent):
    """Which runs have failed, also those whose run.json cannot be written to say so."""

    def __init__(self) -> None:
        self.by_directory: dict[Path, Failure] = {}

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        if failure is not None:
            self.by_directory[entry.directory] = failure


class TotalSteps(Silent):
    """Writes `total_steps` into run.json at a run's first message, for whoever watches the directory.

    Where that cannot be written, the run itself will say so when it has something to lose.
    """

    def __init__(self) -> None:
        self._told: set[Entry] = set()

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        if entry not in self._told:
            self._told.add(entry)
            with suppress(CannotWrite):
                entry.mark("running", total_steps=message["total"])

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        self._told.discard(entry)
