"""Every benchmark runs, small, and says what it measured; how fast this machine is plays no part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from gossipsim.bench import exchange, many_nodes, mixing, one_node, startup
from gossipsim.bench.jobs import LOGISTIC, Workers, images, job
from gossipsim.bench.many_nodes import Case, NaiveLoop
from gossipsim.bench.measuring import Figures
from gossipsim.execution import one_thread
from gossipsim.nodes import Nodes
from gossipsim.world import World
from gossipsim.world.transport import Transport

SMALL: dict[str, tuple[Callable[[], Figures], int]] = {
    "one_node": (lambda: one_node.one_node(1, (("logistic", LOGISTIC, 20),)), 2),
    "many_nodes": (lambda: many_nodes.against_naive(1, (Case("logistic", LOGISTIC, 5, 20, 8.0),)), 1),
    "engines": (lambda: many_nodes.engines(1, (("logistic", LOGISTIC, 5, 20, ("auto", "stacked")),)), 2),
    "thousand_nodes": (lambda: many_nodes.thousand(1, nodes=6, steps=20), 1),
    "scaling": (lambda: many_nodes.scaling(1, (4, 8), work=160), 1),
    "mixing": (lambda: mixing.mixing(1, ((8, 100),)), 3),
    "exchange": (lambda: exchange.exchange(1, size=3, rounds=2), 2),
    "ring_step": (lambda: exchange.ring_step(1, size=3, steps=4), 1),
    "ddp": (lambda: exchange.ddp(1, size=2, steps=4), 2),
    "startup": (lambda: startup.startup(1, {3: 0.6}), 1),
    "many_ranks": (lambda: startup.many_ranks(1, size=4, steps=10), 0),
}
"""Suites with tiny sizes, and how many of their figures have a goal."""


@pytest.fixture(autouse=True)
def _single_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize("name", SMALL)
def test_a_suite_measures_something(name: str) -> None:
    suite, goals = SMALL[name]
    figures = suite()
    assert all(math.isfinite(figure.value) and figure.value > 0 for figure in figures.values())
    assert all(figure.unit for figure in figures.values())
    assert sum(figure.holds is not None for figure in figures.values()) == goals


def _bias(model: nn.Module) -> torch.Tensor:
    return dict(model.named_parameters())["linear.bias"]


def test_the_naive_loop_takes_the_step_of_ours() -> None:
    """One round of the baseline moves models as D-SGD does: a step each, then the mean of three."""
    parts = job(images(40), LOGISTIC, 10, 4)
    naive = NaiveLoop(parts)
    for shard_number, shard in enumerate(naive.shards):
        naive.shards[shard_number] = shard[:1].repeat(32)  # whatever is drawn is the same sample
    before = [_bias(model).detach().clone() for model in naive.models]
    steps = []
    for model, shard in zip(naive.models, naive.shards, strict=True):
        loss = naive.loss(model(naive.inputs[shard]), naive.targets[shard])
        (gradient,) = torch.autograd.grad(loss, [_bias(model)])
        steps.append(-0.05 * gradient)
    naive.seconds(1)
    stepped = [b + s for b, s in zip(before, steps, strict=True)]
    for i, model in enumerate(naive.models):
        expected = (stepped[i - 1] + stepped[i] + stepped[(i + 1) % 4]) / 3
        assert torch.allclose(_bias(model), expected, atol=1e-6)


def test_auto_is_stacked_where_it_is_said_to_be() -> None:
    """What `many_nodes` measures is the stacked engine, or its goals mean nothing."""
    parts = job(images(640), LOGISTIC, 10, 64)
    train, _ = parts.tensors(torch.device("cpu"), torch.float32)
    nodes = Nodes(World(64), parts.task, parts.recipe(), parts.shards, train)
    assert nodes.engine.name == "stacked", nodes.engine_choice


def test_a_rank_that_fails_is_told() -> None:
    def fail(transport: Transport) -> float:
        raise ZeroDivisionError("on purpose")

    with Workers(2, {"fail": fail}) as workers, pytest.raises(RuntimeError, match="on purpose"):
        workers.largest("fail")()
