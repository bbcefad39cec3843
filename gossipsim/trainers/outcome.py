"""What a run that has come to its end leaves: parameters.npz and summary.json."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.record import Recorder
from gossipsim.results import replacing, write_json
from gossipsim.trainers.evaluation import Evaluator


class Ended(Protocol):
    """A run that has come to its end.

    Attributes:
        diverged: the node that was lost first, None where the mean model alone is not finite, and since which step;
            None: all is finite.
    """

    nodes: Nodes
    mix: Mix
    recorder: Recorder
    evaluator: Evaluator
    diverged: dict[str, int | None] | None


def write_result(directory: Path, status: str, run: Ended, describe: Callable[[], dict[str, Any]]) -> None:
    """Writes both files on rank 0; all processes bring their rows.

    Args:
        describe: what there is to say about the run's parts.

    Raises:
        CannotWrite: naming the file.
    """
    nodes = run.nodes
    rows = nodes.world.collect(nodes.X)
    if nodes.world.rank != 0:
        return
    assert rows is not None
    run.recorder.verify()
    values = rows.cpu().numpy()
    little_endian = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    with replacing(directory / "parameters.npz") as file:
        np.savez(file, params=values)
    summary = {
        "status": status,
        "nodes": nodes.world.nodes,
        "parameters": nodes.layout.d,
        "steps": nodes.step,
        "rounds": run.mix.round,
        "last": run.recorder.last(),
        "best": run.recorder.best(),
        "params_sha256": hashlib.sha256(little_endian.tobytes()).hexdigest(),
    }
    if run.diverged is not None:
        summary["diverged"] = run.diverged
    about = describe()
    if moved := run.evaluator.start_moved:
        about["warnings"] = [
            *about["warnings"],
            f"the start was not feasible and was projected: the parameters moved by {moved:.3g} in the L2 norm",
        ]
    write_json(directory / "summary.json", summary | about)
