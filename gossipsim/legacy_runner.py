"""`python -m gossipsim.legacy_runner`: flags instead of a configuration.

A thin translation: :mod:`gossipsim.legacy` turns the flags into experiments, and these go the way of all others. Their
config.json is a place to go on from.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gossipsim.commands.check import exit_code, gates_pass
from gossipsim.commands.refusal import refuse
from gossipsim.legacy import Flags, checks, matrix, single
from gossipsim.legacy.flags import Constraint, Env, Heterogeneity, Optimizer, Strategy, Task
from gossipsim.legacy.modes import Size
from gossipsim.options import Options, parse_processes, parse_seeds
from gossipsim.program import BAD_CONFIGURATION, INTERRUPTED, call
from gossipsim.results import experiment_in, load
from gossipsim.runner import run_options

Mode = Literal["single", "matrix", "checks"]

_CHOSEN_BY_MODE = {
    "matrix": ("task", "optimizer", "strategy", "topology", "constraint", "radius", "lr", "step_size"),
    "checks": ("task", "optimizer", "strategy", "topology", "heterogeneity", "constraint", "radius", "lr", "step_size"),
}


def legacy_command(
    mode: Annotated[Mode, typer.Option(help="One run, a matrix of many, or convergence checks.")] = "single",
    env: Annotated[Env | None, typer.Option(help="One node, or nodes that gossip.")] = None,
    task: Annotated[Task | None, typer.Option(help="What is minimised: quadratic, if nothing is said.")] = None,
    optimizer: Annotated[
        Optimizer | None, typer.Option(help="Frank-Wolfe, (projected) gradient descent, SGD or Adam: gd.")
    ] = None,
    strategy: Annotated[Strategy | None, typer.Option(help="How nodes gossip: local_then_gossip.")] = None,
    topology: Annotated[str | None, typer.Option(help="ring, complete, ... as `gossipsim topology` has them.")] = None,
    heterogeneity: Annotated[Heterogeneity | None, typer.Option(help="How nodes differ: iid.")] = None,
    n_nodes: Annotated[int | None, typer.Option(min=1, help="Nodes: 8.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Local steps of every node: 200.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate.")] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Dimension of quadratic and logistic: 10.")] = None,
    cond: Annotated[float | None, typer.Option(min=1, help="Condition number of quadratic: 10.")] = None,
    n_samples: Annotated[int | None, typer.Option(min=1, help="Training samples of logistic and mnist.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples per node and step.")] = None,
    constraint: Annotated[Constraint | None, typer.Option(help="The set of fw and pgd: l2.")] = None,
    radius: Annotated[str | None, typer.Option(help="Its radius: a number or auto*V.")] = None,
    step_size: Annotated[str | None, typer.Option(help="Rule of Frank-Wolfe: 2/(t+2), 1/(t+1), 0.1.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="One seed: 0.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several: 0:5, or 1,7.")] = None,
    size: Annotated[Size, typer.Option("--matrix", help="Size of the matrix.")] = "small",
    animate: Annotated[
        bool, typer.Option("--animate", help="Also animate the first run of nodes that gossip.")
    ] = False,
    processes: Annotated[str, typer.Option(help="As for `gossipsim run`.")] = "1",
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    workflow: Annotated[Path, typer.Option(help="Where the experiments go.")] = Path("workflow/legacy"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs; write nothing.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the experiments as JSON and end.")
    ] = False,
) -> None:
    """Runs from flags: python -m gossipsim.legacy_runner --env gossip --task logistic --optimizer fw --topology ring

    The flags become an experiment, which can be printed (--print-config) or found in its folder as config.json, to go
    on with `gossipsim run`. Exit codes as there; --mode checks ends with 1 where a gate fails.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    try:
        flags = _flags(given)
        configs = _configs(mode, flags, size, given)
        ranks = parse_processes(processes)
    except ValueError as error:
        refuse(str(error))
    if print_config:
        typer.echo(json.dumps(configs if len(configs) > 1 else configs[0], indent=2))
        return
    options = [
        Options(config, ranks, {"workflow": str(workflow / config["name"])}, jobs=jobs, new=mode == "checks")
        for config in configs
    ]
    code = max(_conduct(mode, each, dry_run=dry_run) for each in options)
    if not dry_run and code not in (BAD_CONFIGURATION, INTERRUPTED):
        folders = [experiment_in(workflow / config["name"]) for config in configs]
        for folder in folders:
            typer.echo(f"to go on from: gossipsim run {folder / 'config.json'}")
        if animate:
            _animate(folders)
    raise typer.Exit(code)


def _conduct(mode: Mode, options: Options, *, dry_run: bool) -> int:
    """Runs, or checks, one experiment; the exit code."""
    if dry_run:
        return run_options(options, preview="runs")
    if mode == "checks":
        return exit_code(lambda: gates_pass(options))
    return run_options(options)


def _animate(folders: list[Path]) -> None:
    """Animates the first run that has frames of its nodes, and says where."""
    from gossipsim.report.animation import animate

    for results in map(load, folders):
        for run in results.runs:
            if run.status == "complete" and run.frames():
                typer.echo(f"animation: {animate(results, run)}")
                return
    typer.echo("warning: no animation: no complete run has frames of its nodes (2 to 256 leave them)", err=True)


def _flags(given: dict[str, Any]) -> Flags:
    """The flags, with a number for a radius that is one.

    Raises:
        ValueError: for flags that exclude each other.
    """
    if "seed" in given and "seeds" in given:
        raise ValueError("--seeds: --seed gives one already; give one of them")
    values = {name: given[name] for name in Flags.__dataclass_fields__ if name in given and name != "seeds"}
    if "seeds" in given:
        values["seeds"] = parse_seeds(given["seeds"])
    elif "seed" in given:
        values["seeds"] = [given["seed"]]
    with contextlib.suppress(KeyError, ValueError):  # absent, or auto*V
        values["radius"] = float(given["radius"])
    return Flags(**values)


def _configs(mode: Mode, flags: Flags, size: Size, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The experiments of a mode.

    Raises:
        ValueError: with every flag that does not fit.
    """
    chosen = [name for name in _CHOSEN_BY_MODE.get(mode, ()) if name in given]
    wrong = [f"--{name.replace('_', '-')}: --mode {mode} goes through its own; leave it out" for name in chosen]
    if mode != "single" and "env" in given:
        wrong.append(f"--env: --mode {mode} has an environment of its own; leave it out")
    wrong += flags.problems() if mode == "single" else []
    if given["animate"] and mode == "single" and flags.nodes == 1:
        wrong.append("--animate: there is one node; use --env gossip")
    if wrong:
        raise ValueError("\n".join(wrong))
    makers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "single": lambda: [single(flags)],
        "matrix": lambda: matrix(flags, size),
        "checks": lambda: checks(flags),
    }
    return makers[mode]()


def main() -> None:
    """Entry point of `python -m gossipsim.legacy_runner`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(legacy_command)
    call(app)


if __name__ == "__main__":
    main()
