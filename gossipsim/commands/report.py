"""`gossipsim report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse


def report(
    directory: Annotated[Path, typer.Argument(help="An experiment (exp_0001) or a workflow, then its newest.")],
) -> None:
    """Rebuild plots and report.html from files: gossipsim report workflow/quickstart/exp_0001"""
    from gossipsim.report import build
    from gossipsim.results import load, write_tables

    try:
        results = load(directory)
    except (FileNotFoundError, ValueError) as error:
        refuse(str(error))
    write_tables(results)
    typer.echo(f"report: {build(results.directory)}")
