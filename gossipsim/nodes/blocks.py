"""The engine that computes the gradients of many nodes at once, in blocks of neighbouring rows.

One model serves all nodes: while a block is worked on, its parameters are :class:`~gossipsim.stacked.Stacked` views of
the block's rows, (rows, *shape), and one optimizer steps them all. A block is as large as the cache allows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gossipsim.checkpoints import Tree
from gossipsim.nodes.engine import Hosted, fill_rates
from gossipsim.nodes.health import demands_finite, is_finite
from gossipsim.nodes.layout import trainable
from gossipsim.nodes.node import Node
from gossipsim.nodes.optimizer_trees import optimizer_tree, restore_optimizer, scheduler_tree
from gossipsim.optim.stacking import stack_parameters
from gossipsim.stacked import Stacked, aligned, nodes_of, padded, stack_exactly

BLOCK_BYTES = {"cpu": 16 << 20, "cuda": 1 << 30}
"""Of the memory that a block works on: half of a third-level cache, or something that fills a GPU."""

ACTIVATIONS = 3
"""Copies that a step makes of what layers put out, roughly."""


class _Block:
    """Nodes in a row whose batches are of one size, and the optimizer that steps all of them."""

    def __init__(self, hosted: Hosted, rows: range, model: nn.Module) -> None:
        self.rows = rows
        own = trainable(model)
        self.optimizer, self.scheduler = hosted.recipe.optimizer(model)
        self.start = torch.cat([p.detach().reshape(-1) for p in own])  # an optimizer may have moved it
        views = hosted.layout.stacked_views(hosted.X[rows.start : rows.stop])
        self.parameters = [nn.Parameter(view) for view in views]
        stacked = dict(zip(map(id, own), self.parameters, strict=True))
        groups = self.optimizer.param_groups
        stack_parameters(self.optimizer, [stacked[id(p)] for group in groups for p in group["params"]])
        self.places = [p.data_ptr() for p in self.parameters]
        self.batch: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def slice(self) -> slice:
        return slice(self.rows.start, self.rows.stop)

    def tree(self, row: int) -> Tree:
        """What is kept for one of its rows."""
        return {
            "optimizer": optimizer_tree(self.optimizer, row),
            "scheduler": scheduler_tree(self.scheduler),
            "batch": None if self.batch is None else tuple(values[row] for values in self.batch),
        }

    def restore(self, trees: Sequence[Tree]) -> None:
        """From what is kept for each of its rows."""
        restore_optimizer(self.optimizer, [tree["optimizer"] for tree in trees], stacked=True)
        if self.scheduler is not None:
            self.scheduler.load_state_dict(trees[0]["scheduler"])
        batches = [tree["batch"] for tree in trees]
        if batches[0] is not None:
            inputs, targets = (aligned(torch.stack(values)) for values in zip(*batches, strict=True))
            self.batch = inputs, targets


class Blocks:
    """Every block has one model and one optimizer for all its nodes.

    Args:
        exactly: what a node does must have the bits that it would have alone.
        exact_losses: the losses have them too.
    """

    name = "stacked"

    def __init__(self, hosted: Hosted, *, exactly: bool, exact_losses: bool = False) -> None:
        self._hosted, self._exactly, self.exact_losses = hosted, exactly, exact_losses
        self.gradient_evals = 0
        self._model = hosted.recipe.initial_model(hosted.keys[0]).to(hosted.X.device)
        self._places = _places(self._model)
        self._blocks: list[_Block] = []
        for rows in divided(hosted, self._model):
            model = hosted.recipe.initial_model(hosted.keys[0]).to(hosted.X.device)
            self._blocks.append(_Block(hosted, rows, model))
        self._initialise()
        self.optimizers = [block.optimizer for block in self._blocks]
        self.schedulers = [block.scheduler for block in self._blocks if block.scheduler is not None]
        self._demands_finite = any(map(demands_finite, self.optimizers))
        self._losses = torch.zeros(len(hosted.ids), 3, dtype=torch.float64)

    def __iter__(self) -> Iterator[Node]:
        raise TypeError("stacked nodes have no models of their own: set trainer.params.engine to loop to look at them")

    def forget_batches(self, rows: Sequence[int]) -> None:
        for block in self._blocks:
            self._forget_batch(block)

    def gradients(self, rows: Sequence[int], at: torch.Tensor | None, G: torch.Tensor, keep_losses: bool) -> None:
        self._all_of(rows)
        at = None if at is None else aligned(at)
        for block in self._blocks:
            self._write(block, at, G[block.slice], keep_losses)

    def step(self, rows: Sequence[int], G: torch.Tensor) -> None:
        self._all_of(rows)
        for block in self._blocks:
            own = padded((len(block.rows), G.shape[1]), G)  # an optimizer may change what it reads
            self._optimizer_step(block, self._hosted.layout.stacked_views(own.copy_(G[block.slice])))

    def descend(self, rows: Sequence[int], keep_losses: bool) -> None:
        self._all_of(rows)
        for block in self._blocks:
            if self._hosted.noise is not None:
                G = torch.empty_like(self._hosted.X[block.slice])
                self._write(block, None, G, keep_losses)
                self._optimizer_step(block, self._hosted.layout.stacked_views(G))
            else:
                self._optimizer_step(block, self._gradients(block, None, keep_losses))
            self._forget_batch(block)

    def losses(self) -> torch.Tensor:
        self._losses[:, 2] = torch.from_numpy(self._hosted.health.since)
        return self._losses

    def learning_rates(self, out: torch.Tensor) -> None:
        for block in self._blocks:
            fill_rates(block.optimizer, block.parameters, self._hosted.layout.stacked_views(out[block.slice]))

    @torch.no_grad()
    def objectives(self, row: torch.Tensor, shards: Sequence[torch.Tensor], most: int) -> torch.Tensor | None:
        if not self.exact_losses:
            return None
        hosted, lengths = self._hosted, np.array([len(shard) for shard in shards])
        features = sum(values[0].numel() * values.element_size() for values in hosted.train)
        totals = torch.zeros(len(shards), dtype=torch.float64)
        views = hosted.layout.views(row.clone())
        self._model.eval()
        self._fill(views)
        added = 0.0 if hosted.regularizer is None else hosted.regularizer(self._model).item()
        for rows in alike(lengths, BLOCK_BYTES["cpu"] // (features * min(most, int(lengths.max(initial=1))))):
            length = int(lengths[rows.start])
            self._fill([Stacked(view.expand(len(rows), *view.shape)) for view in views])
            for start in range(0, length, most):
                index = torch.stack([shards[k][start : start + most] for k in rows])
                share = index.shape[1] / length
                with stack_exactly(self._exactly) as exactness:
                    inputs, targets = (Stacked(values) for values in self._samples(index))
                    loss = hosted.task.loss_fn(self._model(inputs), targets) * share
                if not exactness.losses:
                    self._model.train()
                    return None
                totals[rows.start : rows.stop] += nodes_of(loss).to("cpu", torch.float64)
        self._model.train()
        return totals + added

    def buffers(self) -> list[dict[str, torch.Tensor]]:
        return []

    def node_trees(self) -> list[Tree]:
        common = dict(self._model.named_buffers())  # integers: a model with others is not stacked
        trees = [block.tree(row) for block in self._blocks for row in range(len(block.rows))]
        losses = [loss if there else None for loss, there, _ in self._losses.tolist()]
        stays = {"batch": None} if self._hosted.batch_stays else {}
        return [tree | {"buffers": common, "loss": loss} | stays for tree, loss in zip(trees, losses, strict=True)]

    def restore(self, trees: Sequence[Tree]) -> None:
        for block in self._blocks:
            block.restore(trees[block.slice])
        for name, buffer in self._model.named_buffers():
            buffer.copy_(trees[0]["buffers"][name])
        for k, tree in enumerate(trees):
            self._losses[k, :2] = torch.tensor([tree["loss"] or 0.0, tree["loss"] is not None])

    def _initialise(self) -> None:
        hosted = self._hosted
        if hosted.recipe.init == "same":
            hosted.X[:] = self._blocks[0].start
            return
        for k, key in enumerate(hosted.keys):
            own = trainable(hosted.recipe.initial_model(key))
            hosted.layout.flatten([p.detach().to(hosted.X.device) for p in own], hosted.X[k])

    def _all_of(self, rows: Sequence[int]) -> None:
        if len(rows) != len(self._hosted.ids):
            raise ValueError(
                "this strategy leaves nodes out of a step, which stacked nodes cannot do; set trainer.params.engine to "
                '"loop", or say "everyone": false in the claims of the strategy'
            )

    def _forget_batch(self, block: _Block) -> None:
        if not self._hosted.batch_stays:
            block.batch = None

    def _batch(self, block: _Block) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, batch, ...) of inputs and of targets; each node's begin aligned."""
        if block.batch is None:
            hosted = self._hosted
            index = hosted.batches.next_of(block.rows).to(hosted.X.device)
            if hosted.recipe.augment is not None:
                drawn = [hosted.samples(index[k], block.rows[k]) for k in range(len(block.rows))]
                inputs, targets = (aligned(torch.stack(values)) for values in zip(*drawn, strict=True))
                block.batch = inputs, targets
            else:
                block.batch = self._samples(index)
        return block.batch

    def _samples(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, batch, ...) of inputs and of targets for indices (n, batch); each node's begin aligned."""
        flat = index.reshape(-1)
        inputs, targets = (
            aligned(values.index_select(0, flat).view(*index.shape, *values.shape[1:])) for values in self._hosted.train
        )
        return inputs, targets

    def _gradients(self, block: _Block, at: torch.Tensor | None, keep_losses: bool) -> Sequence[torch.Tensor]:
        """The gradients of a block's nodes on their batches, (rows, *shape) each."""
        hosted, leaves = self._hosted, block.parameters
        if at is not None:
            leaves = [nn.Parameter(view) for view in hosted.layout.stacked_views(at[block.slice])]
        inputs, targets = self._batch(block)
        with stack_exactly(self._exactly) as exactness:
            self._fill([Stacked(p) for p in leaves])
            output = self._model(Stacked(inputs))
            loss = hosted.task.loss_fn(output, Stacked(targets))
            if hosted.regularizer is not None:
                loss = loss + hosted.regularizer(self._model)
        losses: torch.Tensor = nodes_of(loss)
        gradients = torch.autograd.grad(losses, leaves, torch.ones_like(losses), materialize_grads=True)
        self.gradient_evals += len(block.rows)
        if (keep_losses or not losses.is_cuda) and not is_finite([losses.detach()]):
            self._lose(block, [losses.detach()])
        if keep_losses:
            one_by_one = not (self.exact_losses and exactness.losses)
            values = self._losses_one_by_one(leaves, nodes_of(output), targets) if one_by_one else losses
            self._losses[block.slice, 0] = values.detach().to("cpu", torch.float64)
            self._losses[block.slice, 1] = 1.0
        return gradients

    @torch.no_grad()
    def _losses_one_by_one(
        self, leaves: Sequence[torch.Tensor], outputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Of each node from its outputs, as for one node: the mean over a batch is summed in another order at once."""
        task, regularizer = self._hosted.task, self._hosted.regularizer
        values = []
        for k in range(len(outputs)):
            loss = task.loss_fn(outputs[k].clone(), targets[k].clone())
            if regularizer is not None:
                self._fill([p[k] for p in leaves])
                loss = loss + regularizer(self._model)
            values.append(loss)
        return torch.stack(values)

    def _fill(self, values: Sequence[torch.Tensor]) -> None:
        """Puts tensors in the place of the model's parameters."""
        for module, name, index in self._places:
            module._parameters[name] = values[index]  # type: ignore[assignment]

    def _write(self, block: _Block, at: torch.Tensor | None, rows: torch.Tensor, keep_losses: bool) -> None:
        """Writes the gradients of a block's nodes into its rows, with the noise that the task adds."""
        views, noise = self._hosted.layout.stacked_views(rows), self._hosted.noise
        for view, gradient in zip(views, self._gradients(block, at, keep_losses), strict=True):
            view.copy_(gradient)
        for k, row in zip(block.rows, rows, strict=True) if noise is not None else ():
            row.add_(noise(self._hosted.streams.of("noise", k), row))

    def _lose(self, block: _Block, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Notes which of the block's nodes have values (rows, ...) that are not finite: (rows,) of bool."""
        rows = ~torch.stack([each.isfinite().reshape(len(each), -1).all(1) for each in values]).all(0)
        self._hosted.health.lose((rows.nonzero().flatten() + block.rows.start).tolist())
        return rows

    def _optimizer_step(self, block: _Block, gradients: Sequence[torch.Tensor]) -> None:
        if self._demands_finite and not is_finite(gradients):
            lost = self._lose(block, gradients)
            for gradient in gradients:
                gradient[lost] = 0.0
            self._step_all(block, gradients)
            self._hosted.X[block.slice][lost] = math.nan  # and so they stay
        else:
            self._step_all(block, gradients)

    def _step_all(self, block: _Block, gradients: Sequence[torch.Tensor]) -> None:
        for p, gradient in zip(block.parameters, gradients, strict=True):
            p.grad = gradient
        block.optimizer.step()
        for p, place in zip(block.parameters, block.places, strict=True):
            p.grad = None
            if p.data_ptr() != place:
                raise ValueError(
                    f"{type(block.optimizer).__name__} rebound the data of a parameter instead of updating it in "
                    "place, so its row no longer follows; write `p.copy_(...)` for `p.data = ...`"
                )


def divided(hosted: Hosted, model: nn.Module) -> Iterator[range]:
    """Blocks of neighbouring nodes with equal batch sizes, about equally long and of BLOCK_BYTES at most."""
    row = hosted.layout.d * hosted.X.element_size()
    node = row + ACTIVATIONS * _layer_bytes(model, hosted.train[0][: int(hosted.batches.sizes.max(initial=1))])
    return alike(hosted.batches.sizes, BLOCK_BYTES[hosted.X.device.type] // max(node, 1))


@torch.no_grad()
def _layer_bytes(model: nn.Module, inputs: torch.Tensor) -> int:
    """The size of what the layers of one node put out for a batch."""
    sizes: list[int] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        sizes.append(output.nbytes if isinstance(output, torch.Tensor) else 0)

    layers = [module for module in model.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    model.eval()
    try:
        model(inputs)
    finally:
        model.train()
        for hook in hooks:
            hook.remove()
    return sum(sizes)


def alike(sizes: np.ndarray[Any, Any], most: int) -> Iterator[range]:
    """Splits neighbours of equal size into about equally long blocks of at most `most`."""
    edges = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]
    for start, stop in itertools.pairwise(edges):
        count = -(-(stop - start) // max(most, 1))
        cuts = [start + (stop - start) * i // max(count, 1) for i in range(count + 1)]
        yield from (range(a, b) for a, b in itertools.pairwise(cuts))


def _places(model: nn.Module) -> list[tuple[nn.Module, str, int]]:
    """Where each trainable parameter hangs in the model, tied ones more than once, with its number."""
    numbers = {id(p): number for number, p in enumerate(trainable(model))}
    return [
        (module, name, numbers[id(p)])
        for module in model.modules()
        for name, p in module._parameters.items()
        if p is not None and id(p) in numbers
    ]
