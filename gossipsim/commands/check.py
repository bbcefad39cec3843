"""`gossipsim check`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gossipsim.commands.refusal import refuse
from gossipsim.options import Options, parse_allow, parse_overrides, parse_processes, parse_seeds
from gossipsim.program import FAILED, INTERRUPTED, OK
from gossipsim.runner import run_locally, terminal


def check(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment file with `gates`; without one, ours.", show_default=False)
    ] = None,
    processes: Annotated[str, typer.Option(help="As for run.")] = "auto",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=V", help="As for run.")] = None,
    seeds: Annotated[str | None, typer.Option(help="As for run.")] = None,
    workflow: Annotated[Path | None, typer.Option(help="As for run.")] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="PREFIX", help="As for run.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="A strategy: class path, or JSON with class and params.", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the verdicts of a file's gates as JSON.")] = False,
) -> None:
    """Run convergence gates anew and judge them: gossipsim check configs/experiments/lasso_defw.json

    Without a file: what theory says about the graphs and strategies that ship, measured. With --strategy the same and
    the laws for one strategy, yours too: gossipsim check --strategy my_package.MyStrategy. A table of PASS and FAIL,
    and check.md in an experiment's directory. Exit codes: 0 all pass, 1 a gate or a run failed, 2 bad usage or
    configuration, 130 interrupted.
    """
    if config is not None and strategy is not None:
        refuse("check: give a file or --strategy, not both")
    if config is None and (json_ or allow):
        refuse("check: --json and --allow are for the gates of a file; give one")
    try:
        overrides = parse_overrides(set_ or []) | ({} if workflow is None else {"workflow": str(workflow)})
        listed = parse_seeds(seeds) if seeds is not None else None
        ranks, allowed = parse_processes(processes), parse_allow(allow or [])
    except ValueError as error:
        refuse(str(error))
    if config is None:
        raise typer.Exit(exit_code(lambda: _theory_holds(strategy)))
    options = Options(config, processes=ranks, overrides=overrides, seeds=listed, new=True, allow=allowed)
    raise typer.Exit(exit_code(lambda: gates_pass(options, as_json=json_)))


def exit_code(passes: Callable[[], bool]) -> int:
    """Of a check, which is carried out here: `OK` where it passes, `FAILED` where not, and what interrupts it."""
    from gossipsim.config import ConfigError

    try:
        return OK if passes() else FAILED
    except ConfigError as error:
        refuse("\n".join(error.errors))
    except ValueError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED


def _theory_holds(strategy: str | None) -> bool:
    """The gates from theory, of one strategy with the laws, or of all that ship and of graphs."""
    from gossipsim.checks import named, shipped, tell_theory

    if strategy is not None:
        return tell_theory(terminal(), [named(strategy)], shared=False, with_laws=True)
    return tell_theory(terminal(), shipped(), shared=True, with_laws=False)


def gates_pass(options: Options, *, as_json: bool = False) -> bool:
    """Runs one experiment, judges its gates, writes check.md beside its results and prints a table, or JSON alone."""
    from gossipsim.checks import judge, markdown, plain, table
    from gossipsim.config import plan
    from gossipsim.results import write_text

    made = plan(options.config, overrides=options.overrides, seeds=options.seeds, allow=options.allow)
    if not made.gates:
        raise ValueError(
            f'{options.config}: there is nothing to check; add "gates", e.g. '
            '[{"metric": "train_loss", "comparison": "<=", "threshold": 0.1}]'
        )
    console = terminal(quiet=as_json, lasting=not as_json)
    results = run_locally(options, console)
    verdicts = judge(results, made.gates)
    write_text(results.directory / "check.md", markdown(made.name, verdicts))
    console.print(table(verdicts))
    console.print(f"check: {results.directory / 'check.md'}", markup=False, highlight=False, soft_wrap=True)
    passed = all(verdict.passed for verdict in verdicts) and not results.failed
    if as_json:
        found = {"passed": passed, "directory": str(results.directory), "failed_runs": len(results.failed)}
        typer.echo(json.dumps(found | {"gates": plain(verdicts)}, indent=2))
    return passed
