"""Time left: of a run from its recent steps, of an experiment from the runs that have ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gossipsim.results import LABELS

WINDOW = 30.0
"""Seconds of the past that the speed of a run is measured over."""

RESOLUTION = 0.25
"""Seconds between two remembered steps: a run may tell of a hundred thousand a second."""


class Pace:
    """Steps per second of one run over the last `WINDOW` seconds, evaluations included."""

    def __init__(self) -> None:
        self.step = 0
        self._seen: deque[tuple[float, int]] = deque()

    def reached(self, step: int, now: float) -> None:
        self.step = step
        if len(self._seen) >= 2 and now - self._seen[-2][0] < RESOLUTION:
            self._seen[-1] = (now, step)
        else:
            self._seen.append((now, step))
        while len(self._seen) > 2 and self._seen[1][0] < now - WINDOW:
            self._seen.popleft()

    @property
    def speed(self) -> float | None:
        """Steps per second, None before there are two different ones."""
        if not self._seen:
            return None
        (begin, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - begin) if last > first and end > begin else None

    def remaining(self, total: int, now: float) -> float | None:
        """Seconds until step `total`; counts down between two messages."""
        if self.speed is None:
            return None
        return max(0.0, (total - self.step) / self.speed - (now - self._seen[-1][0]))


@dataclass(frozen=True)
class Work:
    """A run as far as its duration is concerned: what is trained, and an amount that the duration grows with."""

    kind: tuple[str, ...]
    amount: float

    @classmethod
    def of(cls, labels: Mapping[str, str], spec: Mapping[str, Any]) -> Work:
        """The amount is steps times nodes, or epochs: an epoch is as many node-steps for any number of nodes."""
        params = spec["trainer"].get("params", {})
        steps, epochs = params.get("steps"), params.get("epochs")
        amount = steps * spec["network"]["nodes"] if steps is not None else epochs
        return cls(tuple(labels[label] for label in LABELS), float(amount or 1))


@dataclass(frozen=True)
class UnderWay:
    """A run that has begun; `remaining` is None where its own pace does not tell yet."""

    work: Work
    elapsed: float
    remaining: float | None


class Estimate:
    """What runs take, learnt from those that have ended; the most similar ones count."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, ...], tuple[float, int]] = {}  # part of a kind -> sum of seconds per amount, runs

    def learn(self, work: Work, seconds: float) -> None:
        for length in range(len(work.kind) + 1):
            total, count = self._rates.get(work.kind[:length], (0.0, 0))
            self._rates[work.kind[:length]] = (total + seconds / work.amount, count + 1)

    def expect(self, work: Work) -> float | None:
        """Seconds of a run, from its other seeds, else the same optimizer, model, task, else any."""
        for length in range(len(work.kind), -1, -1):
            if known := self._rates.get(work.kind[:length]):
                return work.amount * known[0] / known[1]
        return None

    def remaining(self, waiting: Iterable[Work], under_way: Iterable[UnderWay], jobs: int) -> float | None:
        """Seconds until all have ended, `jobs` at a time; None before anything is known."""
        under_way = list(under_way)
        source = self if self._rates else self._from_pace(under_way)
        left = [run.remaining if run.remaining is not None else source._rest(run) for run in under_way]
        ahead = [source.expect(work) for work in waiting]
        known = [seconds for seconds in left + ahead if seconds is not None]
        if len(known) < len(left) + len(ahead):
            return None
        return max([sum(known) / max(1, jobs), *(seconds for seconds in left if seconds is not None)])

    def _rest(self, run: UnderWay) -> float | None:
        expected = self.expect(run.work)
        return None if expected is None else max(0.0, expected - run.elapsed)

    @staticmethod
    def _from_pace(under_way: list[UnderWay]) -> Estimate:
        """While no run has ended: as if those under way had, when their pace says they will."""
        guess = Estimate()
        for run in under_way:
            if run.remaining is not None:
                guess.learn(run.work, run.elapsed + run.remaining)
        return guess
