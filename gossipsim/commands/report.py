"""`gossipsim report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse


def report(
    directory: Annotated[Path, typer.Argument(help="An experiment (exp_0001) or a workflow, then its newest.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths of what was made, as JSON.")] = False,
) -> None:
    """Rebuild plots and report.html from files: gossipsim report workflow/quickstart/exp_0001"""
    from gossipsim.report import build
    from gossipsim.results import load, write_tables

    try:
        results = load(directory)
    except (FileNotFoundError, ValueError) as error:
        refuse(str(error))
    write_tables(results)
    page = build(results)
    if as_json:
        plots = sorted((results.directory / "plots").rglob("*.png"))
        tables = [results.directory / name for name in ("results.csv", "results_mean.csv", "summary.json")]
        made = {"report": str(page), "plots": list(map(str, plots)), "tables": list(map(str, tables))}
        typer.echo(json.dumps(made, indent=2))
    else:
        typer.echo(f"report: {page}")
