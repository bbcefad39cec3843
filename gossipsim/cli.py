"""The command `gossipsim`: which commands there are. Each is a module of `gossipsim.commands`, or of the runner."""

from __future__ import annotations

import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from gossipsim.commands.animate import animate
from gossipsim.commands.bench import bench
from gossipsim.commands.check import check
from gossipsim.commands.cite import cite
from gossipsim.commands.compare import compare
from gossipsim.commands.doctor import doctor
from gossipsim.commands.export import export
from gossipsim.commands.new import new
from gossipsim.commands.plan import plan
from gossipsim.commands.report import report
from gossipsim.commands.schema import schema
from gossipsim.commands.slurm import slurm
from gossipsim.commands.table import table
from gossipsim.commands.topology import topology
from gossipsim.commands.watch import watch
from gossipsim.program import call, one_line
from gossipsim.runner import run_command


class Commands(TyperGroup):
    """Ends every command that cannot write what it makes with one line."""

    def invoke(self, ctx: Any) -> Any:
        with one_line():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Decentralized optimization on real processes: one config, the same bits in one process and in many.",
)

EXPERIMENTS, RESULTS, LOOKING = "Experiments", "Results", "Looking around"

app.command("run", rich_help_panel=EXPERIMENTS)(run_command)
app.command(rich_help_panel=EXPERIMENTS)(plan)
app.command(rich_help_panel=EXPERIMENTS)(check)
app.command(rich_help_panel=EXPERIMENTS)(slurm)
app.command(rich_help_panel=EXPERIMENTS)(watch)
app.command(rich_help_panel=RESULTS)(report)
app.command(rich_help_panel=RESULTS)(animate)
app.command(rich_help_panel=RESULTS)(cite)
app.command(rich_help_panel=RESULTS)(table)
app.command(rich_help_panel=RESULTS)(compare)
app.command(rich_help_panel=RESULTS)(export)
app.command(rich_help_panel=EXPERIMENTS)(new)
app.command(rich_help_panel=LOOKING)(topology)
app.command(rich_help_panel=LOOKING)(schema)
app.command(rich_help_panel=LOOKING)(doctor)
app.command(rich_help_panel=LOOKING)(bench)


def main() -> None:
    """Entry point of the console script."""
    warnings.showwarning = _say
    call(app)


def _say(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Our own warnings are about a person's files, not about a line of a program."""
    text = warnings.formatwarning(message, category, filename, lineno)
    typer.echo(f"warning: {message}\n" if category.__module__.startswith("gossipsim.") else text, err=True, nl=False)
