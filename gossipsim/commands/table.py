"""`gossipsim table`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse


class Format(StrEnum):
    """How a table is written."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


class Spread(StrEnum):
    """What stands behind ±."""

    STD = "std"
    CI95 = "ci95"


def table(
    directory: Annotated[Path, typer.Argument(help="An experiment (exp_0001) or a workflow, then its newest.")],
    format_: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.MARKDOWN,
    metrics: Annotated[str | None, typer.Option(metavar="A,B", help="Metrics; the first ranks.")] = None,
    rows: Annotated[
        str | None,
        typer.Option(metavar="AXIS,...", help="With --columns: the lines; the last is compared. Default: optimizer."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="AXIS", help="One metric against two axes: what the columns are.")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(metavar="AXIS=VALUE", help="Only these cells.")] = None,
    spread: Annotated[
        Spread, typer.Option(help="Standard deviation, or half the 95% confidence interval.")
    ] = Spread.STD,
) -> None:
    """Print a table for a paper: gossipsim table workflow/quickstart --format latex --columns topology

    A line per cell and a column per metric; with --columns a line per optimizer (or what --rows says) and a column per
    value of that axis: task, model, optimizer, cell, or a swept path. Mean ± spread over seeds, best and ties marked.
    """
    from gossipsim.report.grids import Axes, listing, pivot
    from gossipsim.report.tables import comma_separated, latex, markdown
    from gossipsim.results import load

    wanted = metrics.split(",") if metrics else []
    try:
        results = load(directory)
        cells = Axes(results.swept).where(results.selected_cells, where or [])
        if columns is None and rows is not None:
            raise ValueError("--rows needs --columns")
        if columns is None:
            grid = listing(cells, wanted)
        elif len(wanted) > 1:
            raise ValueError(f"--metrics {metrics}: a table with --columns shows one metric")
        else:
            grid = pivot(cells, results.swept, (rows or "optimizer").split(","), columns, wanted[0] if wanted else None)
    except (FileNotFoundError, ValueError) as error:
        refuse(str(error))
    if format_ is Format.CSV:
        typer.echo(comma_separated(grid), nl=False)
    else:
        made = latex if format_ is Format.LATEX else markdown
        typer.echo(made(grid, spread=spread.value), nl=False)
