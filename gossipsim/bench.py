"""Benchmarks that a user runs on their own machine: ratios against bare loops, interleaved, medians.

Absolute times on a shared machine say little; a ratio measured in one run says much.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table

from gossipsim.config import plan
from gossipsim.execution import one_thread
from gossipsim.parts import Parts
from gossipsim.results import read_jsonl
from gossipsim.world import Alone, Job, World, watch
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport

SAMPLES, BATCH, STEPS, LR, MOMENTUM = 20_000, 64, 400, 0.05, 0.9
RANKS = (8, 16)


class RandomImages:
    """A task with the shape of MNIST and random content: speed does not depend on what the pixels show."""

    input_shape = (1, 28, 28)
    num_classes = 10
    val = test = None

    def __init__(self) -> None:
        stream = torch.Generator().manual_seed(0)
        images = torch.randn(SAMPLES, *self.input_shape, generator=stream)
        labels = torch.randint(0, self.num_classes, (SAMPLES,), generator=stream)
        self.train = torch.utils.data.TensorDataset(images, labels)

    def loss_fn(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return torch.nn.functional.cross_entropy(output, target)

    def metrics_fn(self, output: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
        return {}


def measure(repeats: int = 5) -> dict[str, Any]:
    """All benchmarks; seconds are medians over `repeats`, ratios medians of ratios of neighbouring runs."""
    import torch._dynamo  # noqa: F401  imported by the first optimizer: not part of what is measured

    with one_thread():
        return {"one_node_mlp": one_node(repeats), "first_exchange": first_exchange(repeats)}


def one_node(repeats: int) -> dict[str, float]:
    """One node training the MNIST MLP (784-128-10, batch 64) against a bare PyTorch loop over the same batches."""
    parts = Parts(plan(_one_node_config()).runs[0])
    pairs = []
    _bare_loop(parts), _simulated(parts)  # warm
    for _ in range(repeats):
        pairs.append((_simulated(parts), _bare_loop(parts)))
    return {
        "simulated_us_per_step": median(ours for ours, _ in pairs) / STEPS * 1e6,
        "bare_us_per_step": median(bare for _, bare in pairs) / STEPS * 1e6,
        "ratio": median(ours / bare for ours, bare in pairs),
    }


def _one_node_config() -> dict[str, Any]:
    optimizer = {"class": "torch.optim.SGD", "params": {"lr": LR, "momentum": MOMENTUM}}
    model = {"class": "gossipsim.models.MLP", "params": {"hidden": [128]}}
    return {
        "name": "bench",
        "tasks": [{"task": f"{__name__}.RandomImages", "models": [model], "optimizers": [optimizer]}],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": STEPS, "batch_size": BATCH, "eval_every": None, "log_every": 10},
        },
    }


def _simulated(parts: Parts) -> float:
    """Seconds in the step loop of a run of ours, logging included, evaluation excluded."""
    with tempfile.TemporaryDirectory(prefix="gossipsim-bench-") as folder:
        parts.trainer.fit(parts, Alone(), Path(folder), lambda message: None)
        seconds: float = read_jsonl(Path(folder) / "timing.jsonl")[-1]["train_seconds"]
    return seconds


def _bare_loop(parts: Parts) -> float:
    """Seconds of what anyone would write: in-memory tensors, a permutation, index_select."""
    inputs, targets = parts.task.train.tensors
    model = parts.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    started = time.perf_counter()
    order, position = torch.randperm(SAMPLES), 0
    for _ in range(STEPS):
        if position + BATCH > SAMPLES:
            order, position = torch.randperm(SAMPLES), 0
        batch = order[position : position + BATCH]
        position += BATCH
        optimizer.zero_grad()
        loss = parts.task.loss_fn(model(inputs.index_select(0, batch)), targets.index_select(0, batch))
        torch.autograd.backward(loss)
        optimizer.step()
    return time.perf_counter() - started


def first_exchange(repeats: int) -> dict[str, float]:
    """Seconds from torch imported until the last of P forked ranks has exchanged a row with both ring neighbours."""
    return {f"{ranks}_ranks_s": median(_start(ranks) for _ in range(repeats)) for ranks in RANKS}


def _start(ranks: int) -> float:
    started = time.perf_counter()
    job = Job(ranks, _ring_exchange)
    reached: list[float] = []
    while job.running:
        watch([job], timeout=1.0)
        reached += [time.perf_counter() - started for _ in job.poll()]
    if job.failure is not None or len(reached) != ranks:
        raise RuntimeError(f"bench: {ranks} ranks did not start: {job.failure}")
    return max(reached)


def _ring_exchange(transport: Transport, emit: Emit) -> None:
    world = World(transport.size, transport)
    here = torch.tensor([0])
    peers = sorted({(world.rank - 1) % world.size, (world.rank + 1) % world.size})
    world.exchange(torch.ones(1, 1000), [(p, here) for p in peers], [(p, 1) for p in peers])
    emit({"exchanged": True})


def table(figures: dict[str, Any]) -> Table:
    """For a terminal."""
    shown = Table("benchmark", "figure", "value")
    for name, values in figures.items():
        for figure, value in values.items():
            shown.add_row(name, figure, f"{value:.4g}")
    return shown
