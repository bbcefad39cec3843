"""The observer that feeds trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from gossipsim.results import is_finite
from gossipsim.trackers.growing import GrowingRecords

if TYPE_CHECKING:
    from gossipsim.experiment import Entry
    from gossipsim.world import Failure


class Log(Protocol):
    """One run in a tracker."""

    def record(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """A record of "steps" or "history": its finite numbers. Steps never go down."""

    def end(self, status: str) -> None:
        """The run has ended: complete, diverged, failed or interrupted."""


class Tracker(Protocol):
    """Where runs are logged."""

    def start(self, entry: Entry) -> Log: ...


@dataclass
class _Followed:
    records: GrowingRecords
    logs: dict[str, Log]


class Tracking:
    """Passes the records of runs under way to trackers.

    A tracker that raises is told of once and left alone from then on; the runs go on.

    Args:
        trackers: by name. warn: tells a person.
    """

    def __init__(self, trackers: Mapping[str, Tracker], warn: Callable[[str], None]) -> None:
        self._trackers = dict(trackers)
        self._warn = warn
        self._runs: dict[Entry, _Followed] = {}

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for entry in list(self._runs):
            self.ended(entry, "interrupted", None)

    def started(self, entry: Entry) -> None:
        followed = self._runs[entry] = _Followed(GrowingRecords(entry.directory), {})
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                followed.logs[name] = tracker.start(entry)

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        self._pass_on(self._runs[entry], message["step"])

    def noted(self, entry: Entry, text: str) -> None:
        pass

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        followed = self._runs.pop(entry)
        self._pass_on(followed, None)
        followed.records.close()
        for name, log in followed.logs.items():
            with self._guarded(name):
                log.end(status)

    def _pass_on(self, followed: _Followed, step: int | None) -> None:
        if not followed.logs:
            return
        for kind, record in followed.records.until(step):
            values = {name: value for name, value in record.items() if name != "step" and is_finite(value)}
            for name, log in list(followed.logs.items()):
                with self._guarded(name):
                    log.record(kind, record["step"], values)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._trackers.pop(name, None) is not None:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._warn(f"--track {name} does not work any more ({reason}); the runs go on without it")
            for followed in self._runs.values():
                followed.logs.pop(name, None)


def open_trackers(names: Sequence[str], experiment: Path, project: str) -> dict[str, Tracker]:
    """Trackers that keep their files inside `experiment`.

    Args:
        project: what wandb and trackio are to call the experiment.
    """
    from gossipsim.trackers.tensorboard import TensorBoard
    from gossipsim.trackers.wandb import Trackio, Wandb

    opened: dict[str, Tracker] = {}
    for name in names:
        if name == "tensorboard":
            opened[name] = TensorBoard(experiment)
        else:
            opened[name] = (Wandb if name == "wandb" else Trackio)(experiment, project)
    return opened
