"""`gossipsim bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gossipsim.commands.refusal import refuse


def bench(
    suites: Annotated[list[str] | None, typer.Argument(help="Some of them, by name; all without.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats; medians are shown.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the JSON, as far as it is measured.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures: a .png, .pdf or .svg file.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Name the benchmarks; measure nothing.")] = False,
) -> None:
    """Measure speed on this machine against bare loops, with goals: gossipsim bench --repeats 7"""
    from gossipsim.bench import SUITES, measure, summary_of

    if unknown := sorted(set(suites or ()) - set(SUITES)):
        refuse(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if plot is not None and plot.suffix not in (".png", ".pdf", ".svg"):
        refuse(f"--plot {plot}: the name must end in .png, .pdf or .svg")
    for file in (output, plot):
        if file is not None and not file.absolute().parent.is_dir():
            refuse(f"{file}: there is no folder {file.parent}; make it first")
    if listing:
        for name in suites or SUITES:
            typer.echo(f"{name:18} {summary_of(name)}")
        return
    telling = Console(stderr=True)

    def keep(measured: dict[str, Any]) -> None:
        if output is not None:
            output.write_text(json.dumps(measured, indent=2) + "\n")

    measured = measure(repeats, suites, lambda name: telling.print(f"measuring {name} ..."), keep)
    if plot is not None:
        from gossipsim.report.benchmarks import draw

        draw(measured, plot)
    if as_json:
        typer.echo(json.dumps(measured, indent=2))
    else:
        _show(measured)


def _show(measured: dict[str, Any]) -> None:
    from gossipsim.bench import table
    from gossipsim.runner import terminal

    console = terminal()
    console.print(table(measured))
    about = measured["machine"]
    names = ("processor", "cores", "threads per process", "python", "torch", "numpy", "gossipsim")
    console.print("; ".join(f"{name}: {about[name]}" for name in names), highlight=False)
    if measured["caution"]:
        console.print(measured["caution"], style="yellow")
