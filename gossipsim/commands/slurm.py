"""`gossipsim slurm`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gossipsim.commands.refusal import refuse
from gossipsim.options import ALLOW, overrides_of, parse_allow, parse_jobs, parse_processes, parse_seeds
from gossipsim.program import FAILED, OK
from gossipsim.runner import terminal

if TYPE_CHECKING:
    from submitit import Job

    from gossipsim.experiment import Experiment


def slurm(
    config: Annotated[Path, typer.Argument(help="An experiment file.")],
    job_count: Annotated[int | None, typer.Option(min=1, help="How many jobs share the runs.")] = None,
    runs_per_job: Annotated[int | None, typer.Option(min=1, help="Or: how many runs a job has.")] = None,
    partition: Annotated[str | None, typer.Option(help="Of the cluster.")] = None,
    time: Annotated[str, typer.Option(help="Of a job: minutes or HH:MM:SS. Then it is queued again.")] = "60",
    cpus: Annotated[int, typer.Option(min=1, help="Cores of a job.")] = 8,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a job.")] = 0,
    executor: Annotated[Literal["slurm", "local"], typer.Option(help="local: subprocesses here.")] = "slurm",
    processes: Annotated[str, typer.Option(help="As in `gossipsim run`.")] = "auto",
    jobs: Annotated[str, typer.Option(help="Runs at a time within a job, as in `gossipsim run`.")] = "auto",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=V", help="Override a dotted path.")] = None,
    seeds: Annotated[str | None, typer.Option(help="0:5, 1,7 or 3, in place of the config's.")] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="PREFIX", help=ALLOW)] = None,
    exp_id: Annotated[int | None, typer.Option(min=1, help="Reuse exp_XXXX.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new exp_XXXX in any case.")] = False,
    workflow: Annotated[Path | None, typer.Option(help="Where exp_XXXX go.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, in place of the config's.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the jobs, then make tables and report.")] = False,
) -> None:
    """Run a sweep as Slurm jobs: gossipsim slurm CONFIG --runs-per-job 12 --partition cpu --time 02:00:00

    Without --wait, `gossipsim report DIR` makes tables and report when the jobs have ended. The same command submits
    again what then has no result. One run over several machines: launch/slurm.sbatch.
    """
    try:
        if job_count is not None and runs_per_job is not None:
            raise ValueError("--job-count and --runs-per-job say the same: give one of them")
        overrides = overrides_of(set_, workflow, device)
        wanted = None if seeds is None else parse_seeds(seeds)
        parameters: dict[str, Any] = {"timeout_min": _minutes(time), "cpus_per_task": cpus, "name": "gossipsim"}
        ranks, at_a_time = parse_processes(processes), parse_jobs(jobs)
        allowed = parse_allow(allow or [])
    except ValueError as error:
        refuse(str(error))
    if gpus:
        parameters["gpus_per_node"] = gpus
    if partition is not None:
        parameters["slurm_partition"] = partition
    from gossipsim.config import ConfigError, plan
    from gossipsim.execution import Local
    from gossipsim.experiment import Experiment, preflight
    from gossipsim.slurm import Cluster, check_cluster, submit

    try:
        check_cluster(executor)
        made = plan(config, overrides=overrides, seeds=wanted, allow=allowed)
        preflight(made)
        experiment = Experiment.open(made, exp_id=exp_id, new=new)
        cluster = Cluster(experiment.directory, executor, parameters)
        submitted = submit(
            experiment,
            Local(ranks, at_a_time, in_process=False),
            cluster,
            job_count=job_count,
            runs_per_job=runs_per_job,
        )
    except ConfigError as error:
        refuse("\n".join(error.errors))
    ids = ", ".join(job.job_id for job in submitted) or "none, every run has a result"
    typer.echo(f"{made.name}: jobs {ids} -> {experiment.directory}")
    if not wait:
        typer.echo(f"when they have ended: gossipsim report {experiment.directory}")
        return
    raise typer.Exit(_finish(experiment, submitted))


def _minutes(text: str) -> int:
    found = re.fullmatch(r"(\d+)(?::(\d\d):(\d\d))?", text)
    if not found:
        raise ValueError(f"--time {text}: give minutes, or HH:MM:SS")
    first, minutes, seconds = found.groups()
    total = int(first) if minutes is None else 60 * int(first) + int(minutes) + (int(seconds) > 0)
    if total == 0:
        raise ValueError(f"--time {text}: a job needs at least a minute")
    return total


def _finish(experiment: Experiment, submitted: list[Job[Any]]) -> int:
    """Waits for the jobs; then tables and report, whatever became of them."""
    from gossipsim.display import close
    from gossipsim.report import build, write_readme

    for job in submitted:
        if (error := job.exception()) is not None:
            typer.echo(f"job {job.job_id}: {error}", err=True)
    results = experiment.finish({})
    write_readme(results)
    build(results)
    close(terminal(), results, report=True)
    return FAILED if results.failed or experiment.pending() else OK
