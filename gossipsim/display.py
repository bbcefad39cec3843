"""What a person sees of an experiment: live bars on a terminal, plain lines elsewhere, and a closing table."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from gossipsim.config.names import short_paths
from gossipsim.experiment import Entry, Experiment
from gossipsim.observers import Silent
from gossipsim.progress import (
    HEADLINES,
    STATUS_STYLES,
    Estimate,
    Line,
    Overall,
    Pace,
    UnderWay,
    Work,
    clock,
    draw,
    headline,
    per_second,
    short_title,
    values_of,
)
from gossipsim.progress.prompts import before_prompts
from gossipsim.results import LABELS, Results, mean_table
from gossipsim.spec import did_you_mean
from gossipsim.world import Failure

REFRESHES = 4
"""Pictures per second; more would take time from a run in this process."""

METRICS_BY_WIDTH = ((140, 4), (100, 2), (0, 1))
"""Columns of a terminal, and how many metrics the closing table then has."""

HEARTBEAT = 30.0
"""Seconds between two lines about one run, where there are no bars."""


@dataclass
class _UnderWay:
    """A run that has begun, as far as it has been told of."""

    entry: Entry
    began: float
    pace: Pace = field(default_factory=Pace)
    total: int | None = None
    loss: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    told: float = 0.0

    @property
    def nodes(self) -> int:
        nodes: int = self.entry.run.network["nodes"]
        return nodes

    @property
    def speed(self) -> float | None:
        return None if self.pace.speed is None else self.pace.speed * self.nodes

    def remaining(self, now: float) -> float | None:
        return None if self.total is None else self.pace.remaining(self.total, now)

    def line(self, now: float) -> Line:
        return Line(
            self.entry.run.labels,
            self.entry.run.seed,
            step=None if self.total is None else self.pace.step,
            total=self.total,
            loss=self.loss,
            metric=headline(self.metrics),
            speed=self.speed,
            remaining=self.remaining(now),
        )


class Display:
    """Shows runs under way and counts their ends: bars on a terminal, else a line per ended run, and for long runs a
    line every `HEARTBEAT` seconds.

    The bars go away for good when this process is about to ask something: `breakpoint()` and `input()` in a run of
    this process get the terminal for themselves.

    Args:
        entries: all runs of the experiment. pending: those of them to be run.
    """

    def __init__(self, console: Console, entries: Sequence[Entry], pending: Sequence[Entry]) -> None:
        self.console = console
        self.statuses: dict[str, int] = {}
        self._total, self._existing = len(entries), len(entries) - len(pending)
        self._jobs = 1  # the most runs at a time so far
        self._varying = _varying(entries)
        self._waiting = {entry: _work(entry) for entry in pending}
        self._under_way: dict[Entry, _UnderWay] = {}
        self._estimate = Estimate()
        self._began = time.monotonic()
        self._lock = threading.Lock()  # bars are drawn by a thread of their own
        self._live: Live | None = None
        self._prompts = ExitStack()

    def __enter__(self) -> Display:
        if self.console.is_terminal and not (self.console.is_dumb_terminal or self.console.quiet):
            self._prompts.enter_context(before_prompts(self.to_plain_lines))
            self._live = Live(
                get_renderable=self._picture, console=self.console, refresh_per_second=REFRESHES, transient=True
            )
            self._live.start()
            self.console.show_cursor(True)  # a process that is killed cannot bring it back
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.to_plain_lines()
        self._prompts.close()

    def to_plain_lines(self) -> None:
        """Takes the bars away; from here on there are lines."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def started(self, entry: Entry) -> None:
        now = time.monotonic()
        with self._lock:
            self._waiting.pop(entry, None)
            self._under_way[entry] = _UnderWay(entry, began=now, told=now)
            self._jobs = max(self._jobs, len(self._under_way))

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        now = time.monotonic()
        run = self._under_way[entry]
        with self._lock:
            run.total = message["total"]
            run.pace.reached(message["step"], now)
            if message.get("loss") is not None:
                run.loss = message["loss"]
            run.metrics = message.get("metrics", run.metrics)
        if self._live is None and now - run.told >= HEARTBEAT:
            run.told = now
            self._heartbeat(entry, run.line(now))

    def noted(self, entry: Entry, text: str) -> None:
        _plain(self.console, f"{self._title(entry, len(text) + 2)}: {text}")

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        with self._lock:
            run = self._under_way.pop(entry)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            seconds = time.monotonic() - run.began
            if status != "failed":
                self._estimate.learn(_work(entry), seconds)
            number = self._existing + sum(self.statuses.values())
        figures = f"{headline(run.metrics)} {seconds:.1f} s".strip()
        counted = f"{number:>{len(str(self._total))}}/{self._total}"
        title = self._title(entry, len(f"{counted} {status}  {figures}"))
        self.console.print(
            f"[dim]{counted}[/] [{STATUS_STYLES.get(status, '')}]{status}[/] ",
            escape(f"{title} "),
            f"[dim]{figures}[/]",
            sep="",
            highlight=False,
            soft_wrap=True,
        )
        if failure is not None:
            print_failure(self.console, failure)

    def _title(self, entry: Entry, others: int) -> str:
        """Shortened to what `others` characters leave of a terminal's width; whole in a file."""
        if not self.console.is_terminal:
            return entry.title
        return short_title(entry.run.labels, entry.run.seed, self._varying, max(20, self.console.width - others))

    def _heartbeat(self, entry: Entry, line: Line) -> None:
        share = f" ({line.step / line.total:.0%})" if line.total and line.step is not None else ""
        loss = "" if line.loss is None else f", loss {line.loss:.4g}"
        figures = (
            f": step {line.step}/{line.total}{share}{loss}, {per_second(line.speed)} node-steps/s, "
            f"ETA {clock(line.remaining)}"
        )
        _plain(self.console, f"running {self._title(entry, len('running ' + figures))}{figures}")

    def _picture(self) -> RenderableType:
        now = time.monotonic()
        with self._lock:
            lines = [run.line(now) for run in self._under_way.values()]
            active = [UnderWay(_work(r.entry), now - r.began, r.remaining(now)) for r in self._under_way.values()]
            overall = Overall(
                total=self._total,
                ended=self._existing + sum(self.statuses.values()),
                statuses=dict(self.statuses),
                under_way=len(active),
                elapsed=now - self._began,
                remaining=self._estimate.remaining(self._waiting.values(), active, self._jobs),
            )
        return draw(lines, overall, self._varying)


class FailuresOnly(Silent):
    """For the ranks of a torchrun job other than rank 0: silent, unless the failure is theirs."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        if failure is not None:
            print_failure(self.console, failure)


def print_failure(console: Console, failure: Failure) -> None:
    """The culprit's traceback, once, and where it happened."""
    if failure.traceback and not failure.secondary:
        console.print(failure.traceback.rstrip(), markup=False, highlight=False, soft_wrap=True)
    place = f" at {failure.where()}" if failure.where() else ""
    console.print(f"failed{place}: {failure.message}", markup=False, style="red", soft_wrap=True)


def announce(console: Console, experiment: Experiment, pending: int, warnings: list[str]) -> None:
    """What is about to run, and where to."""
    print_warnings(console, warnings)
    existing = len(experiment.entries) - pending
    note = f", {existing} of them exist already" if existing else ""
    runs = f"{len(experiment.entries)} run{'s' if len(experiment.entries) > 1 else ''}"
    _plain(console, f"{experiment.plan.name}: {runs}{note} -> {experiment.directory}")


def print_warnings(console: Console, warnings: list[str]) -> None:
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)


def close(console: Console, results: Results, *, report: bool) -> None:
    """Mean and standard deviation over seeds of the last values, what failed, and where the report is."""
    rows = mean_table(results)
    names = [n for n in LABELS if n == "optimizer" or len({row[n] for row in rows}) > 1]
    most = next(count for width, count in METRICS_BY_WIDTH if console.width >= width)
    metrics = [m for m in HEADLINES if any(f"{m}_mean" in row for row in rows)][:most]
    table = Table(*[escape(", ".join(short_paths(results.swept))) if n == "cell" else n for n in names])
    for metric in [*metrics, "n"]:
        table.add_column(metric.replace("_", " "), justify="right", no_wrap=True)
    for row in rows:
        lost = f" (+{row['diverged']} diverged)" if row["diverged"] else ""
        table.add_row(
            *[escape(values_of(str(row[n])) if n == "cell" else str(row[n])) for n in names],
            *[_mean_std(row, m) for m in metrics],
            f"{row['n']}{lost}",
        )
    console.print(table)
    print_warnings(console, unknown_targets(results))
    if results.failed:
        console.print(f"{len(results.failed)} run(s) failed; run.json of each has the error", style="red")
    place = results.directory / ("report.html" if report else "results.csv")
    _plain(console, f"{'report' if report else 'results'}: {place}")


def _plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def unknown_targets(results: Results) -> list[str]:
    """Targets of metrics that no run has recorded, and so cannot have reached."""
    recorded = results.metrics
    return [
        f"targets: no run has recorded {metric!r}{did_you_mean(metric, recorded)}"
        for metric in results.targets
        if recorded and metric not in recorded
    ]


def _mean_std(row: Mapping[str, Any], metric: str) -> str:
    mean, std = row.get(f"{metric}_mean"), row.get(f"{metric}_std")
    if mean is None:
        return "-"
    return f"{mean:.4g}" + (f" ± {std:.2g}" if std is not None else "")


def _work(entry: Entry) -> Work:
    return Work.of(entry.run.labels, {"trainer": entry.run.trainer, "network": entry.run.network})


def _varying(entries: Sequence[Entry]) -> set[str]:
    """What is not the same in all runs, of their labels and the seed."""
    names = {label for label in LABELS if len({entry.run.labels[label] for entry in entries}) > 1}
    return names | ({"seed"} if len({entry.run.seed for entry in entries}) > 1 else set())
