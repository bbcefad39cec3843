"""How long ranks take to begin: from torch imported until all have taken their first step and exchanged rows.

    python -m gossipsim.bench.startup RANKS      the figures of one start, as JSON

Every start is that of a process of its own, so that ranks share no more than those of `gossipsim run` do.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from gossipsim.bench.jobs import MLP, images, job, train
from gossipsim.bench.measuring import Figure, Figures
from gossipsim.config import RunSpec
from gossipsim.execution import one_thread
from gossipsim.mixing import warm
from gossipsim.parts import Parts
from gossipsim.preflight import check
from gossipsim.world import Ranks, watch
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport

GOALS = {8: 0.6, 16: 1.0, 64: 2.5, 128: 5.0}
MOST_MEMORY = 25.0


def startup(repeats: int, goals: dict[int, float] = GOALS) -> Figures:
    """A run of an MLP with one rank per node, from the fork to the first step with its exchange on every rank."""
    figures: Figures = {}
    for size, goal in goals.items():
        cold, again, memory = zip(*[_in_a_process(size) for _ in range(repeats)], strict=True)
        figures[f"{size} ranks: first step done"] = Figure(median(cold), "s", at_most=goal)
        figures[f"{size} ranks: first step of the next run"] = Figure(median(again), "s")
        goal_here = MOST_MEMORY if size == 64 else None
        figures[f"{size} ranks: memory of a rank (PSS)"] = Figure(median(memory), "MB", at_most=goal_here)
    return figures


def many_ranks(repeats: int, size: int = 256, steps: int = 20) -> Figures:
    """A quadratic on a ring of real ranks, to the end: the time of the whole run, once."""
    warm()
    task = {"class": "gossipsim.tasks.QuadraticTask", "params": {"nodes": size}}
    parts = job(task, {"class": "gossipsim.models.Vector"}, steps, size)
    check(parts, set())  # as before any run: what it loads and imports is shared by the ranks
    started = time.perf_counter()
    ranks = _ranks(parts.run, size)
    try:
        _reached(ranks, "train", started)
        took = time.perf_counter() - started
    finally:
        ranks.stop()
    return {f"{size} ranks: a quadratic, {steps} steps, to the end": Figure(took, "s")}


def _in_a_process(size: int) -> tuple[float, float, float]:
    """What :func:`start` finds in a fresh process."""
    command = [sys.executable, "-m", "gossipsim.bench.startup", str(size)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cold, again, megabytes = json.loads(said)
    return cold, again, megabytes


def start(size: int) -> tuple[float, float, float]:
    """Seconds to the first step of a first and a second run on the same ranks, and MB per rank."""
    warm()
    parts = job(images(32 * size), MLP, 1, size, log_every=1)
    check(parts, set())  # as before any run: what it loads and imports is shared by the ranks
    started = time.perf_counter()
    ranks = _ranks(parts.run, size)
    try:
        cold = max(moment for moment, _ in _reached(ranks, "train", started))
        again = max(moment for moment, _ in _reached(ranks, "train", time.perf_counter()))
        megabytes = [value for _, value in _reached(ranks, "memory", started)]
        return cold, again, sum(megabytes) / size
    finally:
        ranks.stop()


def _ranks(run: RunSpec, size: int) -> Ranks:
    """Ranks that build the parts of a run anew for every job, as those of an experiment do."""

    def target(transport: Transport, emit: Emit, what: str) -> None:
        if what == "memory":
            emit({"value": _proportional_megabytes()})
            return
        parts = Parts(run)
        last = parts.trainer.steps
        train(parts, transport, lambda step: emit({"value": step}) if step == last else None)

    return Ranks(size, target)


def _reached(ranks: Ranks, what: str, since: float) -> list[tuple[float, Any]]:
    """When each rank said something, and what."""
    ranks.begin(what)
    said: list[tuple[float, Any]] = []
    while ranks.busy:
        watch([ranks], timeout=1.0)
        messages = ranks.poll()
        said += [(time.perf_counter() - since, message["value"]) for message in messages]
    if ranks.failure is not None or len(said) != ranks.size:
        raise RuntimeError(f"bench: of {ranks.size} ranks {len(said)} went through: {ranks.failure}")
    return said


def _proportional_megabytes() -> float:
    """This process's memory, shared pages divided by those who share them; NaN where the system does not tell."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) / 1000 if found else float("nan")


if __name__ == "__main__":
    import torch._dynamo  # noqa: F401  imported by the first optimizer: once here, not in every rank

    with one_thread():
        print(json.dumps(start(int(sys.argv[1]))))
