"""`gossipsim animate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossipsim.commands.refusal import refuse

if TYPE_CHECKING:
    from gossipsim.results import Results, Run


def animate(
    directory: Annotated[
        Path, typer.Argument(help="A run (.../seed_0), an experiment, or a workflow, then its newest.", metavar="RUN")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=".gif or .mp4; else animations/*.gif of the experiment.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Of an experiment: words of the run's labels, e.g. 'Adam ring seed_1'.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Of the upper curve, e.g. train_loss.")] = None,
    value: Annotated[
        str, typer.Option(help="What nodes are coloured by: distance, or their own local_test_accuracy.")
    ] = "distance",
    frames: Annotated[int, typer.Option(min=2, help="Frames, at most.")] = 100,
    fps: Annotated[float, typer.Option(min=0.5, max=50, help="Frames a second.")] = 12.0,
) -> None:
    """Animate a run from its files: gossipsim animate workflow/quickstart --run 'ring seed_0' -o out.gif

    The graph, its nodes coloured by how far each is from the mean, beside the curves. Of an experiment it is the first
    complete run that --run fits. An .mp4 needs ffmpeg.
    """
    from gossipsim.report.animation import Look, animate

    try:
        results, chosen = _choose(directory, run)
        written = animate(results, chosen, output, Look(metric, value, frames, fps))
    except (OSError, ValueError) as error:
        refuse(str(error))
    typer.echo(f"run: {chosen.directory}")
    typer.echo(f"animation: {written}")


def _choose(directory: Path, selector: str | None) -> tuple[Results, Run]:
    """The run that is meant, and the results of its experiment.

    Raises:
        ValueError: where there is no such run.
        FileNotFoundError: where there is no experiment.
    """
    from gossipsim.results import load

    if (directory / "run.json").is_file():
        if selector is not None:
            raise ValueError(f"--run {selector!r}: {directory} is a run already; leave it out")
        above = next((path for path in directory.resolve().parents if (path / "resolved.json").is_file()), None)
        if above is None:
            raise ValueError(f"{directory}: the experiment that this run belongs to is not above it (no resolved.json)")
        results = load(above)
        return results, next(run for run in results.runs if run.directory.resolve() == directory.resolve())
    results = load(directory)
    words = (selector or "").lower().split()
    fitting = [run for run in results.runs if all(word in _described(run) for word in words)]
    if not fitting:
        known = ", ".join(dict.fromkeys(_described(run) for run in results.runs[:5]))
        raise ValueError(f"--run {selector!r}: no run has all these words; runs here are {known}, ...")
    with_frames = [run for run in fitting if run.status in ("complete", "diverged") and run.frames()]
    if not with_frames:
        raise ValueError(f"{directory}: no run with a result and with frames (nodes.jsonl) is among the {len(fitting)}")
    return results, min(with_frames, key=lambda run: run.status != "complete")


def _described(run: Run) -> str:
    return " ".join((*run.labels.values(), f"seed_{run.seed}")).lower()
