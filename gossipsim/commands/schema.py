"""`gossipsim schema`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

Document = Literal["experiment", "task", "models", "optimizers"]


def schema(
    of: Annotated[Document, typer.Option(help="Which file: an experiment, or one of a task directory.")] = "experiment",
) -> None:
    """Print the JSON Schema of a file, for completion in editors: gossipsim schema > experiment.schema.json"""
    from gossipsim.schema import schema_of

    typer.echo(json.dumps(schema_of(of), indent=2))
