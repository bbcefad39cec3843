"""Projected SGD: against torch's SGD, and against a loop by hand."""

import io

import pytest
import torch
from torch import nn

from gossipsim.models import MLP
from gossipsim.optim import ProjectedSGD
from gossipsim.optim.constraints import L1, L2, Linf, Unconstrained

OPTIONS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"weight_decay": 0.1},
    {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
]


def train(model, optimizer, steps, seed=1):
    stream = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        inputs, targets = torch.randn(8, 5, generator=stream), torch.randint(0, 3, (8,), generator=stream)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def mlp():
    torch.manual_seed(0)
    return MLP((5,), 3, hidden=[7])


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_without_sets_it_is_sgd_to_the_bit(options):
    one, two = mlp(), mlp()
    train(one, ProjectedSGD(one.parameters(), Unconstrained(), lr=0.1, **options), 20)
    train(two, torch.optim.SGD(two.parameters(), lr=0.1, **options), 20)
    assert all(p.equal(q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("ball", [L1(0.8), L2(0.5), Linf(0.2)], ids=repr)
@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_against_a_loop(ball, options):
    momentum, decay = options.get("momentum", 0.0), options.get("weight_decay", 0.0)
    stream = torch.Generator().manual_seed(0)
    gs = torch.randn(30, 6, dtype=torch.float64, generator=stream)
    x = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = ProjectedSGD([x], ball, lr=0.1, **options)
    y, buffer = x.detach().clone(), None
    for g in gs:
        x.grad = g.clone()
        optimizer.step()
        assert x.grad.equal(g)
        g = g + decay * y  # noqa: PLW2901
        buffer = g if buffer is None else momentum * buffer + g
        y = ball.project(y - 0.1 * (g + momentum * buffer if options.get("nesterov") else buffer if momentum else g))
        assert (x - y).abs().max() < 1e-13
        assert ball.violation(x) < 1e-12
    assert ball.violation(x - 0.1 * gs[-1]) > 0.01  # the projection acts


def test_it_converges_to_the_projection():
    b, x = torch.tensor([2.0, -3.0, 6.0], dtype=torch.float64), nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = ProjectedSGD([x], L1(1.5), lr=0.5)
    for _ in range(100):
        x.grad = (x - b).detach()
        optimizer.step()
    assert (x - L1(1.5).project(b)).norm() < 1e-14


def test_it_knows_no_oracle():
    """What a recorder looks at."""
    optimizer = ProjectedSGD([nn.Parameter(torch.zeros(2))], L2(1.0), lr=0.1)
    assert not optimizer.lmo_based
    assert not hasattr(optimizer, "lmo_calls")
    assert not hasattr(optimizer, "fw_gap")
    assert not optimizer.needs_closure
    assert [one for _, one in optimizer.constraints()] == [L2(1.0)]
    assert optimizer.feasibility == 0


def test_start_schedule_groups_and_places():
    model = mlp()
    optimizer = ProjectedSGD.for_model(model, L2("auto*0.1"), lr=1.0)
    assert optimizer.feasibility < 1e-6
    rows = torch.zeros(2, 2)
    x, y = nn.Parameter(rows[0]), nn.Parameter(rows[1])
    groups = [{"params": [x]}, {"params": [y], "constraint": Linf(0.1), "lr": 3.0}]
    optimizer = ProjectedSGD(groups, L2(10.0), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for _ in range(2):
        x.grad = y.grad = torch.tensor([1.0, 0.0])
        optimizer.step()
        scheduler.step()
    assert rows.tolist() == [[-1.5, 0.0], [pytest.approx(-0.1), 0.0]]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_resuming_gives_the_same_bits(options):
    def fresh():
        model = mlp()
        return model, ProjectedSGD.for_model(model, L2("auto*0.5"), lr=0.1, **options)

    one, first = fresh()
    train(one, first, 5)
    file = io.BytesIO()
    torch.save([one.state_dict(), first.state_dict()], file)
    file.seek(0)
    two, second = fresh()
    parameters, state = torch.load(file, weights_only=True)
    two.load_state_dict(parameters)
    second.load_state_dict(state)
    train(one, first, 5, seed=2)
    train(two, second, 5, seed=2)
    assert all(p.equal(q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("params", [{"lr": -1}, {"momentum": -0.1}, {"weight_decay": float("nan")}], ids=repr)
def test_parameters_out_of_range(params):
    with pytest.raises(ValueError, match=rf"^{next(iter(params))} must"):
        ProjectedSGD([nn.Parameter(torch.zeros(1))], L2(1.0), **{"lr": 0.1, **params})
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        ProjectedSGD([nn.Parameter(torch.zeros(1))], L2(1.0), lr=0.1, nesterov=True)
