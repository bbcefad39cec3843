"""What is left of an experiment, carried out: runs under a progress display, then tables and report."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Protocol

from rich.console import Console

from gossipsim.display import Display, print_warnings
from gossipsim.execution import Observer
from gossipsim.experiment import Entry, Experiment
from gossipsim.observers import Failures, Observers, TotalSteps
from gossipsim.options import Options
from gossipsim.results import Results
from gossipsim.trackers import Tracking, open_trackers


class Executor(Protocol):
    """Runs entries one way or another: :class:`gossipsim.execution.Local` or :class:`gossipsim.joined.Joined`."""

    def execute(self, entries: list[Entry], observer: Observer) -> None: ...


def conduct(
    experiment: Experiment, pending: list[Entry], executor: Executor, console: Console, options: Options
) -> Results:
    """Executes what is pending under a progress display, then makes tables and report; after Ctrl-C tables only."""
    trackers = open_trackers(options.track, experiment.directory, experiment.plan.name)
    failures, finished = Failures(), False
    try:
        with (
            Display(console, experiment.entries, pending) as display,
            Tracking(trackers, lambda text: print_warnings(console, [text])) as tracking,
        ):
            executor.execute(pending, Observers(display, failures, TotalSteps(), tracking))
        finished = True
    except KeyboardInterrupt:
        left = len(experiment.pending())
        done = f"{len(experiment.entries) - left} of {len(experiment.entries)} runs have a result"
        raise KeyboardInterrupt(f"{done}; the same command resumes: {_resuming(sys.argv)}") from None
    finally:
        results = experiment.finish(failures.by_directory)
        _make_report(results, console, full=options.report and finished)
    return results


def _resuming(command: list[str]) -> str:
    """The command that goes on with what this one has begun."""
    program, *arguments = command
    started_as = {"runner.py": "python -m gossipsim.runner", "__main__.py": "python -m gossipsim"}
    again = [argument for argument in arguments if argument not in ("--new", "--no-skip-existing")]
    return f"{started_as.get(Path(program).name, Path(program).name)} {shlex.join(again)}"


def _make_report(results: Results, console: Console, *, full: bool) -> None:
    """The report reads files only and stands above this module: it is named, not imported.

    The results are safe by now: what goes wrong here is told, and `gossipsim report` can try again.
    """
    try:
        report = import_module("gossipsim.report")
        report.write_readme(results)
        if full:
            report.build(results)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        warning = f"warning: no report ({reason}); try `gossipsim report {results.directory}`"
        console.print(warning, style="yellow", markup=False, soft_wrap=True)
