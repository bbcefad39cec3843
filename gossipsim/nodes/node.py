"""How nodes are made, and what is a node's own: its model and optimizer, its random streams."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gossipsim.checkpoints import Tree
from gossipsim.nodes.layout import trainable
from gossipsim.nodes.optimizer_trees import optimizer_tree, restore_optimizer, scheduler_tree
from gossipsim.streams import generator, global_stream


@dataclass(frozen=True)
class Recipe:
    """How every node is made; the same on all processes.

    Attributes:
        model: builds a fresh model in `dtype`, drawing from torch's global generator.
        optimizer: builds the optimizer (and its lr_scheduler, or None) of a model.
        init: "same": all nodes start from one seeded draw; "independent": each from its own.
        augment: changes a batch with the node's own stream, or None.
        clip_grad_norm: bound on the norm of the direction that a node's optimizer gets, or None.
        engine: "loop": one node after the other; "stacked": all at once; "auto": whichever is faster here, with the
            bits of the loop.
        loop_only: why nodes cannot be stacked, where the run as a whole forbids it.
        kind: the same for recipes whose steps cost the same, on the same data; empty: not known.
    """

    model: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], tuple[torch.optim.Optimizer, Any]]
    seed: int = 0
    batch_size: int | None = 32
    dtype: torch.dtype = torch.float32
    init: str = "same"
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    clip_grad_norm: float | None = None
    engine: str = "loop"
    loop_only: str | None = None
    kind: str = ""

    def initial_model(self, key: int) -> nn.Module:
        """The model that the node with this key starts with."""
        with global_stream(generator(self.seed, key if self.init == "independent" else 0, "init")):
            return self.model()


class Streams:
    """The random streams of the hosted nodes, each made when it is first drawn from.

    Attributes:
        made: the streams there are, by purpose and by the node's place.
    """

    def __init__(self, seed: int, keys: Sequence[int], device: torch.device) -> None:
        self._seed, self._keys, self._device = seed, keys, device
        self.made: dict[tuple[str, int], torch.Generator] = {}

    def of(self, purpose: str, k: int) -> torch.Generator:
        """Of the k-th hosted node; what a model draws is on the device, the rest on the CPU."""
        stream = self.made.get((purpose, k))
        if stream is None:
            device = self._device if purpose == "model" else "cpu"
            stream = self.made[purpose, k] = generator(self._seed, self._keys[k], purpose, device)
        return stream


class Node:
    """One participant by itself: its model (views into a row) and optimizer."""

    def __init__(self, ident: int, model: nn.Module) -> None:
        self.id = ident
        self.model = model
        self.loss: float | None = None
        self.parameters = trainable(model)
        self.gradients: list[torch.Tensor] | None = None  # views into the buffered direction that the optimizer reads
        self.places: list[int]  # addresses of the parameters in the row
        self.optimizer: torch.optim.Optimizer
        self.needs_closure: bool
        self.scheduler: Any
        self.batch: tuple[torch.Tensor, torch.Tensor] | None = None

    def tree(self) -> Tree:
        """What it keeps beside its row."""
        return {
            "optimizer": optimizer_tree(self.optimizer),
            "scheduler": scheduler_tree(self.scheduler),
            "buffers": dict(self.model.named_buffers()),
            "loss": self.loss,
            "batch": self.batch,
        }

    def restore(self, tree: Tree) -> None:
        """Undoes :meth:`tree`."""
        restore_optimizer(self.optimizer, [tree["optimizer"]])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(tree["scheduler"])
        for name, buffer in self.model.named_buffers():
            buffer.copy_(tree["buffers"][name])
        self.loss, self.batch = tree["loss"], tree["batch"]


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `step` cannot do without a closure (LBFGS, line search)."""
    if getattr(optimizer, "needs_closure", False):
        return True
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


class Blame:
    """Marks an exception with the node it happened on. A class: a generator would cost 1 % of a small model's step."""

    def __init__(self, ident: int) -> None:
        self._id = ident

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            error.node = self._id  # type: ignore[attr-defined]
