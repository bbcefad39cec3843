"""The engine that works for every model and optimizer: one node after the other, as PyTorch is usually written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from gossipsim.checkpoints import Tree
from gossipsim.nodes.engine import Hosted, fill_rates
from gossipsim.nodes.health import demands_finite, is_finite
from gossipsim.nodes.layout import zero_rows
from gossipsim.nodes.node import Blame, Node, needs_closure
from gossipsim.stacked import aligned
from gossipsim.streams import global_stream


class Loop:
    """Every node has a model whose parameters are views into its row, and an optimizer of its own."""

    name = "loop"

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self.gradient_evals = 0
        self._directions: torch.Tensor | None = None
        self._nodes: list[Node] = []
        for k, ident in enumerate(hosted.ids):
            with Blame(ident):
                node = Node(ident, hosted.recipe.initial_model(hosted.keys[k]).to(hosted.X.device))
                hosted.layout.flatten([p.detach() for p in node.parameters], hosted.X[k])
                self._point(node, hosted.X[k])
                node.optimizer, node.scheduler = hosted.recipe.optimizer(node.model)
                node.needs_closure = needs_closure(node.optimizer)
                node.places = [p.data_ptr() for p in node.parameters]
                self._nodes.append(node)
        self._needs_rows = hosted.noise is not None or any(node.needs_closure for node in self._nodes)
        self._demands_finite = any(demands_finite(node.optimizer) for node in self._nodes)
        self.optimizers = [node.optimizer for node in self._nodes]
        self.schedulers = [node.scheduler for node in self._nodes if node.scheduler is not None]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def forget_batches(self, rows: Sequence[int]) -> None:
        if not self._hosted.batch_stays:
            for k in rows:
                self._nodes[k].batch = None

    def gradients(self, rows: Sequence[int], at: torch.Tensor | None, G: torch.Tensor, keep_losses: bool) -> None:
        at = None if at is None else aligned(at)
        for k in rows:
            node = self._nodes[k]
            with Blame(node.id):
                if at is not None:
                    self._point(node, at[k])
                self._gradient(k, G[k])
                if at is not None:
                    self._point(node, self._hosted.X[k])
            self.gradient_evals += 1

    def step(self, rows: Sequence[int], G: torch.Tensor) -> None:
        buffer = self._buffer()
        buffer.copy_(G)
        for k in rows:
            node = self._nodes[k]
            if node.gradients is None:
                node.gradients = self._hosted.layout.views(buffer[k])
            with Blame(node.id):
                for p, gradient in zip(node.parameters, node.gradients, strict=True):
                    p.grad = gradient
                self._optimizer_step(k)

    def descend(self, rows: Sequence[int], keep_losses: bool) -> None:
        """The optimizers read the gradients where autograd has left them; two copies of the model are saved."""
        if self._needs_rows:
            G = torch.zeros_like(self._hosted.X)
            self.gradients(rows, None, G, keep_losses)
            self.step(rows, G)
            return
        for k in rows:
            node = self._nodes[k]
            with Blame(node.id):
                loss = self._loss(k)
                torch.autograd.backward(loss)  # into p.grad, where the optimizer looks
                self._note_loss(k, loss)
                for p in node.parameters:
                    if p.grad is None or not p.grad.is_contiguous():
                        _make_dense(p)
                self._optimizer_step(k)
                for p in node.parameters:
                    p.grad = None  # returns the memory before the next backward pass asks for it
            self.gradient_evals += 1

    def losses(self) -> torch.Tensor:
        numbers: list[float] = []
        for node, since in zip(self._nodes, self._hosted.health.since.tolist(), strict=True):
            numbers += (0.0, 0.0, since) if node.loss is None else (node.loss, 1.0, since)
        return torch.from_numpy(np.array(numbers, dtype=np.float64).reshape(-1, 3))

    def learning_rates(self, out: torch.Tensor) -> None:
        for k, node in enumerate(self._nodes):
            fill_rates(node.optimizer, node.parameters, self._hosted.layout.views(out[k]))

    def objectives(self, row: torch.Tensor, shards: Sequence[torch.Tensor], most: int) -> None:
        return None

    def buffers(self) -> list[dict[str, torch.Tensor]]:
        return [dict(node.model.named_buffers()) for node in self._nodes]

    def node_trees(self) -> list[Tree]:
        stays = {"batch": None} if self._hosted.batch_stays else {}
        return [node.tree() | stays for node in self._nodes]

    def restore(self, trees: Sequence[Tree]) -> None:
        for node, tree in zip(self._nodes, trees, strict=True):
            node.restore(tree)

    def _buffer(self) -> torch.Tensor:
        """Where directions are kept that optimizers read, (n, d)."""
        if self._directions is None:
            n, d = self._hosted.X.shape
            self._directions = zero_rows(n, d, self._hosted.X.dtype, self._hosted.X.device)
        return self._directions

    def _loss(self, k: int) -> torch.Tensor:
        node, task, regularizer = self._nodes[k], self._hosted.task, self._hosted.regularizer
        if node.batch is None:
            node.batch = self._hosted.samples(self._hosted.batches.next(k), k)
        inputs, targets = node.batch
        with global_stream(self._hosted.streams.of("model", k)):
            loss = task.loss_fn(node.model(inputs), targets)
            return loss if regularizer is None else loss + regularizer(node.model)

    def _gradient(self, k: int, out: torch.Tensor) -> None:
        """Writes the node's gradient on its batch into `out` (d,)."""
        node, noise = self._nodes[k], self._hosted.noise
        loss = self._loss(k)
        gradients = torch.autograd.grad(loss, node.parameters, materialize_grads=True)
        self._hosted.layout.flatten(list(gradients), out)
        if noise is not None:
            out += noise(self._hosted.streams.of("noise", k), out)
        self._note_loss(k, loss)

    def _note_loss(self, k: int, loss: torch.Tensor) -> None:
        value = self._nodes[k].loss = loss.item()
        if not math.isfinite(value):
            self._hosted.health.lose([k])

    def _clip(self, node: Node) -> None:
        if self._hosted.recipe.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(node.parameters, self._hosted.recipe.clip_grad_norm)

    def _optimizer_step(self, k: int) -> None:
        """The node's optimizer takes a step with what is in the parameters' `grad`."""
        node = self._nodes[k]
        if self._demands_finite and not is_finite([p.grad for p in node.parameters if p.grad is not None]):
            self._hosted.health.lose([k])
            self._hosted.X[k] = math.nan  # and so it stays
            return
        self._clip(node)
        if node.needs_closure:
            node.optimizer.step(self._closure(k))
        else:
            node.optimizer.step()
        for p, place in zip(node.parameters, node.places, strict=True):
            if p.data_ptr() != place:
                raise ValueError(
                    f"{type(node.optimizer).__name__} rebound the data of a parameter instead of updating it in "
                    "place, so its row no longer follows; write `p.copy_(...)` for `p.data = ...`"
                )

    def _closure(self, k: int) -> Callable[[], float]:
        """Evaluates the node's same batch again, into the row of directions that its optimizer reads."""
        node, row = self._nodes[k], self._buffer()[k]

        def closure() -> float:
            self.gradient_evals += 1
            with torch.enable_grad():
                self._gradient(k, row)
            self._clip(node)
            assert node.loss is not None
            return node.loss

        return closure

    def _point(self, node: Node, row: torch.Tensor) -> None:
        for p, view in zip(node.parameters, self._hosted.layout.views(row), strict=True):
            p.data = view


def _make_dense(p: torch.Tensor) -> None:
    """Makes a gradient contiguous, as in a row: matrix products give other bits for other strides.

    It is zero where the loss does not depend on the parameter.
    """
    p.grad = torch.zeros_like(p) if p.grad is None else p.grad.contiguous()
