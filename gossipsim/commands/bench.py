"""`gossipsim bench`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from gossipsim.commands.refusal import refuse


def bench(
    suites: Annotated[list[str] | None, typer.Argument(help="Some of them, by name; all without.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats; medians are shown.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure overheads on this machine against bare loops: gossipsim bench --repeats 7"""
    from gossipsim.bench import SUITES, measure, table

    if unknown := sorted(set(suites or ()) - set(SUITES)):
        refuse(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(SUITES)}")
    figures = measure(repeats, suites)
    if as_json:
        typer.echo(json.dumps(figures, indent=2))
    else:
        Console().print(table(figures))
