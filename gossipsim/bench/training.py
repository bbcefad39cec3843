"""Ordinary training with one node against a bare PyTorch loop."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gossipsim.config import plan
from gossipsim.parts import Parts
from gossipsim.results import read_jsonl
from gossipsim.world import Alone

SAMPLES, BATCH, STEPS, LR, MOMENTUM = 20_000, 64, 400, 0.05, 0.9


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
