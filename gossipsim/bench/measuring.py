"""What a benchmark says, and how it is measured: interleaved, medians, ratios of neighbouring runs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from gossipsim.doctor import findings


@dataclass(frozen=True)
class Figure:
    """One number, its unit ("x" for a ratio), and the goal it is held against, if there is one."""

    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def goal(self) -> str:
        """E.g. `<= 2.5`; empty without a goal."""
        if self.at_most is not None:
            return f"<= {self.at_most:,g}"
        return "" if self.at_least is None else f">= {self.at_least:,g}"

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value, "unit": self.unit, "goal": self.goal or None, "holds": self.holds}


Figures = dict[str, Figure]
"""By name, in the order in which they are shown."""

Action = Callable[[], float]
"""Does something once and returns what it cost."""


class Interleaved:
    """What several actions cost, measured in turns: what slows this machine down for a while slows all of them.

    Args:
        actions: by name; each is done once before anything is measured.
    """

    def __init__(self, actions: dict[str, Action], repeats: int) -> None:
        for action in actions.values():
            action()
        self.rows = [{name: action() for name, action in actions.items()} for _ in range(repeats)]

    def median(self, name: str) -> float:
        """The median cost of an action."""
        return median(row[name] for row in self.rows)

    def ratio(self, name: str, to: str) -> float:
        """The median over the turns of the cost of one action over that of another."""
        return median(row[name] / row[to] for row in self.rows)


def seconds(action: Callable[[], Any]) -> Action:
    """The action, timed by the clock on the wall."""

    def timed() -> float:
        started = time.perf_counter()
        action()
        return time.perf_counter() - started

    return timed


def machine() -> dict[str, Any]:
    """Where the figures come from: versions, processor, cores."""
    return findings() | {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads per process": torch.get_num_threads(),
    }


class OthersWork:
    """How many cores other processes keep busy, from its creation on; what this one and its ranks do is not counted."""

    def __init__(self) -> None:
        self._busy, self._own, self._started = _busy_seconds(), _own_seconds(), time.perf_counter()

    def cores(self) -> float | None:
        """On average so far; None where the system does not tell."""
        if self._busy is None or (busy := _busy_seconds()) is None:
            return None
        others = busy - self._busy - (_own_seconds() - self._own)
        return max(0.0, others / max(time.perf_counter() - self._started, 1e-9))


def caution(others: Iterable[float | None], cores: int) -> str | None:
    """What to think of figures from a machine that others use too; `others` are the cores that they kept busy."""
    most = max((busy for busy in others if busy is not None), default=0.0)
    if most <= 0.1 * cores:
        return None
    return f"other work kept {most:.1f} of {cores} cores busy; ratios may be off, absolute times are"


def _own_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float | None:
    """CPU time of all processes since the machine has started."""
    try:
        with open("/proc/stat") as lines:
            user, nice, system = lines.readline().split()[1:4]
    except OSError:
        return None
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
