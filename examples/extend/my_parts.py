"""A strategy, an optimizer, a task, a partition and a topology of your own: plain classes, no registration.

experiment.json names them as `my_parts.<Name>`; the folder of the experiment file is on the import path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.strategies import Claims


class RelaxedGossip:
    """Heavy-ball momentum at every node, then a careful step towards the neighbours' average.

        M <- beta M + G(X);   apply(M);   X <- X + gamma (W X - X)

    One node with beta = 0 is the plain optimizer. Rows are (nodes hosted here, d): never ask how many that are.

    Args:
        gamma: how far to go towards W X, 0 < gamma <= 1. beta: momentum, 0 <= beta < 1.
    """

    claims = Claims(sends=1, exact=False)  # checked before a run, measured by gossipsim.testing

    def __init__(self, gamma: float = 0.5, beta: float = 0.9) -> None:
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {gamma}")
        self.gamma, self.beta = gamma, beta

    def init(self, nodes: Nodes, mix: Mix) -> None:
        pass

    def round(self, nodes: Nodes, mix: Mix) -> None:
        X, M = nodes.X, nodes.rows("M")  # named rows start at zero and are part of a checkpoint
        M[:] = self.beta * M + nodes.grad()
        nodes.apply(M)
        X[:] = X + self.gamma * (mix(X) - X)  # into X, in place: the models' parameters are views of it


class SignSGD(torch.optim.Optimizer):
    """p <- p - lr sign(gradient), in place as every optimizer of torch."""

    def __init__(self, params: Any, lr: float = 0.01) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad.sign())


class WaveTask:
    """Regression: y = sin(3 x) + noise on [-1, 1]. A seed of its own, so that all runs see the same data."""

    input_shape = (1,)
    num_classes = 1  # outputs of the model

    def __init__(self, samples: int = 256, noise: float = 0.1, seed: int = 0) -> None:
        draws = torch.Generator().manual_seed(seed)
        x = 2 * torch.rand(samples + 64, 1, generator=draws) - 1
        y = torch.sin(3 * x[:, 0]) + noise * torch.randn(samples + 64, generator=draws)
        self.train = TensorDataset(x[:samples], y[:samples])
        self.val = None
        self.test = TensorDataset(x[samples:], y[samples:])

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(output[:, 0], target)

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        return {"absolute_error": float((output[:, 0] - target).abs().mean())}


class ByTarget:
    """Node 0 owns the smallest targets, the last node the largest: as heterogeneous as it gets."""

    def __call__(self, labels: Tensor, nodes: int, generator: torch.Generator) -> list[Tensor]:
        return list(labels.argsort(stable=True).tensor_split(nodes))


class Couples:
    """Every node meets one neighbour of the ring per round, left and right in turn."""

    period = 2  # the graphs of rounds 0 and 1 repeat

    def __init__(self, n: int) -> None:
        if n % 2:
            raise ValueError(f"Couples needs an even number of nodes, got {n}")
        self.n = n

    def graph(self, round: int) -> nx.Graph:  # noqa: A002
        graph = nx.empty_graph(self.n)
        graph.add_edges_from((i, (i + 1) % self.n) for i in range(round % 2, self.n, 2))
        return graph
