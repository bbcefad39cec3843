"""Logistic regression: the optimum has no gradient left, for both kinds of model."""

import pytest
import torch

from gossipsim.data import Dirichlet
from gossipsim.models import MLP, LogisticRegression, Vector
from gossipsim.streams import generator
from gossipsim.tasks import LogisticTask


@pytest.mark.parametrize("l2", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("model", [Vector(8), LogisticRegression((8,), 2)], ids=["Vector", "LogisticRegression"])
def test_the_optimum_has_no_gradient_left(model, l2):
    task = LogisticTask(samples=200, dim=8, l2=l2)
    inputs, targets = task.train.tensors
    shards = Dirichlet(0.3, min_samples=1)(targets, 5, generator(0, None, "partition"))
    before = [p.detach().clone() for p in model.parameters()]
    optimum = task.optimum(model, shards)
    assert optimum is not None
    assert all(p.equal(q) for p, q in zip(model.parameters(), before, strict=True))

    precise = type(model)(8) if isinstance(model, Vector) else LogisticRegression((8,), 2)
    precise = precise.double()
    torch.nn.utils.vector_to_parameters(optimum.x, precise.parameters())
    losses = [task.loss_fn(precise(inputs[k]), targets[k]) + task.regularizer(precise) for k in shards]
    mean = torch.stack(losses).mean()
    gradients = torch.autograd.grad(mean, list(precise.parameters()))
    assert torch.cat([g.flatten() for g in gradients]).norm() <= 1e-10
    assert mean.item() == pytest.approx(optimum.value, abs=1e-14)


def test_nodes_are_weighed_equally():
    task = LogisticTask(samples=100)
    few = [torch.arange(10), torch.arange(10, 100)]
    equal = [torch.arange(50), torch.arange(50, 100)]
    first, second = (task.optimum(Vector(10), shards) for shards in (few, equal))
    assert first is not None
    assert second is not None
    assert (first.x - second.x).norm() > 1e-3


def test_no_optimum_where_the_problem_is_not_convex():
    task = LogisticTask(samples=50)
    assert task.optimum(MLP((10,), 2, hidden=[4]), [torch.arange(50)]) is None


def test_both_losses_agree_and_metrics():
    task = LogisticTask(samples=50, dim=3)
    inputs, targets = task.train.tensors
    logit = inputs @ torch.ones(3, dtype=torch.float64)
    pair = torch.stack([torch.zeros_like(logit), logit], dim=1)
    assert float(task.loss_fn(logit, targets)) == pytest.approx(float(task.loss_fn(pair, targets)))
    assert task.metrics_fn(logit, targets) == task.metrics_fn(pair, targets)
    assert task.loss_fn(logit.float(), targets).dtype == torch.float32


def test_data_are_seeded():
    same, again, other = (LogisticTask(samples=20, seed=s).train.tensors[0] for s in (0, 0, 1))
    assert same.equal(again)
    assert not same.equal(other)
    assert LogisticTask().split == {"train": 1000, "val": 200, "test": 500}


@pytest.mark.parametrize("params", [{"l2": 0}, {"samples": 0}, {"dim": 0}, {"scale": -1}, {"val_size": -1}])
def test_parameters_out_of_range(params):
    with pytest.raises(ValueError, match=f"^{next(iter(params))} "):
        LogisticTask(**params)
