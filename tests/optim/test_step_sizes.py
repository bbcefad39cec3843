"""Step-size rules: values, the objective behind the closed-loop ones, their state, schedules."""

import copy
import io
import itertools
import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from gossipsim.optim import FrankWolfe, StochasticFrankWolfe, step_size
from gossipsim.optim.constraints import L1, L2, Linf
from gossipsim.optim.step_sizes import (
    Agnostic,
    Backtracking,
    Constant,
    Harmonic,
    InverseSqrt,
    LineSearch,
    ShortStep,
    StepSize,
)
from gossipsim.spec import build_optimizer


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("2/(t+2)", [1, 2 / 3, 1 / 2]),
        ("agnostic", [1, 2 / 3, 1 / 2]),
        (Agnostic(), [1, 2 / 3, 1 / 2]),
        ("1/(t+1)", [1, 1 / 2, 1 / 3]),
        ("harmonic", [1, 1 / 2, 1 / 3]),
        (Harmonic(), [1, 1 / 2, 1 / 3]),
        ("1 / (t + 2)", [1 / 2, 1 / 3, 1 / 4]),
        (Harmonic(start=4), [1 / 4, 1 / 5, 1 / 6]),
        ("1/sqrt(t+1)", [1, 1 / math.sqrt(2), 1 / math.sqrt(3)]),
        (InverseSqrt(), [1, 1 / math.sqrt(2), 1 / math.sqrt(3)]),
        (0.25, [0.25] * 3),
        (Constant(gamma=0.25), [0.25] * 3),
        (1, [1.0] * 3),
        (lambda t: 1 / (t + 3), [1 / 3, 1 / 4, 1 / 5]),
    ],
)
def test_open_loop(rule, values):
    assert [step_size(rule)(t) for t in range(3)] == pytest.approx(values)


@pytest.mark.parametrize("rule", ["2/t", 0, 1.5, True, float("nan"), [1], Agnostic])
def test_rules_that_are_none(rule):
    with pytest.raises(ValueError, match=r"^step_size must"):
        FrankWolfe([vector(0.0)], L2(1.0), step_size=rule)


@pytest.mark.parametrize(
    ("kind", "params", "field"),
    [
        (Constant, {"gamma": 2}, "step_size"),
        (Harmonic, {"start": 0}, "start"),
        (ShortStep, {"L": 0}, "L"),
        (ShortStep, {"L": float("inf")}, "L"),
        (Backtracking, {"eta": 1.5}, "eta"),
        (Backtracking, {"tau": 1}, "tau"),
    ],
)
def test_parameters_out_of_range(kind, params, field):
    with pytest.raises(ValueError, match=rf"^{field} must"):
        kind(**params)


def vector(*start):
    return nn.Parameter(torch.tensor(start, dtype=torch.float64))


class Problem:
    """f on R^n with a closure; `x` is its parameter."""

    def __init__(self, f, start):
        self.f, self.x = f, nn.Parameter(start.clone())
        self.evaluated = []

    def closure(self):
        self.evaluated.append(self.x.detach().clone())
        value = self.f(self.x)
        self.x.grad = torch.autograd.grad(value, self.x)[0]
        return value

    def value(self):
        return self.f(self.x.detach()).item()

    def run(self, optimizer, steps):
        values = []
        for _ in range(steps):
            optimizer.step(self.closure)
            values.append(self.value())
        return values


def quadratic(n=6, condition=10.0, seed=0):
    """1/2 (x - b)^T H (x - b), with eigenvalues 1 ... condition."""
    stream = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(n, n, generator=stream, dtype=torch.float64)).Q
    h = q @ torch.diag(torch.linspace(1, condition, n, dtype=torch.float64)) @ q.T
    b = torch.randn(n, generator=stream, dtype=torch.float64)
    return (lambda x: 0.5 * (x - b) @ h @ (x - b)), h, b


def logistic(n=6):
    stream = torch.Generator().manual_seed(3)
    rows = torch.randn(20, n, generator=stream, dtype=torch.float64)
    return lambda x: nn.functional.softplus(rows @ x * 3).sum() + 0.1 * x.square().sum()


def test_short_step_against_its_formula():
    f, h, b = quadratic()
    problem = Problem(f, torch.ones(6, dtype=torch.float64))
    optimizer = FrankWolfe([problem.x], L2(1.5), step_size=ShortStep(L=20))
    for _ in range(8):
        x = problem.x.detach().clone()
        g = h @ (x - b)
        v = -1.5 * g / g.norm()
        x = x + min(1.0, (g @ (x - v) / (20 * (x - v).square().sum())).item()) * (v - x)
        problem.run(optimizer, 1)
        assert (problem.x - x).norm() < 1e-13


@pytest.mark.parametrize("f", [quadratic()[0], logistic()], ids=["quadratic", "logistic"])
@pytest.mark.parametrize("ball", [L1(2.0), L2(2.0), Linf(0.5)], ids=repr)
def test_line_search_against_a_minimiser_on_the_segment(f, ball):
    problem = Problem(f, torch.full((6,), 0.1, dtype=torch.float64))
    optimizer = FrankWolfe([problem.x], ball, step_size=LineSearch())
    for _ in range(8):
        x = problem.x.detach().clone()
        problem.closure()
        v = ball.lmo(problem.x.grad)
        best = minimize_scalar(lambda t: f(x + t * (v - x)).item(), bounds=(0, 1), method="bounded")  # noqa: B023
        optimizer.step(problem.closure)
        assert problem.value() <= min(best.fun, f(v).item()) + 1e-13


def test_line_search_costs_few_evaluations():
    problem = Problem(quadratic()[0], torch.zeros(6, dtype=torch.float64))
    problem.run(FrankWolfe([problem.x], L2(1.0), step_size=LineSearch()), 20)
    assert len(problem.evaluated) <= 20 * 5


def backtracking_reference(f, ball, x, steps, eta=0.9, tau=2.0):
    """Pedregosa et al. 2020, algorithms 1 and 2; the first constant as in the docstring."""
    gradient, constants = torch.func.grad(f), []
    for _ in range(steps):
        g = gradient(x)
        d = ball.lmo(g) - x
        gap, squared = -(g @ d), d @ d
        m = eta * constants[-1] if constants else ((gradient(x + 1e-3 * d) - g) @ d / (1e-3 * squared)).abs()
        while True:
            gamma = torch.clamp(gap / (m * squared), max=1.0)
            if f(x + gamma * d) <= f(x) - gamma * gap + gamma**2 * m / 2 * squared:
                break
            m = torch.maximum(tau * m, gap / squared)  # any smaller one gives gamma = 1 again
        x = x + gamma * d
        constants.append(m)
    return x, [float(m) for m in constants]


@pytest.mark.parametrize("ball", [L1(1.0), L2(0.5)], ids=repr)
def test_backtracking_against_a_reference(ball):
    start, steps = torch.zeros(6, dtype=torch.float64), 12
    problem = Problem(logistic(), start)
    optimizer = FrankWolfe([problem.x], ball, step_size=Backtracking())
    constants = []
    for _ in range(steps):
        problem.run(optimizer, 1)
        constants.append(optimizer.state[problem.x]["L"])
    x, expected = backtracking_reference(logistic(), ball, start, steps)
    assert constants == pytest.approx(expected, rel=1e-9)
    assert (problem.x - x).norm() < 1e-10
    changes = [new / old for old, new in itertools.pairwise(constants)]
    assert min(changes) == pytest.approx(0.9)
    assert max(changes) > 1


@pytest.mark.parametrize("f", [quadratic()[0], logistic()], ids=["quadratic", "logistic"])
@pytest.mark.parametrize("rule", [Backtracking(), LineSearch()], ids=repr)
def test_rules_with_the_objective_never_raise_it(f, rule):
    problem = Problem(f, torch.full((6,), 0.3, dtype=torch.float64))
    optimizer = FrankWolfe([problem.x], Linf(0.7), step_size=rule)
    values = problem.run(optimizer, 100)
    assert all(new <= old * (1 + 1e-14) for old, new in itertools.pairwise(values))
    assert optimizer.fw_gap < 0.1 * values[0]
    assert Linf(0.7).contains(problem.x.detach(), tol=1e-14)


def test_backtracking_keeps_its_constant_where_rounding_hides_the_objective():
    problem = Problem(lambda x: 1e9 + 0.5 * (x - 0.2).square().sum(), torch.zeros(4, dtype=torch.float32))
    optimizer = FrankWolfe([problem.x], L2(1.0), step_size=Backtracking())
    problem.run(optimizer, 300)
    assert 0 <= optimizer.state[problem.x]["L"] < 1e3
    assert problem.x.isfinite().all()


def test_backtracking_recovers_at_once_from_a_constant_that_has_fallen():
    problem = Problem(quadratic()[0], torch.zeros(6, dtype=torch.float64))
    optimizer = FrankWolfe([problem.x], L2(1.0), step_size=Backtracking())
    problem.run(optimizer, 2)
    optimizer.state[problem.x]["L"] = 1e-40
    problem.evaluated.clear()
    before = problem.value()
    assert problem.run(optimizer, 1)[0] < before
    assert len(problem.evaluated) < 12


def test_straight_lines():
    problem = Problem(lambda x: x.sum(), torch.zeros(4, dtype=torch.float64))
    for rule in (Backtracking(), LineSearch()):
        optimizer = FrankWolfe([problem.x], Linf(2.0), step_size=rule)
        problem.run(optimizer, 3)
        assert problem.x.equal(torch.full((4,), -2.0, dtype=torch.float64))


class Looks(StepSize):
    """Evaluates the objective elsewhere and stays."""

    needs_closure = True

    def choose(self, move):
        self.seen = [move.at(gamma) for gamma in (0.0, 0.3, 1.0)]
        self.gap, self.loss = move.gap, move.loss
        return 0.0


def test_what_a_rule_sees_and_that_looking_moves_nothing():
    f, h, b = quadratic()
    start = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) / 3
    problem, rule = Problem(f, start), Looks()
    FrankWolfe([problem.x], L2(1.0), step_size=rule).step(problem.closure)
    assert problem.x.equal(start)
    d = L2(1.0).lmo(h @ (start - b)) - start
    for gamma, (value, slope) in zip((0.0, 0.3, 1.0), rule.seen, strict=True):
        point = start + gamma * d
        assert value == pytest.approx(f(point).item(), rel=1e-14)
        assert slope == pytest.approx((h @ (point - b) @ d).item(), rel=1e-12)
    assert rule.gap == pytest.approx(-rule.seen[0][1], rel=1e-13)
    assert rule.loss == pytest.approx(f(start).item(), rel=1e-14)


def test_a_closure_that_writes_into_the_same_gradient():
    """As the simulator's does: `p.grad` stays the same tensor."""
    f, h, b = quadratic()
    one, two = Problem(f, torch.zeros(6, dtype=torch.float64)), vector(*[0.0] * 6)
    two.grad = torch.zeros(6, dtype=torch.float64)

    def closure():
        two.grad.copy_(h @ (two.detach() - b))
        return f(two.detach()).item()

    for rule in (Backtracking(), LineSearch()):
        first, second = (FrankWolfe([x], L1(2.0), step_size=rule) for x in (one.x, two))
        for _ in range(10):
            first.step(one.closure)
            second.step(closure)
            assert (one.x - two).norm() < 1e-12


@pytest.mark.parametrize(
    ("rule", "needed"),
    [
        ("2/(t+2)", False),
        (0.1, False),
        (lambda t: 0.5, False),
        (ShortStep(2.0), False),
        (Backtracking(), True),
        (LineSearch(), True),
    ],
)
def test_who_needs_a_closure(rule, needed):
    x = vector(0.1, 0.2)
    x.grad = torch.ones_like(x)
    optimizer = FrankWolfe([x], L2(1.0), step_size=rule)
    assert optimizer.needs_closure is needed
    if needed:
        with pytest.raises(ValueError, match=r"call step\(closure\)"):
            optimizer.step()
    else:
        optimizer.step()


def test_rules_that_evaluate_the_objective_are_for_one_block():
    groups = [{"params": [vector(0.0)]}, {"params": [vector(0.0)]}]
    with pytest.raises(ValueError, match="one parameter group"):
        FrankWolfe(groups, L2(1.0), step_size=Backtracking())
    groups[1]["step_size"] = LineSearch()
    with pytest.raises(ValueError, match="one parameter group"):
        FrankWolfe(groups, L2(1.0))
    with pytest.raises(ValueError, match="use FrankWolfe"):
        StochasticFrankWolfe([vector(0.0)], L2(1.0), step_size=LineSearch())


def test_a_group_may_bring_its_own_rule():
    x, y = vector(0.0), vector(0.0)
    optimizer = FrankWolfe([{"params": [x]}, {"params": [y], "step_size": 0.25}], L2(1.0), step_size=0.5)
    for p in (x, y):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert (x.item(), y.item()) == (-0.5, -0.25)
    copy.deepcopy(optimizer).step()
    assert (x.item(), y.item()) == (-0.5, -0.25)


def test_rules_hold_no_state():
    rule = Backtracking()
    problems = [Problem(quadratic(condition=c)[0], torch.zeros(6, dtype=torch.float64)) for c in (10.0, 1000.0)]
    optimizers = [FrankWolfe([p.x], L2(1.0), step_size=rule) for p in problems]
    alone = Problem(problems[0].f, torch.zeros(6, dtype=torch.float64))
    lonely = FrankWolfe([alone.x], L2(1.0), step_size=Backtracking())
    for _ in range(10):
        for problem, optimizer in zip(problems, optimizers, strict=True):
            problem.run(optimizer, 1)
        alone.run(lonely, 1)
    assert alone.x.equal(problems[0].x)
    assert optimizers[0].state[problems[0].x]["L"] < optimizers[1].state[problems[1].x]["L"]


@pytest.mark.parametrize("rule", ["harmonic", ShortStep(20.0), Backtracking(), LineSearch()], ids=repr)
def test_resuming_gives_the_same_bits(rule):
    f, _, _ = quadratic()
    one = Problem(f, torch.zeros(6, dtype=torch.float64))
    optimizer = FrankWolfe([one.x], L1(2.0), step_size=rule)
    one.run(optimizer, 7)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    two = Problem(f, one.x.detach())
    resumed = FrankWolfe([two.x], L1(2.0), step_size=rule)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert one.run(optimizer, 7) == two.run(resumed, 7)
    assert one.x.equal(two.x)
    assert optimizer.state_dict()["state"] == resumed.state_dict()["state"]


@pytest.mark.parametrize("rule", ["harmonic", 0.5, ShortStep(1.0), Backtracking(), LineSearch()], ids=repr)
def test_nothing_hides_a_divergence(rule):
    x = vector(0.5, 0.1)

    def closure():
        x.grad = torch.tensor([float("nan"), 1.0], dtype=torch.float64)
        return float("nan")

    FrankWolfe([x], L2(1.0), rule).step(closure)
    assert x.isnan().any()


def test_a_loss_that_is_nan_shows_in_x():
    problem = Problem(lambda x: x.sum() + 0 * x.detach().sum().fill_(float("nan")), torch.zeros(3, dtype=torch.float64))
    FrankWolfe([problem.x], L2(1.0), Backtracking()).step(problem.closure)
    assert problem.x.isnan().all()


def test_rules_from_json():
    spec = {
        "class": "gossipsim.optim.FrankWolfe",
        "params": {
            "constraint": {"class": "gossipsim.optim.constraints.L2", "params": {"radius": 1.0}},
            "step_size": {"class": "gossipsim.optim.step_sizes.ShortStep", "params": {"L": 2.0}},
        },
    }
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    optimizer = build_optimizer(spec, model)
    model.weight.grad = torch.tensor([[0.6, 0.8]])
    optimizer.step()
    assert model.weight.tolist()[0] == pytest.approx([-0.3, -0.4])
