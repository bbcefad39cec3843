"""What evaluates gradients and takes optimizer steps for the hosted nodes, and what it works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import nn

from gossipsim.checkpoints import Tree
from gossipsim.data.batches import Batches
from gossipsim.nodes.health import Health
from gossipsim.nodes.layout import RowLayout
from gossipsim.nodes.node import Node, Recipe, Streams
from gossipsim.tasks.task import Task


@dataclass(frozen=True)
class Hosted:
    """The nodes of this process, as engines know them.

    Attributes:
        ids: of the nodes. keys: whose random streams they draw from.
        X: (n, d) rows, each aligned in memory.
        train: (inputs, targets) of the whole training set, on the device.
        batches: the nodes' data orders.
        health: since when nodes are not finite.
    """

    ids: range
    keys: Sequence[int]
    task: Task
    recipe: Recipe
    layout: RowLayout
    X: torch.Tensor
    train: tuple[torch.Tensor, torch.Tensor]
    batches: Batches
    streams: Streams
    health: Health

    @cached_property
    def regularizer(self) -> Any:
        """What the task adds to the loss of a model, or None."""
        return getattr(self.task, "regularizer", None)

    @cached_property
    def noise(self) -> Any:
        """(generator, gradient) -> what the task adds to a gradient, or None."""
        return getattr(self.task, "gradient_noise", None)

    @cached_property
    def batch_stays(self) -> bool:
        """Whether every batch of a node is its whole shard as it is: the engines then keep it."""
        return self.recipe.batch_size is None and self.recipe.augment is None

    def samples(self, index: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of the k-th node with these samples, augmented."""
        inputs, targets = self.train
        inputs, targets = inputs.index_select(0, index), targets.index_select(0, index)
        if self.recipe.augment is not None:
            inputs = self.recipe.augment(inputs, self.streams.of("augment", k))
        return inputs, targets


class Engine(Protocol):
    """Evaluates gradients and takes optimizer steps.

    Attributes:
        name: "loop" or "stacked".
        gradient_evals: gradients evaluated so far, over the hosted nodes.
        optimizers: of one or more nodes each.
        schedulers: their lr_schedulers, without None.
    """

    name: str
    gradient_evals: int
    optimizers: list[torch.optim.Optimizer]
    schedulers: list[Any]

    def __iter__(self) -> Iterator[Node]:
        """The nodes by themselves."""

    def forget_batches(self, rows: Sequence[int]) -> None:
        """Lets these nodes, by their places, draw a new batch when they next need one."""

    def gradients(self, rows: Sequence[int], at: torch.Tensor | None, G: torch.Tensor, keep_losses: bool) -> None:
        """Writes the gradients of these nodes on their batches, at X or at other rows, into theirs of G (n, d)."""

    def step(self, rows: Sequence[int], G: torch.Tensor) -> None:
        """Lets the optimizers of these nodes take a step, with rows of G (n, d) as their gradients."""

    def descend(self, rows: Sequence[int], keep_losses: bool) -> None:
        """:meth:`gradients`, then :meth:`step` with them, to the same bits."""

    def losses(self) -> torch.Tensor:
        """(n, 3) float64: the loss of each node's last batch for which losses were kept, whether there is one, and
        since which step the node is not finite, or 0."""

    def learning_rates(self, out: torch.Tensor) -> None:
        """Writes the present learning rate of every entry of the rows; 0 where there is none."""

    def objectives(self, row: torch.Tensor, shards: Sequence[torch.Tensor], most: int) -> torch.Tensor | None:
        """The nodes' objectives on their shards at one row (d,), at most so many samples of a node at a time: (n,).

        None where the engine evaluates one after the other.
        """

    def buffers(self) -> list[dict[str, torch.Tensor]]:
        """The buffers of the nodes' models, by name."""

    def node_trees(self) -> list[Tree]:
        """What is kept for each node from step to step beside its row: a dict, the same whichever engine keeps it."""

    def restore(self, trees: Sequence[Tree]) -> None:
        """Undoes :meth:`node_trees`."""


def template(recipe: Recipe) -> nn.Module:
    """A model for evaluation at rows that no node owns; made from a stream of its own, so it costs nobody a draw."""
    return Recipe(recipe.model, recipe.optimizer, recipe.seed).initial_model(0)


def fill_rates(
    optimizer: torch.optim.Optimizer, parameters: Sequence[torch.Tensor], views: Sequence[torch.Tensor]
) -> None:
    """Fills each parameter's view with its present learning rate; 0 where it has none."""
    rates = {id(p): float(group.get("lr", 0)) for group in optimizer.param_groups for p in group["params"]}
    for p, view in zip(parameters, views, strict=True):
        view.fill_(rates.get(id(p), 0))
