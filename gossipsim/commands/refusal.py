"""How a command ends that was called wrongly."""

from __future__ import annotations

from typing import NoReturn

import typer

from gossipsim.runner import BAD_CONFIGURATION


def refuse(message: str) -> NoReturn:
    """Prints what is wrong on stderr and exits with the code for bad usage."""
    typer.echo(message, err=True)
    raise typer.Exit(BAD_CONFIGURATION)
