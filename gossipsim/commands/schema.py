"""`gossipsim schema`."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON Schema of an experiment, for completion in editors: gossipsim schema > experiment.schema.json"""
    from gossipsim.config import experiment_schema

    typer.echo(json.dumps(experiment_schema(), indent=2))
