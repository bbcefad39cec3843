"""Many nodes in few processes, D-SGD on a ring: against the loop that anyone would write, and engine against engine."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from gossipsim.bench.jobs import (
    CNN,
    LOGISTIC,
    LR,
    MLP,
    VECTOR,
    Workers,
    cpu,
    images,
    job,
    vectors,
    wall_on_ranks,
)
from gossipsim.bench.measuring import Figure, Figures, Interleaved
from gossipsim.parts import Parts

PROCESSES = 2
NOISE = 0.97
"""How much slower `auto` may look than the loop: where it takes the loop, both are the same code, and noise is left."""


@dataclass(frozen=True)
class Case:
    """A model on so many nodes, and how much faster than the naive loop it shall be."""

    name: str
    model: dict[str, Any]
    nodes: int
    steps: int
    goal: float


CASES = (Case("logistic", LOGISTIC, 256, 80, 8.0), Case("mlp", MLP, 64, 80, 4.0))


def against_naive(repeats: int, cases: tuple[Case, ...] = CASES) -> Figures:
    """Two processes that share the nodes against one that loops over them and deep-copies state dicts."""
    figures: Figures = {}
    for case in cases:
        parts = job(images(), case.model, case.steps, case.nodes)
        rounds = max(case.steps // 4, 1)
        naive = NaiveLoop(parts)
        with Workers(PROCESSES, {"ours": wall_on_ranks(parts)}) as workers:
            found = Interleaved({"ours": workers.largest("ours"), "naive": partial(naive.seconds, rounds)}, repeats)
        name = f"{case.name} N={case.nodes}"
        figures |= {
            f"{name}: node-steps per second": Figure(case.nodes / found.median("ours"), "1/s"),
            f"{name}: naive loop": Figure(case.nodes / found.median("naive"), "1/s"),
            f"{name}: times as fast": Figure(found.ratio("naive", "ours"), "x", at_least=case.goal),
        }
    return figures


class NaiveLoop:
    """One process, one model per node, in-memory tensors; deep-copied state dicts are averaged after every step."""

    def __init__(self, parts: Parts) -> None:
        self.inputs, self.targets = parts.task.train.tensors
        self.loss, self.shards = parts.task.loss_fn, parts.shards
        self.models = [parts.model() for _ in range(parts.count)]
        self.optimizers = [torch.optim.SGD(model.parameters(), lr=LR) for model in self.models]

    def seconds(self, rounds: int) -> float:
        """Of a round, on average over so many."""
        started = time.perf_counter()
        for _ in range(rounds):
            self._round()
        return (time.perf_counter() - started) / rounds

    def _round(self) -> None:
        for model, optimizer, shard in zip(self.models, self.optimizers, self.shards, strict=True):
            batch = shard[torch.randint(len(shard), (32,))]
            optimizer.zero_grad()
            torch.autograd.backward(self.loss(model(self.inputs[batch]), self.targets[batch]))
            optimizer.step()
        states = [copy.deepcopy(model.state_dict()) for model in self.models]
        for i, model in enumerate(self.models):
            near = [states[j % len(states)] for j in (i - 1, i, i + 1)]
            model.load_state_dict({key: torch.stack([s[key] for s in near]).mean(0) for key in near[0]})


ENGINES = (
    ("logistic N=256", LOGISTIC, 256, 40, ("auto",)),
    ("mlp N=64", MLP, 64, 40, ("auto",)),
    ("cnn N=32", CNN, 32, 30, ("auto", "stacked")),
)


def engines(
    repeats: int, cases: tuple[tuple[str, dict[str, Any], int, int, tuple[str, ...]], ...] = ENGINES
) -> Figures:
    """`auto`, and `stacked` where it is not what auto takes, against `loop`: CPU time of one process."""
    figures: Figures = {}
    for name, model, nodes, steps, kinds in cases:
        runs = {kind: job(images(), model, steps, nodes, engine=kind) for kind in ("loop", *kinds)}
        found = Interleaved({kind: cpu(parts) for kind, parts in runs.items()}, repeats)
        goals = {"auto": NOISE, "stacked": 1.3}
        for kind in kinds:
            gain = Figure(found.ratio("loop", kind), "x", at_least=goals[kind])
            figures[f"{name}: {kind}, times as fast as loop"] = gain
    return figures


def thousand(repeats: int, nodes: int = 1000, steps: int = 110) -> Figures:
    """A thousand nodes with a logistic model of 57 parameters in one process."""
    parts = job(vectors(50 * nodes), VECTOR, steps, nodes)
    found = Interleaved({"ours": cpu(parts)}, repeats)
    rate = Figure(nodes / found.median("ours"), "1/s", at_least=200_000)
    return {f"logistic N={nodes} d=57: node-steps per CPU-second": rate}


SIZES = (64, 256, 1024, 4096)


def scaling(repeats: int, sizes: tuple[int, ...] = SIZES, work: int = 1 << 17) -> Figures:
    """What a node-step costs in one process as the nodes become more (d = 57)."""
    runs = {n: job(vectors(50 * n), VECTOR, max(work // n // 10, 3) * 10, n) for n in sizes}
    found = Interleaved({str(n): cpu(parts) for n, parts in runs.items()}, repeats)
    figures = {f"N={n}: CPU time of a node-step": Figure(found.median(str(n)) / n * 1e6, "us") for n in sizes}
    first, last = sizes[0], sizes[-1]
    growth = Figure(found.ratio(str(last), str(first)) * first / last, "x", at_most=1.5)
    return figures | {f"growth from N={sizes[0]} to N={sizes[-1]}": growth}
