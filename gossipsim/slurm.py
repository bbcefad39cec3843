"""A sweep as jobs of a cluster: each job executes its share of an experiment's runs, in the ordinary way.

submitit (the extra `gossipsim[slurm]`) writes and submits the jobs, an array under Slurm, subprocesses with its local
executor. A job that runs out of time goes back to the queue and continues with what has no result yet.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from gossipsim.config import ConfigError
from gossipsim.display import Display
from gossipsim.execution import Local
from gossipsim.experiment import Entry, Experiment
from gossipsim.program import lasting_output
from gossipsim.results import occupied, read_json, write_json
from gossipsim.spec import allow_only, use_import_path

SECONDS_TO_SUBMIT = 120.0
"""How long a job waits for the launcher that is still submitting its siblings."""


@dataclass(frozen=True)
class Share:
    """What one job does. It carries its runs: editing the configuration while the job waits changes nothing."""

    directory: Path
    entries: list[Entry]
    search_paths: list[Path]
    allow: tuple[str, ...]
    executor: Local

    def __call__(self) -> dict[str, int]:
        """Executes the runs that have no result yet; returns how many runs there are of each status."""
        allow_only(self.allow)
        use_import_path([str(path) for path in self.search_paths])
        import torch._dynamo  # noqa: F401  once here, not in every forked rank

        with occupied(self.directory, shared=True, patience=SECONDS_TO_SUBMIT):
            pending = [entry for entry in self.entries if not entry.has_result()]
            with Display(Console(width=160, file=lasting_output()), self.entries, pending) as display:
                self.executor.execute(pending, display)
        return dict(Counter(entry.status() for entry in self.entries))

    def checkpoint(self) -> Any:
        """What submitit queues when the time of the job is over: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def shares(entries: Sequence[Entry], *, job_count: int | None, runs_per_job: int | None) -> list[list[Entry]]:
    """Consecutive runs for each job, as even as can be."""
    if not entries:
        return []
    count = min(len(entries), job_count or math.ceil(len(entries) / (runs_per_job or 1)))
    bounds = [round(k * len(entries) / count) for k in range(count + 1)]
    return [list(entries[a:b]) for a, b in pairwise(bounds)]


def check_cluster(kind: str) -> None:
    """Whether jobs can be submitted from here.

    Raises:
        ConfigError: where submitit is not installed, or there is no Slurm.
    """
    try:
        import submitit
    except ImportError:
        raise ConfigError(["gossipsim slurm needs submitit: pip install 'gossipsim[slurm]'"]) from None
    if kind == "slurm" and submitit.SlurmExecutor.affinity() < 0:
        raise ConfigError(["--executor slurm: there is no srun on this machine; --executor local needs no cluster"])


class Cluster:
    """The jobs of one experiment, known to later calls through `slurm/jobs.json` of its directory.

    Args:
        kind: "slurm", or "local" for subprocesses of this machine.
        parameters: submitit's.
    """

    def __init__(self, directory: Path, kind: str, parameters: Mapping[str, Any]) -> None:
        import submitit

        self.folder, self.kind = directory / "slurm", kind
        self._submitit = submitit
        self._executor = submitit.AutoExecutor(folder=self.folder, cluster=kind)
        self._executor.update_parameters(**parameters)

    def under_way(self) -> list[str]:
        """Ids of jobs of an earlier submission that are still queued or running."""
        try:
            record = read_json(self.folder / "jobs.json")
        except (OSError, ValueError):
            return []
        kinds = {"slurm": self._submitit.SlurmJob, "local": self._submitit.LocalJob}
        return [one for one in record["jobs"] if not kinds[record["executor"]](self.folder, one).done()]

    def submit(self, work: Sequence[Share]) -> list[Any]:
        """One job per share; returns submitit's jobs."""
        with self._executor.batch():
            jobs = [self._executor.submit(share) for share in work]
        write_json(self.folder / "jobs.json", {"executor": self.kind, "jobs": [job.job_id for job in jobs]})
        return jobs


def submit(
    experiment: Experiment,
    executor: Local,
    cluster: Cluster,
    *,
    job_count: int | None = None,
    runs_per_job: int | None = None,
) -> list[Any]:
    """Splits the runs without a result into jobs and submits them; returns submitit's jobs.

    Raises:
        ConfigError: while jobs of an earlier submission are under way, or another launcher is at work.
    """
    with experiment.locked():
        if busy := cluster.under_way():
            message = f"jobs {', '.join(busy)} are still queued or running; wait for them, or begin anew with --new"
            raise ConfigError([f"{experiment.directory}: {message}"])
        experiment.describe()
        pending = executor.together(experiment.pending())
        directory = experiment.directory.resolve()
        paths = [Path(path).resolve() for path in experiment.plan.search_paths]
        parts = shares(pending, job_count=job_count, runs_per_job=runs_per_job)
        placed = [[Entry(one.run, one.directory.resolve()) for one in part] for part in parts]
        allow = experiment.plan.allow
        return cluster.submit([Share(directory, part, paths, allow, executor) for part in placed]) if placed else []
