"""`gossipsim cite`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse


def cite(
    path: Annotated[Path, typer.Argument(help="A run, an experiment, a workflow, or a configuration.", metavar="PATH")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print BibTeX of what a run used: gossipsim cite workflow/quickstart > references.bib

    Strategy, optimizer, feasible set, topology, weights, compression, partition, data and software; what a run did not
    make use of is left out. Works on the files alone.
    """
    from gossipsim.citations import cite, specs_of
    from gossipsim.config import ConfigError
    from gossipsim.spec import in_one_line

    try:
        citations, unknown = cite(*specs_of(path))
    except ConfigError as error:
        refuse("\n".join(error.errors))
    except (OSError, ValueError) as error:
        refuse(in_one_line(error))
    if as_json:
        typer.echo(json.dumps({"citations": [asdict(one) for one in citations], "unknown": unknown}, indent=2))
        return
    for one in citations:
        typer.echo("".join(f"% {reason}\n" for reason in one.reasons) + one.bibtex + "\n")
    for class_path in unknown:
        typer.echo(f"% nothing known of {class_path}")
    if unknown:
        typer.echo(f"nothing is known of {', '.join(unknown)}: cite it yourself", err=True)
