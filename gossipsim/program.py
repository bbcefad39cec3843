"""How a program of this package ends."""

from __future__ import annotations

import os
import sys

import typer

OK, FAILED, BAD_CONFIGURATION, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


def call(app: typer.Typer) -> None:
    """A program's main; whoever has interrupted it does not wait for torch to be taken to pieces, which takes 0.5 s."""
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
