"""`gossipsim plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse
from gossipsim.options import Options, parse_seeds
from gossipsim.runner import overrides_of, run_options


def plan(
    config: Annotated[Path, typer.Argument(help="An experiment file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=V", help="As for run.")] = None,
    seeds: Annotated[str | None, typer.Option(help="As for run.")] = None,
    workflow: Annotated[Path | None, typer.Option(help="As for run.")] = None,
) -> None:
    """Show what would run, and write nothing: gossipsim plan configs/experiments/quickstart.json

    A row per cell: how many of its runs have a result, nodes, slem of W, parameters of the model, bytes that all nodes
    together send per round, and the memory of one copy of all rows.
    """
    try:
        overrides = overrides_of(set_, workflow, device=None)
        options = Options(config, overrides=overrides, seeds=parse_seeds(seeds) if seeds is not None else None)
    except ValueError as error:
        refuse(str(error))
    raise typer.Exit(run_options(options, preview="cells"))
