"""Evaluations recomputed by hand: the mean model, the nodes' own models, and models with buffers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gossipsim
from gossipsim import testing
from gossipsim.config import plan
from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.parts import Parts
from gossipsim.trainers.evaluation import MAX_LOCAL, Evaluator, evaluated_nodes
from gossipsim.world import World

NODES = 5
DIGITS = {"class": "gossipsim.tasks.DigitsSupervisedTask", "params": {"train_size": 200, "val_size": 0}}


class Normed(nn.Module):
    """A small model with BatchNorm: running averages and a counter are buffers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(inputs.flatten(1)))


def _digits(model: Any, nodes: int = NODES, **trainer: Any) -> dict[str, Any]:
    return {
        "name": "digits",
        "tasks": [
            {
                "task": DIGITS,
                "models": [model],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": 0.3}}],
            }
        ],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": 6, "batch_size": 8, "eval_every": 3, "log_every": 2} | trainer,
        },
        "network": {"nodes": nodes},
        "partition": {"class": "gossipsim.data.Dirichlet", "params": {"alpha": 0.3, "min_samples": 2}},
    }


def _fill(model: nn.Module, row: torch.Tensor) -> nn.Module:
    nn.utils.vector_to_parameters(row, model.parameters())
    return model.eval()


@torch.no_grad()
def _test_metrics(parts: Parts, model: nn.Module) -> tuple[float, float]:
    inputs, targets = parts.task.test.tensors  # type: ignore[union-attr]
    output = model(inputs)
    return float(parts.task.loss_fn(output, targets)), float((output.argmax(1) == targets).double().mean())


@pytest.mark.parametrize(("local_eval", "evaluated"), [(True, [0, 1, 2, 3, 4]), (2, [0, 2]), (99, [0, 1, 2, 3, 4])])
def test_metrics_of_the_nodes_own_models(local_eval: bool | int, evaluated: list[int], tmp_path: Path) -> None:
    config = _digits("gossipsim.models.LogisticRegression", local_eval=local_eval)
    (run,) = gossipsim.run(config, workflow=tmp_path).runs
    parts = Parts(plan(config).runs[0])
    rows = torch.from_numpy(run.parameters())
    losses, accuracies = zip(*(_test_metrics(parts, _fill(parts.model(), rows[i])) for i in evaluated), strict=True)
    last = run.history[-1]
    assert last["local_test_loss_mean"] == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    assert last["local_test_loss_worst"] == pytest.approx(max(losses), rel=1e-6)
    assert last["local_test_accuracy_mean"] == pytest.approx(sum(accuracies) / len(accuracies))
    assert last["local_test_accuracy_worst"] == pytest.approx(min(accuracies))
    loss, accuracy = _test_metrics(parts, _fill(parts.model(), rows.mean(0)))
    assert last["test_loss"] == pytest.approx(loss, rel=1e-6)
    assert last["test_accuracy"] == pytest.approx(accuracy)
    assert not any(name.startswith("val_") for name in last)


@pytest.mark.parametrize(("nodes", "local_eval"), [(NODES, False), (1, True)])
def test_no_local_metrics_where_off_or_where_the_node_is_the_mean(nodes: int, local_eval: bool, tmp_path: Path) -> None:
    config = _digits("gossipsim.models.LogisticRegression", nodes, local_eval=local_eval)
    (run,) = gossipsim.run(config, workflow=tmp_path).runs
    assert not any(name.startswith("local_") for record in run.history for name in record)


def test_many_nodes_are_subsampled_evenly() -> None:
    found = evaluated_nodes(1000, True)
    assert len(found) == MAX_LOCAL
    assert {b - a for a, b in pairwise(found)} <= {31, 32}


def test_the_training_loss_weighs_nodes_equally(tmp_path: Path) -> None:
    """f is the mean over nodes of f_i, not over samples: the shards here differ in size."""
    config = _digits("gossipsim.models.LogisticRegression")
    (run,) = gossipsim.run(config, workflow=tmp_path).runs
    parts = Parts(plan(config).runs[0])
    assert len(set(map(len, parts.shards))) > 1
    model = _fill(parts.model(), torch.from_numpy(run.parameters()).mean(0))
    inputs, targets = parts.task.train.tensors
    with torch.no_grad():
        losses = [float(parts.task.loss_fn(model(inputs[s]), targets[s])) for s in parts.shards]
    assert run.history[-1]["train_loss"] == pytest.approx(sum(losses) / NODES, rel=1e-6)


class TestBuffers:
    """They stay with their node and are not sent; the mean model is evaluated with their mean."""

    config = _digits(f"{__name__}.Normed")

    def _played(self) -> tuple[Parts, Nodes, Evaluator]:
        parts = Parts(plan(self.config).runs[0])
        world = World(NODES)
        train, held_out = parts.tensors(world.device, parts.trainer.dtype)
        nodes = Nodes(world, parts.task, parts.recipe(), parts.shards, train)
        mix = Mix(world, parts.network)
        for _ in range(3):
            parts.strategy.round(nodes, mix)
            mix.round += 1
        return parts, nodes, Evaluator(nodes, parts.shards, train, held_out, None, True)

    def test_the_mean_model_has_the_mean_buffers(self) -> None:
        parts, nodes, evaluator = self._played()
        buffers = [dict(node.model.named_buffers()) for node in nodes]
        running = torch.stack([b["norm.running_mean"] for b in buffers])
        assert len({tuple(row.tolist()) for row in running}) == NODES
        model = _fill(parts.model(), nodes.X.mean(0))
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.stack([b[name] for b in buffers]).mean(0))
        metrics = evaluator.held_out_metrics(nodes.X.mean(0))
        loss, accuracy = _test_metrics(parts, model)
        assert metrics == {"test_loss": pytest.approx(loss, rel=1e-5), "test_accuracy": pytest.approx(accuracy)}
        own = [_test_metrics(parts, _fill(node.model, nodes.X[k]))[0] for k, node in enumerate(nodes)]
        assert evaluator.by_node(evaluator.own_metrics())["local_test_loss"] == pytest.approx(own, rel=1e-5)
        worst = evaluator.over_nodes(evaluator.own_metrics())["local_test_loss_worst"]
        assert worst == pytest.approx(max(own), rel=1e-5)

    def test_an_evaluation_leaves_the_nodes_as_they_were(self) -> None:
        _, nodes, evaluator = self._played()
        rows, modes = nodes.X.clone(), [node.model.training for node in nodes]
        buffers = [{name: b.clone() for name, b in node.model.named_buffers()} for node in nodes]
        mean = nodes.X.mean(0)
        evaluator.everything(mean, evaluator.distances(mean), evaluator.own_metrics())
        assert torch.equal(nodes.X, rows)
        assert [node.model.training for node in nodes] == modes == [True] * NODES
        for node, before in zip(nodes, buffers, strict=True):
            assert all(torch.equal(b, before[name]) for name, b in node.model.named_buffers())

    def test_only_parameters_are_sent(self, tmp_path: Path) -> None:
        (run,) = gossipsim.run(self.config, workflow=tmp_path).runs
        d = 64 + 64 + 64 * 10 + 10
        assert run.summary["parameters"] == d
        assert run.history[-1]["bytes_sent"] == 6 * 2 * NODES * d * 4

    def test_layout(self) -> None:
        testing.layout(self.config, processes=(1, 2))
