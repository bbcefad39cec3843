"""Frank-Wolfe methods: known answers, feasibility, state, parameter groups."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from gossipsim.models import MLP, Vector
from gossipsim.optim import FrankWolfe, StochasticFrankWolfe
from gossipsim.optim.constraints import L1, L2, Linf, ProbabilitySimplex, Unconstrained
from gossipsim.optim.step_sizes import Backtracking, LineSearch, ShortStep


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


@pytest.mark.parametrize("n", [100, 10])
def test_simplex_with_the_agnostic_step(n):
    """min ||x||^2 from a vertex: f(x_T) = 2(2T+1)/(3T(T+1)), as long as a new vertex is found in every step."""
    x = nn.Parameter(torch.eye(n, dtype=torch.float64)[0].clone())
    optimizer = FrankWolfe([x], ProbabilitySimplex(), "2/(t+2)")
    for steps in range(1, n + 1):
        x.grad = 2 * x.detach()
        optimizer.step()
        assert x.square().sum().item() == pytest.approx(2 * (2 * steps + 1) / (3 * steps * (steps + 1)), rel=1e-12)


@pytest.mark.parametrize("rule", ["1/(t+2)", ShortStep(L=2.0), LineSearch()], ids=repr)
def test_simplex_with_the_best_step(rule):
    """min ||x||^2 from a vertex: f(x_t) = 1/(t+1)."""
    n = 60
    x = nn.Parameter(torch.eye(n, dtype=torch.float64)[0].clone())
    optimizer = FrankWolfe([x], ProbabilitySimplex(), rule)

    def closure():
        x.grad = 2 * x.detach()
        return x.detach().square().sum().item()

    for t in range(1, n):
        optimizer.step(closure)
        assert x.square().sum().item() == pytest.approx(1 / (t + 1), rel=1e-12)


@pytest.mark.parametrize("rule", [ShortStep(L=1.0), LineSearch(), Backtracking()], ids=repr)
def test_l2_ball_with_closed_loop_steps(rule):
    x, b = vector(0.3, 0.0, 0.0), torch.tensor([2.0, -3.0, 6.0], dtype=torch.float64)
    optimizer = FrankWolfe([x], L2(2.0), rule)

    def closure():
        x.grad = (x - b).detach()
        return 0.5 * (x - b).detach().square().sum().item()

    for _ in range(60):
        optimizer.step(closure)
    assert (x - 2 * b / b.norm()).norm() < 1e-7
    assert optimizer.fw_gap < 1e-7


def test_a_group_is_one_block():
    """Two parameters take the gamma of their product: gap and squared distance are sums."""
    x, y = vector(0.5, 0.1), nn.Parameter(torch.full((2, 3), 0.2, dtype=torch.float64))
    optimizer = FrankWolfe([x, y], [L2(1.0), L1(2.0)], ShortStep(L=30.0))
    gx, gy = torch.tensor([1.0, -2.0]).double(), torch.arange(6.0).double().view(2, 3)
    dx, dy = L2(1.0).lmo(gx) - x.detach(), L1(2.0).lmo(gy) - y.detach()
    gap = -((gx * dx).sum() + (gy * dy).sum())
    gamma = gap / (30 * (dx.square().sum() + dy.square().sum()))
    assert 0 < gamma < 1
    expected = [x.detach() + gamma * dx, y.detach() + gamma * dy]
    x.grad, y.grad = gx, gy
    optimizer.step()
    assert optimizer.fw_gap == pytest.approx(gap.item(), rel=1e-14)
    for p, q in zip((x, y), expected, strict=True):
        assert (p - q).abs().max() < 1e-15
    apart = FrankWolfe([{"params": [x]}, {"params": [y], "constraint": L1(2.0)}], L2(1.0), ShortStep(L=30.0))
    before = x.detach().clone()
    apart.step()
    d = L2(1.0).lmo(gx) - before
    assert (x - before - d * min(1.0, -(gx @ d) / (30 * d @ d))).abs().max() < 1e-15


@pytest.mark.parametrize("ball", [L1(1.5), L2(1.5), Linf(1.5), ProbabilitySimplex()], ids=repr)
def test_the_gap_bounds_the_suboptimality(ball):
    b = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = nn.Parameter(ball.lmo(b))
    best = 0.5 * (ball.project(b) - b).square().sum()
    optimizer = FrankWolfe([x], ball)
    assert math.isnan(optimizer.fw_gap)
    smallest = math.inf
    for _ in range(100):
        g, f = (x - b).detach(), 0.5 * (x - b).detach().square().sum()
        minimise(optimizer, x, b, 1)
        assert optimizer.fw_gap >= f - best - 1e-14
        smallest = min(smallest, optimizer.fw_gap)
        assert optimizer.fw_gap == pytest.approx((g @ b + g @ g - g @ ball.lmo(g)).item(), abs=1e-13)
    assert smallest < 0.5


@pytest.mark.parametrize("kind", [FrankWolfe, StochasticFrankWolfe])
def test_unconstrained_parameters_take_gradient_steps(kind):
    x, y = vector(0.5, 0.1), vector(3.0, -4.0)
    optimizer = kind([x, y], [L2(1.0), Unconstrained()], step_size=lambda t: 0.25)
    x.grad, y.grad = torch.ones_like(x), torch.ones_like(y)
    gap = (x.grad * (x - L2(1.0).lmo(x.grad))).sum().item()
    optimizer.step()
    assert y.tolist() == [2.75, -4.25]
    assert optimizer.lmo_calls == 1
    assert optimizer.fw_gap == pytest.approx(gap, rel=1e-14)
    assert L2(1.0).contains(x, tol=1e-15)


def test_unconstrained_parameters_are_part_of_the_block():
    """The short step over the whole space alone is the gradient step of length 1/L."""
    y = vector(3.0, -4.0)
    y.grad = torch.tensor([1.0, 7.0], dtype=torch.float64)
    optimizer = FrankWolfe([y], Unconstrained(), ShortStep(L=8.0))
    optimizer.step()
    assert y.tolist() == [3 - 1 / 8, -4 - 7 / 8]
    assert optimizer.lmo_calls == 0


def test_an_infeasible_start_is_projected():
    model = Vector(4)
    with torch.no_grad():
        model.x.copy_(torch.tensor([3.0, -4.0, 0.0, 0.0]))
    optimizer = FrankWolfe.for_model(model, L2(1.0), step_size=0.1)
    assert model.x.tolist() == pytest.approx([0.6, -0.8, 0, 0])
    with torch.no_grad():
        model.x.mul_(2)
    assert optimizer.feasibility == pytest.approx(1.0, rel=1e-6)
    assert optimizer.make_feasible() == pytest.approx(1.0, rel=1e-6)
    assert optimizer.feasibility < 1e-6
    assert optimizer.make_feasible() < 1e-6


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("ball", [L1(2.0), L2(2.0), Linf(2.0), ProbabilitySimplex()], ids=repr)
def test_long_runs_stay_feasible(ball, dtype, tol):
    stream = torch.Generator().manual_seed(0)
    x = nn.Parameter(ball.lmo(torch.randn(15, dtype=dtype, generator=stream)))
    optimizer = FrankWolfe([x], ball, step_size=0.1)
    for t in range(1000):
        x.grad = torch.randn(15, dtype=dtype, generator=stream)
        optimizer.step()
        if t % 20 == 0:
            assert ball.violation(x) <= tol * ball.radius


@pytest.mark.parametrize(
    "make",
    [
        lambda x: FrankWolfe([x], L2(1.0), step_size=0.5),
        lambda x: StochasticFrankWolfe([x], L2(1.0), momentum=0, step_size=0.5),
        lambda x: StochasticFrankWolfe([x], L2(1.0), lr=0.5, momentum=0, rescale=None),
    ],
)
def test_schedulers_act(make):
    x = vector(0.0)
    optimizer = make(x)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    expected = 0.0
    for k in range(4):
        x.grad = torch.ones_like(x)
        optimizer.step()
        scheduler.step()
        expected += 0.5 / 2**k * (-1 - expected)
        assert x.item() == pytest.approx(expected, rel=1e-14)


def test_schedulers_start_from_the_groups_lr():
    x = vector(0.0)
    optimizer = FrankWolfe([x], L2(1.0), "harmonic", lr=0.5)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5)
    x.grad = torch.ones_like(x)
    optimizer.step()
    assert x.item() == -0.25
    optimizer.param_groups[0]["lr"] = 7.0
    x.grad = -torch.ones_like(x)
    optimizer.step()
    assert x.item() == 1.0  # clipped


@pytest.mark.parametrize(("gamma", "reached"), [(3.0, -1.0), (-2.0, 0.5), (0.0, 0.5)])
def test_functions_are_clipped(gamma, reached):
    x = vector(0.5)
    x.grad = torch.ones_like(x)
    FrankWolfe([x], L2(1.0), lambda t: gamma).step()
    assert x.item() == reached


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
