"""What a task is: datasets of tensors, a loss, metrics; and, where theory knows it, the optimum.

:class:`Task` is the protocol that a user's task has to follow (a subclass is not needed); :class:`InMemory`
is what the tasks of this package share. Optional attributes that the trainer looks for:

- ``shards``: list of index tensors, one per node; the task then brings its own shards and takes no partition;
- ``optimum(...) -> Optimum | None``: called with those of `model`, `shards`, `project` that its signature names;
  `project` maps x (d,) float64 to the nearest point of the optimizer's feasible set, None where there is no set;
- ``homogeneous``: False where the nodes' functions differ by construction;
- ``gradient_noise(generator, like) -> Tensor`` or None: added to each node's stochastic gradient;
- ``regularizer(model) -> scalar``: added to every loss;
- ``split``: effective sizes, recorded with the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

Loader = DataLoader[tuple[Tensor, ...]]


@runtime_checkable
class Task(Protocol):
    """The protocol of a task; `train`, `val`, `test` have ``tensors = (inputs, targets)``."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch."""

    @property
    def num_classes(self) -> int:
        """How many outputs a model needs."""

    @property
    def train(self) -> TensorDataset:
        """The samples that the nodes share."""

    @property
    def val(self) -> TensorDataset | None:
        """Samples for choosing hyperparameters."""

    @property
    def test(self) -> TensorDataset | None:
        """Samples for the figure that is published."""

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch: a scalar, the mean over its samples."""

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """Further figures of a batch, each a mean over its samples."""


@dataclass(frozen=True)
class Optimum:
    """Where f is least: `x` (d,) float64 in the order of ``model.parameters()``, and `value` = f(x)."""

    x: Tensor
    value: float


Project = Callable[[Tensor], Tensor]
"""Maps x (d,) float64 to the nearest point of a closed convex set."""


def projected_minimum(
    gradient: Callable[[Tensor], Tensor], lipschitz: float, project: Project, start: Tensor
) -> Tensor | None:
    """The minimiser over a set of a convex function with `lipschitz` gradient, to 1e-13 (1 + ||x||) in x's last move.

    Accelerated projected gradient with gradient restarts (Beck and Teboulle, SIIMS 2009; O'Donoghue and Candes, FoCM
    2015). None where 50,000 steps are not enough.
    """
    x = previous = start
    weight = 1.0
    for _ in range(50_000):
        following = (1 + (1 + 4 * weight**2) ** 0.5) / 2
        y = x + (weight - 1) / following * (x - previous)
        new = project(y - gradient(y) / lipschitz)
        previous, x, weight = x, new, following
        if float((y - x) @ (x - previous)) > 0:
            weight = 1.0
        if float((x - y).norm()) <= 1e-13 * (1 + float(x.norm())) and float((x - previous).norm()) <= 1e-13 * (
            1 + float(x.norm())
        ):
            return x
    return None


class InMemory:
    """Datasets held in memory, with loaders for use without the simulator.

    Args:
        train, val, test: (inputs, targets) with equal first dimensions; an empty or missing one becomes None.
        num_classes: how many outputs a model needs.

    Attributes:
        split: the sizes {"train", "val", "test"} in force.
    """

    def __init__(
        self,
        train: tuple[Tensor, Tensor],
        val: tuple[Tensor, Tensor] | None,
        test: tuple[Tensor, Tensor] | None,
        num_classes: int,
    ) -> None:
        self.train = TensorDataset(*train)
        self.val = None if val is None or len(val[0]) == 0 else TensorDataset(*val)
        self.test = None if test is None or len(test[0]) == 0 else TensorDataset(*test)
        self.num_classes = num_classes
        self.input_shape = tuple(train[0].shape[1:])
        sizes = {"train": self.train, "val": self.val, "test": self.test}
        self.split = {name: 0 if data is None else len(data) for name, data in sizes.items()}

    def train_loader(self, batch_size: int, generator: torch.Generator | None = None) -> Loader:
        """Shuffled batches of the training set; the last one may be smaller."""
        sampler = RandomSampler(self.train, generator=generator)
        return DataLoader(self.train, sampler=BatchSampler(sampler, batch_size, drop_last=False), batch_size=None)

    def val_loader(self, batch_size: int) -> Loader:
        """Batches of the validation set, in order.

        Raises:
            ValueError: when there is none.
        """
        return _in_order(self.val, "validation", batch_size)

    def test_loader(self, batch_size: int) -> Loader:
        """Batches of the test set, in order.

        Raises:
            ValueError: when there is none.
        """
        return _in_order(self.test, "test", batch_size)


def _in_order(dataset: TensorDataset | None, name: str, batch_size: int) -> Loader:
    if dataset is None:
        raise ValueError(f"this task has no {name} set: set its size above 0")
    sampler = BatchSampler(SequentialSampler(dataset), batch_size, drop_last=False)
    return DataLoader(dataset, sampler=sampler, batch_size=None)


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raises ValueError unless val_size and test_size are at least 0 and any other size is at least 1."""
    for name, size in sizes.items():
        least = 0 if name in ("val_size", "test_size") else 1
        if size < least:
            raise ValueError(f"{name} must be at least {least}, got {size}")
