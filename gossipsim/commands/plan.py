"""`gossipsim plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse
from gossipsim.options import Options, overrides_of, parse_allow, parse_jobs, parse_processes, parse_seeds
from gossipsim.runner import make_plan, terminal


def plan(
    config: Annotated[Path, typer.Argument(help="An experiment file.")],
    processes: Annotated[str, typer.Option(help="As for run.")] = "auto",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=V", help="As for run.")] = None,
    seeds: Annotated[str | None, typer.Option(help="As for run.")] = None,
    exp_id: Annotated[int | None, typer.Option(min=1, help="As for run.")] = None,
    workflow: Annotated[Path | None, typer.Option(help="As for run.")] = None,
    jobs: Annotated[str, typer.Option(help="As for run.")] = "1",
    allow: Annotated[list[str] | None, typer.Option(metavar="PREFIX", help="As for run.")] = None,
    no_time: Annotated[
        bool, typer.Option("--no-time", help="Play one round of each kind of run, and estimate no times.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what would run and what it costs, and write nothing: gossipsim plan configs/experiments/quickstart.json

    A row per cell: how many of its runs have a result, nodes, lambda_2 and slem of W, parameters of the model, bytes
    that all nodes together send per round and in a run, rounds, memory of a process, and the time of a run. Memory is
    nodes of the process * (4 rows + state of the strategy + state of an optimizer) + one row + data, beside Python and
    torch. For the times some rounds of each kind of run are played here, up to 2 s each and 20 s in all.
    """
    from gossipsim.config import ConfigError

    try:
        options = Options(
            config,
            processes=parse_processes(processes),
            overrides=overrides_of(set_, workflow, device=None),
            seeds=parse_seeds(seeds) if seeds is not None else None,
            exp_id=exp_id,
            jobs=parse_jobs(jobs),
            allow=parse_allow(allow or []),
        )
        made, warnings = make_plan(options)
        from gossipsim.preview import list_cells, survey, would_run

        experiment, pending = would_run(made, options)
        warnings += experiment.cautions()
    except ConfigError as error:
        refuse("\n".join(error.errors))
    except ValueError as error:
        refuse(str(error))
    found = survey(experiment, pending, options, timed=not no_time)
    if as_json:
        typer.echo(json.dumps(found | {"warnings": warnings}, indent=2))
        return
    from gossipsim.display import print_warnings

    console = terminal()
    print_warnings(console, warnings)
    list_cells(console, experiment, found)
