"""`gossipsim watch`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossipsim.commands.refusal import refuse
from gossipsim.program import FAILED, OK
from gossipsim.runner import terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from gossipsim.progress import Snapshot

NOBODY = "nobody is at work here; the command that began this experiment resumes it"


def watch(
    directory: Annotated[Path, typer.Argument(help="An experiment (exp_0001) or a workflow, then its newest.")],
    once: Annotated[bool, typer.Option("--once", help="Show the state of now and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line per look.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Watch an experiment from its files, also from another machine: gossipsim watch workflow/quickstart

    Runs under way with their steps, latest loss, speed and time left, and how the others ended. Ends when every run is
    complete, diverged or failed, and with exit code 1 where others are left and nobody is at work any more. Where the
    output is not a terminal it prints a line whenever a run has ended.
    """
    from gossipsim.progress import read_snapshot
    from gossipsim.results import experiment_in

    console = terminal()
    try:
        snapshot = read_snapshot(experiment_in(directory))
        if as_json:
            snapshot = _print_json(snapshot, once, interval)
        elif once:
            console.print(_picture(snapshot))
        else:
            snapshot = _follow(console, snapshot, interval)
    except (FileNotFoundError, ValueError) as error:
        refuse(str(error))
    except KeyboardInterrupt:
        raise typer.Exit from None
    raise typer.Exit(FAILED if snapshot.abandoned and not once else OK)


def _print_json(snapshot: Snapshot, once: bool, interval: float) -> Snapshot:
    from gossipsim.progress import read_snapshot

    typer.echo(json.dumps(snapshot.as_json()))
    while not (once or snapshot.ended or snapshot.abandoned):
        time.sleep(interval)
        snapshot = read_snapshot(snapshot.directory, snapshot)
        typer.echo(json.dumps(snapshot.as_json()))
    return snapshot


def _follow(console: Console, snapshot: Snapshot, interval: float) -> Snapshot:
    """Draws in place on a terminal; elsewhere a line whenever the counts have changed. Returns what it saw last."""
    from rich.live import Live

    from gossipsim.progress import read_snapshot

    told = None
    with Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live:
        while True:
            if console.is_terminal:
                live.update(_picture(snapshot), refresh=True)
            elif told != (told := snapshot.statuses):
                _plain(console, snapshot.sentence())
            if snapshot.abandoned and not console.is_terminal:
                _plain(console, NOBODY)
            if snapshot.ended or snapshot.abandoned:
                return snapshot
            time.sleep(interval)
            snapshot = read_snapshot(snapshot.directory, snapshot)


def _plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _picture(snapshot: Snapshot) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from gossipsim.progress import draw

    head = Text(f"{snapshot.name}  ", style="bold").append(str(snapshot.directory), style="dim not bold")
    parts: list[RenderableType] = [
        head,
        draw([run.line() for run in snapshot.under_way], snapshot.overall(), snapshot.varying),
    ]
    if snapshot.abandoned:
        parts.append(Text(NOBODY, style="dim"))
    return Group(*parts)
