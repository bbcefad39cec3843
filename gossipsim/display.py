"""What a person sees of an experiment: live bars on a terminal, plain lines elsewhere, and a closing table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from gossipsim.experiment import Entry, Experiment
from gossipsim.results import LABELS, Results, mean_table
from gossipsim.world import Failure

HEADLINES = (
    "test_accuracy",
    "val_accuracy",
    "suboptimality",
    "distance",
    "train_loss",
    "consensus",
    "bytes_sent",
)
"""Metrics for the closing table; the first four that a run has."""

_STYLES = {"complete": "green", "diverged": "yellow", "failed": "bold red"}


class Display:
    """Shows runs under way and counts their ends.

    Args:
        total: runs of the experiment. done: of these, runs that have a result already.
        live: draw bars on a terminal; they would draw over the prompt of `breakpoint()` in a run of this process.
    """

    def __init__(self, console: Console, total: int, done: int, *, live: bool = True) -> None:
        self.console = console
        self.statuses: dict[str, int] = {}
        self._total, self._done = total, done
        self._bars: dict[Entry, TaskID] = {}
        self._since: dict[Entry, float] = {}
        self._last: dict[Entry, dict[str, Any]] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (live and console.is_terminal),
        )
        self._overall = self._progress.add_task("runs", total=total, completed=done, note="")

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, entry: Entry) -> None:
        self._since[entry] = time.monotonic()
        self._bars[entry] = self._progress.add_task(f"  {entry.title}", total=None, note="")

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        if "metrics" in message:
            self._last[entry] = message["metrics"]
        note = f"loss {message['loss']:.4g}" if message.get("loss") is not None else None
        changes = {} if note is None else {"note": note}
        self._progress.update(
            self._bars[entry],
            completed=message["step"],
            total=message["total"],
            **changes,  # type: ignore[arg-type]
        )

    def ended(self, entry: Entry, status: str, failure: Failure | None) -> None:
        self._progress.remove_task(self._bars.pop(entry))
        self._progress.advance(self._overall)
        self._done += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        seconds = time.monotonic() - self._since.pop(entry)
        style = _STYLES.get(status, "")
        self.console.print(
            f"[dim]{self._done:>{len(str(self._total))}}/{self._total}[/] [{style}]{status}[/] ",
            f"{entry.title} ",
            f"[dim]{_headline(self._last.pop(entry, {}))} {seconds:.1f} s[/]",
            sep="",
            highlight=False,
            soft_wrap=True,
        )
        if failure is not None:
            print_failure(self.console, failure)


class FailuresOnly:
    """For the ranks of a torchrun job other than rank 0: silent, unless the failure is theirs."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def started(self, entry: Entry) -> None:
        pass

    def progressed(self, entry: Entry, message: dict[str, Any]) -> None:
        pass

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
    metrics = [m for m in HEADLINES if any(f"{m}_mean" in row for row in rows)][:4]
    table = Table(*names)
    for metric in [*metrics, "n"]:
        table.add_column(metric.replace("_", " "), justify="right")
    for row in rows:
        lost = f" (+{row['diverged']} diverged)" if row["diverged"] else ""
        table.add_row(*[str(row[n]) for n in names], *[_mean_std(row, m) for m in metrics], f"{row['n']}{lost}")
    console.print(table)
    if results.failed:
        console.print(f"{len(results.failed)} run(s) failed; run.json of each has the error", style="red")
    place = results.directory / ("report.html" if report else "results.csv")
    _plain(console, f"{'report' if report else 'results'}: {place}")


def _plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _mean_std(row: Mapping[str, Any], metric: str) -> str:
    mean, std = row.get(f"{metric}_mean"), row.get(f"{metric}_std")
    if mean is None:
        return "-"
    return f"{mean:.4g}" + (f" ± {std:.2g}" if std is not None else "")


def _headline(metrics: dict[str, Any]) -> str:
    for name in HEADLINES:
        if metrics.get(name) is not None:
            return f"{name} {metrics[name]:.4g}"
    return ""
