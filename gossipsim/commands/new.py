"""`gossipsim new`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse
from gossipsim.scaffold import Kind, write_starting_files


def new(
    kind: Annotated[Kind, typer.Argument(help="What to write.", metavar="KIND")],
    name: Annotated[str, typer.Argument(help="A class, MyGossip, or a module, my_gossip.")],
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder of the files.", metavar="DIR")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Start a part of your own, with an experiment and tests that run: gossipsim new strategy MyGossip

    KIND is strategy, optimizer, task, topology or partition. Nothing is registered: the experiment names the class by
    its path, and the folder of an experiment is on the import path.
    """
    try:
        written = write_starting_files(kind, name, folder, force=force)
    except (ValueError, OSError) as error:
        refuse(str(error))
    for path in written:
        typer.echo(f"wrote {path}")
    module, experiment, tests = (shlex.quote(str(path)) for path in written)
    typer.echo("\nNext:")
    typer.echo(f"  gossipsim plan {experiment}")
    typer.echo(f"  python -m pytest {tests}")
    typer.echo(f"  gossipsim run {experiment}")
    typer.echo(f"\nThen make {module} yours.")
