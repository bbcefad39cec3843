"""Frank-Wolfe methods: known answers, feasibility, state, parameter groups."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from gossipsim.models import MLP, Vector
from gossipsim.optim import FrankWolfe, StochasticFrankWolfe, step_size
from gossipsim.optim.constraints import L1, L2, Linf


def minimise(optimizer, x, b, steps):
    for _ in range(steps):
        x.grad = (x - b).detach()  # f = 1/2 ||x - b||^2
        optimizer.step()


def vector(*start):
    return nn.Parameter(torch.tensor(start, dtype=torch.float64))


def test_l2_ball_known_answer():
    x, b = vector(0.3, 0.0, 0.0), torch.tensor([2.0, -3.0, 6.0], dtype=torch.float64)
    minimise(FrankWolfe([x], L2(2.0)), x, b, 2000)
    assert (x - 2 * b / b.norm()).norm() < 1e-5
    assert L2(2.0).contains(x, tol=1e-12)


@pytest.mark.parametrize("ball", [L1(2.0), L2(2.0), Linf(2.0)], ids=repr)
@pytest.mark.parametrize("rule", ["2/(t+2)", "1/(t+1)", "1/sqrt(t+1)"])
def test_first_step_reaches_a_vertex_and_feasibility_stays(ball, rule):
    torch.manual_seed(0)
    x, b = vector(9.0, -9.0, 9.0, 0.0), torch.randn(4, dtype=torch.float64) * 5
    optimizer = FrankWolfe([x], ball, step_size=rule)
    x.grad = (x - b).detach()
    vertex = ball.lmo(x.grad)
    optimizer.step()
    assert x.equal(vertex)
    for _ in range(50):
        minimise(optimizer, x, b, 1)
        assert ball.contains(x, tol=1e-12)


@pytest.mark.parametrize("ball", [L1(1.5), L2(1.5), Linf(1.5)], ids=repr)
def test_rate_of_the_agnostic_step(ball):
    """f - f* <= 2 L D^2 / (t + 2) (Jaggi 2013, theorem 1), here with L = 1."""
    torch.manual_seed(1)
    x, b = nn.Parameter(torch.zeros(20, dtype=torch.float64)), torch.randn(20, dtype=torch.float64)
    best = 0.5 * (ball.project(b) - b).square().sum()
    optimizer = FrankWolfe([x], ball)
    for t in range(1, 200):
        minimise(optimizer, x, b, 1)
        assert 0.5 * (x - b).square().sum() - best <= 2 * ball.diameter((20,)) ** 2 / (t + 2)


def test_harmonic_step_averages_the_vertices():
    x, box = vector(0.7), Linf(1.0)
    optimizer = FrankWolfe([x], box, step_size="harmonic")
    for g in (-1.0, -1.0, 1.0):
        x.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    assert x.item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("2/(t+2)", [1, 2 / 3, 1 / 2]),
        ("agnostic", [1, 2 / 3, 1 / 2]),
        ("1/(t+1)", [1, 1 / 2, 1 / 3]),
        ("harmonic", [1, 1 / 2, 1 / 3]),
        ("1/sqrt(t+1)", [1, 1 / math.sqrt(2), 1 / math.sqrt(3)]),
        (0.25, [0.25] * 3),
        (1, [1.0] * 3),
        (lambda t: 1 / (t + 3), [1 / 3, 1 / 4, 1 / 5]),
    ],
)
def test_step_sizes(rule, values):
    assert [step_size(rule)(t) for t in range(3)] == pytest.approx(values)


@pytest.mark.parametrize("rule", ["2/t", 0, 1.5, True, float("nan")])
def test_step_sizes_that_are_none(rule):
    with pytest.raises(ValueError, match=r"^step_size must"):
        FrankWolfe([vector(0.0)], L2(1.0), step_size=rule)


def reference_sfw(x, b, ball, steps, lr, momentum, rescale):
    """Pokutta et al. 2020, in the form of the authors' code."""
    m = None
    for _ in range(steps):
        g = x - b
        m = g if m is None else momentum * m + (1 - momentum) * g
        v = ball.lmo(m)
        factor = {"diameter": 1 / ball.diameter(x.shape), "gradient": m.norm() / (x - v).norm(), None: 1.0}[rescale]
        gamma = min(1.0, float(factor * lr))
        x = (1 - gamma) * x + gamma * v
    return x


@pytest.mark.parametrize("rescale", ["diameter", "gradient", None])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("ball", [L1(1.0), L2(1.0), Linf(1.0)], ids=repr)
def test_stochastic_frank_wolfe_against_a_reference(rescale, momentum, ball):
    torch.manual_seed(0)
    b, start = torch.randn(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    x = nn.Parameter(start.clone())
    optimizer = StochasticFrankWolfe([x], ball, lr=0.1, momentum=momentum, rescale=rescale)
    minimise(optimizer, x, b, 30)
    assert (x - reference_sfw(start, b, ball, 30, 0.1, momentum, rescale)).norm() < 1e-12
    assert ball.contains(x, tol=1e-12)


def test_stochastic_frank_wolfe_with_a_rule():
    x, y = vector(0.1, 0.2), vector(0.1, 0.2)
    b = torch.tensor([2.0, -1.0], dtype=torch.float64)
    minimise(StochasticFrankWolfe([x], L2(1.0), momentum=0.0, step_size="harmonic"), x, b, 9)
    minimise(FrankWolfe([y], L2(1.0), step_size="harmonic"), y, b, 9)
    assert x.equal(y)
    with pytest.warns(UserWarning, match=r"lr=0.5 is ignored"):
        StochasticFrankWolfe([x], L2(1.0), lr=0.5, step_size="harmonic")


@pytest.mark.parametrize(
    "params", [{"lr": -1}, {"lr": float("nan")}, {"momentum": 1.0}, {"momentum": -0.1}, {"rescale": "norm"}]
)
def test_parameters_out_of_range(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        StochasticFrankWolfe([vector(0.0)], L2(1.0), **params)


def train(model, optimizer, steps, seed):
    stream = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        inputs, targets = torch.randn(8, 5, generator=stream), torch.randint(0, 3, (8,), generator=stream)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


@pytest.mark.parametrize("kind", [FrankWolfe, StochasticFrankWolfe])
def test_state_dict_resumes_with_the_same_bits(kind):
    def fresh():
        torch.manual_seed(0)
        model = MLP((5,), 3, hidden=[7])
        return model, kind.for_model(model, L2("auto*5"))

    model, optimizer = fresh()
    train(model, optimizer, 5, seed=1)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    train(model, optimizer, 5, seed=2)

    file.seek(0)
    again, resumed = fresh()
    parameters, state = torch.load(file, weights_only=True)
    again.load_state_dict(parameters)
    resumed.load_state_dict(state)
    assert resumed.lmo_calls == 5 * 4
    train(again, resumed, 5, seed=2)
    assert all(p.equal(q) for p, q in zip(model.parameters(), again.parameters(), strict=True))
    assert resumed.lmo_calls == optimizer.lmo_calls == 10 * 4


def test_for_model_gives_each_parameter_its_own_radius():
    model = MLP((4,), 3, hidden=[5])
    stream = torch.get_rng_state()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = FrankWolfe.for_model(model, constraint=Linf("auto*2"), step_size="harmonic")
    assert [p is q for (p, _), q in zip(optimizer.constraints(), model.parameters(), strict=True)] == [True] * 4
    assert [one.radius for _, one in optimizer.constraints()] == pytest.approx(
        [2 / math.sqrt(3 * fan_in) for fan_in in (4, 4, 5, 5)]
    )
    assert torch.get_rng_state().equal(stream)
    assert all(p.equal(q) for p, q in zip(model.parameters(), before, strict=True))


def test_frozen_parameters_do_not_shift_the_sets():
    model = MLP((4,), 3, hidden=[5])
    model.layers[0].weight.requires_grad_(False)
    pairs = FrankWolfe.for_model(model, L2("auto*1")).constraints()
    assert [p.shape for p, _ in pairs] == [(5,), (3, 5), (3,)]
    assert pairs[1][1].radius == pytest.approx(1.0)


def test_what_cannot_be_resolved_names_the_parameter():
    with pytest.raises(ValueError, match=r"constraint of parameter x: radius 'auto\*2': Vector.x starts at zero"):
        FrankWolfe.for_model(Vector(3), L2("auto*2"))
    with pytest.raises(ValueError, match="for_model"):
        FrankWolfe(Vector(3).parameters(), L2("auto*2"))
    with pytest.raises(ValueError, match="1 sets for 4 parameters"):
        FrankWolfe.for_model(MLP((4,), 3), [L2(1.0)])


def test_parameter_groups_closure_and_missing_gradients():
    x, y, z = vector(0.0), vector(0.0), vector(0.5)
    optimizer = StochasticFrankWolfe(
        [{"params": [x]}, {"params": [y, z], "constraint": [Linf(3.0), L1(1.0)], "lr": 3.0}], L2(1.0), momentum=0
    )
    assert [one for _, one in optimizer.constraints()] == [L2(1.0), Linf(3.0), L1(1.0)]

    def closure():
        optimizer.zero_grad()
        loss = (x - 5).square().sum() + (y - 5).square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 50.0
    assert (x.item(), y.item(), z.item()) == pytest.approx((0.1 / 2, 3.0 / 6 * 3, 0.5))
    assert optimizer.lmo_calls == 2
    twin = copy.deepcopy(optimizer)
    assert [one for _, one in twin.constraints()] == [L2(1.0), Linf(3.0), L1(1.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_updates_are_in_place(dtype):
    row = torch.zeros(2, 3, dtype=dtype)
    x = nn.Parameter(row[1])
    for optimizer in (FrankWolfe([x], L2(1.0)), StochasticFrankWolfe([x], L1(1.0))):
        x.grad = torch.ones(3, dtype=dtype)
        optimizer.step()
    assert x.data_ptr() == row[1].data_ptr()
    assert row[1].abs().sum() > 0
    assert row[0].abs().sum() == 0
