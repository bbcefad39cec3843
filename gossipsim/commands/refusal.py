"""How a command ends that was called wrongly."""

from __future__ import annotations

from typing import NoReturn

import typer

from gossipsim.program import BAD_CONFIGURATION
from gossipsim.spec import printable


def refuse(message: str) -> NoReturn:
    """Prints what is wrong on stderr, a line each, and exits with the code for bad usage."""
    for line in message.split("\n"):
        typer.echo(printable(line), err=True)
    raise typer.Exit(BAD_CONFIGURATION)
