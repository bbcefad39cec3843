"""`gossipsim export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse


class Records(StrEnum):
    """What is exported."""

    HISTORY = "history"
    STEPS = "steps"
    RUNS = "runs"


def export(
    directory: Annotated[Path, typer.Argument(help="An experiment (exp_0001) or a workflow, then its newest.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write: .parquet or .csv.")],
    records: Annotated[
        Records, typer.Option(help="Evaluations, logged steps, or the last and best values of each run.")
    ] = Records.HISTORY,
) -> None:
    """Write results as long-format data: gossipsim export workflow/quickstart -o results.parquet

    A row per number: task, model, optimizer, cell, the swept paths, seed, status, step, epoch, round, metric, value.
    Parquet needs pyarrow (gossipsim[parquet]).
    """
    from gossipsim.results import export as write
    from gossipsim.results import load

    try:
        write(load(directory), output, records.value)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        refuse(str(error))
    typer.echo(f"{records}: {output}")
