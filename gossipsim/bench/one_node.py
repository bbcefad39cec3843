"""Ordinary training with one node against loops that anyone would write."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from gossipsim.bench.jobs import CNN, LR, MLP, cpu, images, job
from gossipsim.bench.measuring import Figure, Figures, Interleaved
from gossipsim.parts import Parts
from gossipsim.spec import locate

BATCH, MOMENTUM = 64, 0.9
CASES = (("mlp", MLP, 410), ("cnn", CNN, 110))


def one_node(repeats: int, cases: tuple[tuple[str, dict[str, Any], int], ...] = CASES) -> Figures:
    """An MLP and a CNN on images of MNIST's shape, batch 64: CPU time of a step, one thread each."""
    figures: Figures = {}
    for name, model, steps in cases:
        parts = job(images(), model, steps, momentum=MOMENTUM, batch_size=BATCH)
        few = max(steps // 4, 2)
        bare, loader = _BareLoop(parts), _LoaderLoop(parts)
        found = Interleaved(
            {
                "ours": cpu(parts),
                "bare": partial(bare.step_seconds, steps),
                "loader": partial(loader.step_seconds, few),
            },
            repeats,
        )
        figures |= {
            f"{name}: step": Figure(found.median("ours") * 1e6, "us"),
            f"{name}: step of a bare loop": Figure(found.median("bare") * 1e6, "us"),
            f"{name}: step with a DataLoader": Figure(found.median("loader") * 1e6, "us"),
            f"{name}: over a bare loop": Figure(found.ratio("ours", "bare"), "x", at_most=1.05),
            f"{name}: times as fast as with a DataLoader": Figure(found.ratio("loader", "ours"), "x", at_least=6),
        }
    return figures


class _Training:
    """A model with momentum SGD."""

    def __init__(self, parts: Parts) -> None:
        self.model, self.loss = parts.model(), parts.task.loss_fn
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)
        self.inputs, self.targets = parts.task.train.tensors

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        torch.autograd.backward(self.loss(self.model(inputs), targets))
        self.optimizer.step()


class _BareLoop(_Training):
    """In-memory tensors, a permutation, index_select."""

    def step_seconds(self, steps: int) -> float:
        samples = len(self.inputs)
        started = time.process_time()
        order, position = torch.randperm(samples), 0
        for _ in range(steps):
            if position + BATCH > samples:
                order, position = torch.randperm(samples), 0
            batch = order[position : position + BATCH]
            position += BATCH
            self.step(self.inputs.index_select(0, batch), self.targets.index_select(0, batch))
        return (time.process_time() - started) / steps


class _LoaderLoop(_Training):
    """Item by item through a DataLoader, as torchvision's data sets give them."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.loader = DataLoader(_Items(len(self.inputs)), BATCH, shuffle=True)

    def step_seconds(self, steps: int) -> float:
        batches = iter(self.loader)
        self.step(*next(batches))
        started = time.process_time()
        for _ in range(steps):
            self.step(*next(batches))
        return (time.process_time() - started) / steps


class _Items(Dataset[tuple[torch.Tensor, int]]):
    """Bytes of images, made tensors and normalised one at a time."""

    def __init__(self, samples: int) -> None:
        stream = np.random.default_rng(0)
        self.pixels = stream.integers(0, 256, (samples, 28, 28), dtype=np.uint8)
        self.labels = stream.integers(0, 10, samples).tolist()
        self.transform = _transform()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pixels[index]), self.labels[index]


def _transform() -> Callable[[np.ndarray[Any, Any]], torch.Tensor]:
    """torchvision's ToTensor and Normalize on a PIL image where it is installed, or the same by hand."""
    if importlib.util.find_spec("torchvision") is None:
        return lambda pixels: torch.from_numpy(pixels).unsqueeze(0).float().div(255).sub_(0.1307).div_(0.3081)
    image, compose, to_tensor, normalize = (
        locate(path)
        for path in (
            "PIL.Image.fromarray",
            "torchvision.transforms.Compose",
            "torchvision.transforms.ToTensor",
            "torchvision.transforms.Normalize",
        )
    )
    whole = compose([to_tensor(), normalize((0.1307,), (0.3081,))])
    return lambda pixels: whole(image(pixels))
