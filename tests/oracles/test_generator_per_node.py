"""A second implementation of two strategies, one Python generator per node, that must agree bit for bit.

It shares with the package the data order and the initial draw of a node (the streams); nothing of rows, worlds, plans
or kernels. A node is a generator that yields the message it sends and is sent what its neighbours have yielded.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from gossipsim import testing
from gossipsim.config import plan
from gossipsim.data.batches import Batches
from gossipsim.models import CNN
from gossipsim.parts import Parts
from gossipsim.streams import generator, global_stream

NODES, STEPS, LR, BATCH = 6, 9, 0.05, 8
Messages = Generator[Tensor, dict[int, Tensor], None]


class Learner:
    """A model with its own parameters, gradients by the book, SGD with momentum written out."""

    def __init__(self, ident: int, task: Any, shard: Tensor) -> None:
        with global_stream(generator(0, 0, "init")):
            self.model = CNN(task.input_shape, task.num_classes, channels=[4, 8], hidden=16, dropout=0.3)
        self.task, self.stream = task, generator(0, ident, "model")
        self.batches = Batches([shard], BATCH, seed=0, keys=[ident])
        self.velocity: Tensor | None = None

    def row(self) -> Tensor:
        return torch.nn.utils.parameters_to_vector(self.model.parameters()).detach().clone()

    def put(self, row: Tensor) -> None:
        torch.nn.utils.vector_to_parameters(row, self.model.parameters())

    def gradient(self) -> Tensor:
        batch = self.batches.next(0)
        inputs, targets = self.task.train.tensors
        self.model.zero_grad()
        with global_stream(self.stream):
            torch.autograd.backward(self.task.loss_fn(self.model(inputs[batch]), targets[batch]))
        return torch.cat([p.grad.reshape(-1) for p in self.model.parameters() if p.grad is not None])

    def descend(self, direction: Tensor) -> None:
        self.velocity = direction.clone() if self.velocity is None else self.velocity * 0.9 + direction
        self.put(self.row().add(self.velocity, alpha=-LR))


def _average(weights: dict[int, float], rows: dict[int, Tensor]) -> Tensor:
    """The sum over the closed neighbourhood in ascending node id, started from the first term."""
    first, *others = sorted(weights)
    total = rows[first] * weights[first]
    for j in others:
        total = total + rows[j] * weights[j]
    return total


def _local_then_gossip(learner: Learner, weights: dict[int, float]) -> Messages:
    for _ in range(STEPS):
        learner.descend(learner.gradient())
        learner.put(_average(weights, (yield learner.row())))


def _gradient_tracking_atc(learner: Learner, weights: dict[int, float]) -> Messages:
    tracked = old = learner.gradient()
    learner.descend(tracked)
    learner.put(_average(weights, (yield learner.row())))
    for _ in range(STEPS - 1):
        new = learner.gradient()
        tracked, old = _average(weights, (yield tracked - old + new)), new
        learner.descend(tracked)
        learner.put(_average(weights, (yield learner.row())))


def _play(behaviour: Any, learners: list[Learner], W: np.ndarray[Any, Any]) -> None:
    """Delivers to every node, exchange after exchange, what its neighbours have sent."""
    weights = [{int(j): float(W[i, j]) for j in np.flatnonzero(W[i])} for i in range(NODES)]
    actors = [behaviour(learner, weights[i]) for i, learner in enumerate(learners)]
    sent = {i: next(actor) for i, actor in enumerate(actors)}
    while sent:
        following = {}
        for i, actor in enumerate(actors):
            try:
                following[i] = actor.send({j: sent[j] for j in weights[i]})
            except StopIteration:
                continue
        sent = following


@pytest.mark.parametrize(
    ("strategy", "behaviour"),
    [
        ("gossipsim.strategies.LocalThenGossip", _local_then_gossip),
        ("gossipsim.strategies.GradientTracking", _gradient_tracking_atc),
    ],
)
def test_bit_for_bit(strategy: str, behaviour: Any) -> None:
    graph = nx.random_labeled_tree(NODES, seed=4)
    graph.add_edge(0, 5)
    config = {
        "name": "generators",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.DigitsSupervisedTask", "params": {"train_size": 300}},
                "models": [
                    {"class": "gossipsim.models.CNN", "params": {"channels": [4, 8], "hidden": 16, "dropout": 0.3}}
                ],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": LR, "momentum": 0.9}}],
            }
        ],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": {"steps": STEPS, "batch_size": BATCH}},
        "network": {
            "nodes": NODES,
            "topology": {"class": "networkx.from_edgelist", "params": {"edgelist": [list(e) for e in graph.edges]}},
        },
        "strategy": strategy,
    }
    parts = Parts(plan(config).runs[0])
    learners = [Learner(i, parts.task, parts.shards[i]) for i in range(NODES)]
    order = list(nx.from_edgelist(graph.edges))  # node k of the run is the k-th in networkx's order
    W = np.zeros((NODES, NODES))
    for u, v in graph.edges:
        i, j = order.index(u), order.index(v)
        W[i, j] = W[j, i] = 1 / (1 + max(graph.degree[u], graph.degree[v]))
    np.fill_diagonal(W, 1 - W.sum(1))
    _play(behaviour, learners, W)
    found = testing.trajectory(parts, STEPS)[-1]
    expected = torch.stack([learner.row() for learner in learners]).numpy()
    assert np.array_equal(found, expected)
