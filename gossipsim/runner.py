"""`python -m gossipsim.runner --config X`: the options of a run, and who executes it.

Alone it starts the processes itself; under torchrun it joins them. `gossipsim run` is the same function. Heavy modules
are imported when a run begins, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gossipsim.options import (
    ALLOW,
    Options,
    overrides_of,
    parse_allow,
    parse_jobs,
    parse_processes,
    parse_seeds,
    parse_track,
)
from gossipsim.program import BAD_CONFIGURATION, FAILED, INTERRUPTED, OK, call, lasting_output
from gossipsim.spec import printable

if TYPE_CHECKING:
    from gossipsim.config import Plan
    from gossipsim.results import Results
    from gossipsim.world import Transport

SECONDS_TO_SPEAK = 5.0
"""How long other ranks of a torchrun job wait before they exit, while rank 0 prints what is wrong."""

WIDTH_OF_A_FILE = 160
"""Columns of tables that go to a file or a pipe."""


def run(
    config: str | Path | Mapping[str, Any],
    *,
    processes: int | str = 1,
    overrides: Mapping[str, Any] | None = None,
    workflow: str | Path | None = None,
    report: bool = False,
    allow: Sequence[str] = (),
) -> Results:
    """Runs an experiment and reads it back.

    Args:
        config: path of an experiment file, or its content.
        processes: ranks per run: a number, "nodes" (one per node) or "auto" (min(nodes, cores)). 1 stays in this
            process, where `breakpoint()` works.
        overrides: {dotted path: value}, as `--set` on the command line.
        workflow: where the experiment directories go, in place of the config's `workflow`.
        report: also make plots and report.html (`gossipsim report DIR` does so later).
        allow: prefixes such as "torch.optim"; class paths outside of them and of gossipsim are errors. None given: no
            such limit.

    Returns:
        The experiment's runs; one that failed or diverged is there with its status.

    Raises:
        ConfigError: for a bad configuration, with every error in it; nothing is written then.
        CannotWrite: where the disk does not take the tables; what runs have left is there.
    """
    changes = dict(overrides or {}) | ({"workflow": str(workflow)} if workflow is not None else {})
    options = Options(config, processes, changes, report=report, allow=parse_allow(allow))
    return run_locally(options, Console(quiet=True))


def make_plan(options: Options) -> tuple[Plan, list[str]]:
    """Reads and checks everything; writes nothing. Returns the plan and warnings.

    Raises:
        ConfigError: with every error found.
    """
    from gossipsim.config import ConfigError, plan

    made = plan(options.config, overrides=options.overrides, seeds=options.seeds, allow=options.allow)
    from gossipsim.experiment import preflight  # torch: a misspelt file name is told without it

    problems = _process_problems(made, options)
    try:
        warnings = preflight(made)
    except ConfigError as error:
        problems = error.errors + problems
    if problems:
        raise ConfigError(problems)
    return made, warnings


def _process_problems(plan: Plan, options: Options) -> list[str]:
    """Ranks that no cell can use, or that have no GPU of their own."""
    from gossipsim.execution import Local

    largest = max(run.network["nodes"] for run in plan.runs)
    allowed = f"the largest cell has {largest} node(s); use 1 to {largest}"
    if _under_torchrun():
        size = int(os.environ["WORLD_SIZE"])
        return [f"torchrun started {size} ranks, but {allowed}"] if size > largest else []
    if isinstance(options.processes, int) and not 1 <= options.processes <= largest:
        return [f"--processes {options.processes}: {allowed}"]
    return Local(options.processes, options.jobs).device_problems(plan.runs)


def run_locally(options: Options, console: Console) -> Results:
    """All runs on this machine, on processes started from this one."""
    plan, warnings = make_plan(options)
    import torch._dynamo  # noqa: F401  the first optimizer imports it: once here, not in every forked rank

    from gossipsim.conduct import conduct
    from gossipsim.display import announce
    from gossipsim.execution import Local
    from gossipsim.experiment import Experiment

    experiment = Experiment.open(plan, exp_id=options.exp_id, new=options.new)
    with experiment.locked():
        experiment.describe()
        pending = experiment.pending() if options.skip_existing else experiment.begin_anew()
        announce(console, experiment, len(pending), warnings + experiment.cautions())
        return conduct(experiment, pending, Local(options.processes, options.jobs), console, options)


def _run_joined(
    options: Options, plan: Plan, warnings: list[str], transport: Transport, console: Console, *, first: bool
) -> Results | None:
    """All runs on the ranks of a torchrun job; rank 0 keeps the books and returns the results.

    Where this is not the first attempt, torchrun has lost a rank, and all go on with what there is.
    """
    from gossipsim.conduct import conduct
    from gossipsim.config import ConfigError
    from gossipsim.display import FailuresOnly, announce
    from gossipsim.experiment import Experiment
    from gossipsim.joined import Joined

    joined = Joined(transport)
    if joined.rank != 0:
        answer = joined.agree(None)
        if answer is None:
            raise ConfigError([])
        experiment = Experiment(plan, Path(answer["directory"]))
        pending = [experiment.entries[i] for i in answer["pending"]]
        joined.execute(pending, FailuresOnly(Console(stderr=True)))
        transport.close()
        return None
    with ExitStack() as stack:
        try:
            experiment = Experiment.open(plan, exp_id=options.exp_id, new=options.new and first)
            stack.enter_context(experiment.locked())
            experiment.describe()
        except BaseException:
            joined.agree(None)
            raise
        pending = experiment.pending() if options.skip_existing or not first else experiment.begin_anew()
        places = [experiment.entries.index(entry) for entry in pending]
        joined.agree({"directory": str(experiment.directory.resolve()), "pending": places})
        announce(console, experiment, len(pending), warnings + experiment.cautions())
        results = conduct(experiment, pending, joined, console, options)
    transport.close()
    return results


def _preview(options: Options, console: Console, form: str) -> int:
    """Checks the configuration and lists the runs that there would be, as "text" or "json"; writes nothing."""
    plan, warnings = make_plan(options)
    from gossipsim.display import print_warnings
    from gossipsim.preview import list_runs, runs_survey, would_run

    experiment, pending = would_run(plan, options)
    warnings += experiment.cautions()
    if form == "json":
        console.print_json(data=runs_survey(experiment, pending) | {"warnings": warnings})
        return OK
    print_warnings(console, warnings)
    list_runs(console, experiment, pending)
    return OK


def run_command(
    config: Annotated[Path | None, typer.Argument(help="An experiment file.", show_default=False)] = None,
    config_option: Annotated[
        Path | None, typer.Option("--config", help="The same, as an option.", show_default=False)
    ] = None,
    processes: Annotated[
        str,
        typer.Option(help="Ranks per run: auto = min(nodes, cores), nodes = one per node, or a number; 1 debugs."),
    ] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=V", help="Override a dotted path, e.g. trainer.params.epochs=3."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="0:5, 1,7 or 3, in place of the config's.")] = None,
    exp_id: Annotated[int | None, typer.Option(min=1, help="Reuse exp_XXXX; runs with a result are skipped.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new exp_XXXX in any case.")] = False,
    no_skip_existing: Annotated[bool, typer.Option("--no-skip-existing", help="Run again what has a result.")] = False,
    workflow: Annotated[Path | None, typer.Option(help="Where exp_XXXX go, in place of the config's.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, in place of the config's.")] = None,
    jobs: Annotated[str, typer.Option(help="Runs at a time: a number, or auto = cores / ranks per run.")] = "1",
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="Also log to tensorboard, wandb or trackio; may be given several times."),
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="PREFIX", help=ALLOW)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list the runs; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")] = False,
) -> None:
    """Run an experiment: gossipsim run configs/experiments/quickstart.json

    The same command resumes what was interrupted. Under torchrun, `python -m gossipsim.runner --config CONFIG` joins
    the job's ranks. Exit codes: 0 every run has a result, 1 a run failed, 2 bad usage or configuration, 130
    interrupted.
    """
    try:
        if (config is None) == (config_option is None):
            raise ValueError("give one experiment file, e.g. configs/experiments/quickstart.json")
        if as_json and not dry_run:
            raise ValueError("--json goes with --dry-run; `gossipsim export` has the results")
        if exp_id is not None and new:
            raise ValueError("--exp-id reuses an experiment, --new begins one: give one of them")
        options = Options(
            config=config or config_option or Path(),
            processes=parse_processes(processes),
            overrides=overrides_of(set_, workflow, device),
            seeds=parse_seeds(seeds) if seeds is not None else None,
            exp_id=exp_id,
            new=new,
            skip_existing=not no_skip_existing,
            jobs=parse_jobs(jobs),
            track=parse_track(track or [], speaks=_speaks()),
            allow=parse_allow(allow or []),
        )
    except ValueError as error:
        raise typer.Exit(_refuse([str(error)])) from error
    form = "json" if as_json else "text"
    raise typer.Exit(run_options(options, preview=form if dry_run else None))


def _refuse(errors: list[str]) -> int:
    """Prints one line per error, on one rank only."""
    if not _speaks():
        time.sleep(SECONDS_TO_SPEAK)  # torchrun ends rank 0 as soon as another rank exits
        return BAD_CONFIGURATION
    for line in errors:
        Console(stderr=True).print(printable(line), markup=False, highlight=False, soft_wrap=True)
    return BAD_CONFIGURATION


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _speaks() -> bool:
    """Whether it is this process that talks to people: of the ranks of a torchrun job, rank 0."""
    return not _under_torchrun() or os.environ["RANK"] == "0"


def terminal(*, quiet: bool = False, lasting: bool = False) -> Console:
    """A console as wide as the terminal, or as a file is when its tables are read there.

    Args:
        lasting: what is done matters more than that it is told.
    """
    console = Console(quiet=quiet, file=lasting_output() if lasting else None)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    return console


def run_options(options: Options, preview: str | None = None) -> int:
    """Runs, or only shows what would run; returns the exit code."""
    from gossipsim.config import ConfigError
    from gossipsim.results import CannotWrite

    console = terminal(quiet=not _speaks(), lasting=preview is None)
    try:
        if preview is not None:
            return _preview(options, console, preview)
        results = _run_somewhere(options, console)
    except ConfigError as error:
        return _refuse(error.errors)
    except CannotWrite as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return FAILED
    except KeyboardInterrupt as interrupt:
        text = f"interrupted; {interrupt}" if str(interrupt) else "interrupted"
        console = Console(stderr=True, quiet=not _speaks())
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
        return INTERRUPTED
    if results is None:
        return OK
    from gossipsim.display import close

    close(console, results, report=options.report)
    return FAILED if results.failed else OK


def _run_somewhere(options: Options, console: Console) -> Results | None:
    if not _under_torchrun():
        with _terminable():
            return run_locally(options, console)
    from gossipsim.config import ConfigError
    from gossipsim.world import joined_by_torchrun

    plan, warnings = make_plan(options)
    try:
        joined = joined_by_torchrun(plan.runs[0].trainer["params"].get("device", "cpu"))
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    assert joined is not None
    transport, attempt = joined
    return _run_joined(options, plan, warnings, transport, console, first=attempt == 1)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, as schedulers send it, ends a run like Ctrl-C: it is recorded as interrupted."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Entry point of `python -m gossipsim.runner`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run_command)
    call(app)


if __name__ == "__main__":
    main()
