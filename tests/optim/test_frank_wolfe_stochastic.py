"""Stochastic Frank-Wolfe and AdaGradSFW: estimators against references, state, feasibility."""

import io

import pytest
import torch
from torch import nn

from gossipsim.optim import AdaGradSFW, FrankWolfe, StochasticFrankWolfe
from gossipsim.optim.constraints import L1, L2, Linf, ProbabilitySimplex, Unconstrained
from gossipsim.optim.step_sizes import ShortStep

DECREASING = "4/(t+8)^(2/3)"
BALLS = [L1(1.0), L2(1.0), Linf(1.0)]


def vector(*start):
    return nn.Parameter(torch.tensor(start, dtype=torch.float64))


def minimise(optimizer, x, b, steps):
    for _ in range(steps):
        x.grad = (x - b).detach()  # f = 1/2 ||x - b||^2
        optimizer.step()


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


@pytest.mark.parametrize("rescale", ["diameter", "gradient", None])
def test_a_set_of_one_point_is_left_at_it(rescale):
    x = vector(1.0)
    optimizer = StochasticFrankWolfe([x], ProbabilitySimplex(), lr=0.5, rescale=rescale)
    for _ in range(3):
        x.grad = torch.full_like(x, 3.0)
        optimizer.step()
    assert x.tolist() == [1.0]


@pytest.mark.parametrize(
    "params", [{"lr": -1}, {"lr": float("nan")}, {"momentum": 1.0}, {"momentum": -0.1}, {"rescale": "norm"}]
)
def test_parameters_out_of_range(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        StochasticFrankWolfe([vector(0.0)], L2(1.0), **params)


def betas(momentum):
    """beta_t for t = 0, 1, ..."""
    return (lambda t: 1 - 4 / (t + 8) ** (2 / 3)) if momentum == DECREASING else (lambda t: momentum)


class Noisy:
    """f(x) = 1/2 ||x - b||^2 + 1/4 ||x||^4, with another b in every step; gradients as a closure leaves them."""

    def __init__(self, *params, in_place=False):
        self.params, self.in_place = params, in_place
        self.stream = torch.Generator().manual_seed(0)
        self.points = []
        for p in params:
            p.grad = torch.zeros_like(p)

    def draw(self):
        self.b = [torch.randn(p.shape, dtype=p.dtype, generator=self.stream) for p in self.params]

    def gradient(self, x, k=0):
        return x - self.b[k] + x.square().sum() * x

    def closure(self):
        self.points.append([p.detach().clone() for p in self.params])
        for k, p in enumerate(self.params):
            g = self.gradient(p.detach(), k)
            p.grad = p.grad.copy_(g) if self.in_place else g
        return 0.0


@pytest.mark.parametrize("momentum", [0.8, DECREASING])
@pytest.mark.parametrize("estimator", ["momentum", "nesterov", "storm"])
@pytest.mark.parametrize("in_place", [False, True])
def test_estimators_against_references(estimator, momentum, in_place):
    x = vector(0.2, -0.1, 0.4, 0.0)
    ball, beta_of = Linf(0.5), betas(momentum)
    optimizer = StochasticFrankWolfe(
        [x], ball, lr=0.3, momentum=momentum, rescale=None, estimator=estimator, step_size=None
    )
    noisy, y, m, previous = Noisy(x, in_place=in_place), x.detach().clone(), None, None
    for t in range(25):
        noisy.draw()
        optimizer.step(noisy.closure)
        g, beta = noisy.gradient(y), beta_of(t)
        if m is None:
            m = g
        elif estimator == "storm":
            m = g + beta * (m - noisy.gradient(previous))
        else:
            m = beta * m + (1 - beta) * g
        d = (1 - beta) * g + beta * m if estimator == "nesterov" else m
        previous, y = y, y + 0.3 * (ball.lmo(d) - y)
        assert (x - y).abs().max() < 1e-14
        assert optimizer.fw_gap == pytest.approx((d * (previous - ball.lmo(d))).sum().item(), rel=1e-12)
        assert ball.violation(x) < 1e-15


def test_storm_evaluates_two_points_on_one_batch_and_puts_x_back():
    x, y = vector(0.2, -0.1), nn.Parameter(torch.full((2, 2), 0.1, dtype=torch.float64))
    optimizer = StochasticFrankWolfe(
        [{"params": [x]}, {"params": [y], "momentum": 0.5}], L2(0.7), lr=0.0, estimator="storm"
    )
    noisy = Noisy(x, y)
    start = [p.detach().clone() for p in (x, y)]
    for _ in range(3):
        noisy.draw()
        optimizer.step(noisy.closure)
    assert all(p.equal(q) for p, q in zip((x, y), start, strict=True))
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.5
    noisy.draw()
    optimizer.step(noisy.closure)
    here = [p.detach().clone() for p in (x, y)]
    noisy.points.clear()
    noisy.draw()
    optimizer.step(noisy.closure)
    assert [p.tolist() for p in noisy.points[0]] == [p.tolist() for p in here]
    assert [p.tolist() for p in noisy.points[1]] == [p.tolist() for p in start]
    assert len(noisy.points) == 2


def test_storm_has_no_noise_where_x_stands_still():
    """With beta = 1 - 1/t on a fixed x, m is the mean gradient; on a moving one without noise it is the gradient."""
    x = vector(0.2, -0.1, 0.3)
    optimizer = StochasticFrankWolfe([x], Linf(0.5), lr=0.1, momentum=0.9, rescale=None, estimator="storm")
    noisy = Noisy(x)
    noisy.draw()
    for _ in range(20):
        g = noisy.gradient(x.detach())
        optimizer.step(noisy.closure)
        assert (optimizer.state[x]["momentum"] - g).abs().max() < 1e-14


@pytest.mark.parametrize(("estimator", "needed"), [("momentum", False), ("nesterov", False), ("storm", True)])
def test_who_needs_a_closure(estimator, needed):
    x = vector(0.1, 0.2)
    x.grad = torch.ones_like(x)
    optimizer = StochasticFrankWolfe([x], L2(1.0), estimator=estimator)
    assert optimizer.needs_closure is needed
    if needed:
        with pytest.raises(ValueError, match=r"call step\(closure\)"):
            optimizer.step()
    else:
        optimizer.step()
    assert not AdaGradSFW([x], L2(1.0)).needs_closure


def test_the_short_step_goes_by_the_estimate():
    x, ball = vector(0.1, -0.2, 0.0), L2(1.0)
    optimizer = StochasticFrankWolfe([x], ball, momentum=0.5, step_size=ShortStep(L=30.0))
    gs = [torch.tensor(g, dtype=torch.float64) for g in ([1.0, 0.0, 0.5], [-3.0, 1.0, 0.0])]
    for g, m in zip(gs, (gs[0], 0.5 * gs[0] + 0.5 * gs[1]), strict=True):
        before = x.detach().clone()
        x.grad = g
        optimizer.step()
        d = ball.lmo(m) - before
        assert (x - before + (m @ d) / (30 * d @ d) * d).abs().max() < 1e-15


@pytest.mark.parametrize("rescale", ["diameter", "gradient", None])
def test_unconstrained_parameters_take_plain_steps(rescale):
    x, y, alone = vector(3.0, -4.0), vector(0.5, 0.0), vector(3.0, -4.0)
    optimizer = StochasticFrankWolfe([x, y], [Unconstrained(), L1(1.0)], lr=2.5, momentum=0.0, rescale=rescale)
    sgd = torch.optim.SGD([alone], lr=2.5)
    x.grad = y.grad = alone.grad = torch.tensor([1.0, -0.5], dtype=torch.float64)
    for _ in range(3):
        gap = (y.grad * (y - L1(1.0).lmo(y.grad))).sum().item()
        optimizer.step()
        sgd.step()
        assert optimizer.fw_gap == pytest.approx(gap, abs=1e-15)
    assert x.equal(alone)
    assert optimizer.lmo_calls == 3
    assert L1(1.0).contains(y, tol=1e-15)


def test_options_of_groups():
    x, y = vector(0.0), vector(0.0)
    groups = [{"params": [x]}, {"params": [y], "step_size": 0.5}]
    optimizer = StochasticFrankWolfe(groups, L2(1.0), lr=0.2, momentum=0.0, rescale=None)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 1.0]
    x.grad = y.grad = torch.ones_like(x)
    optimizer.step()
    assert (x.item(), y.item()) == (-0.2, -0.5)
    with pytest.raises(ValueError, match="estimator of a parameter group"):
        StochasticFrankWolfe([{"params": [x], "estimator": "storm"}], L2(1.0))
    with pytest.raises(ValueError, match="estimator must be"):
        StochasticFrankWolfe([x], L2(1.0), estimator="adam")


def adagrad_reference(gradient, ball, x, steps, lr, momentum, inner_steps, eps):
    """Combettes, Spiegel, Pokutta 2020, template 1: K Frank-Wolfe steps on Q(y) = <m, y> + ||y - x||_H^2/(2 lr)."""
    total, m = torch.zeros_like(x), None
    for _ in range(steps):
        g = gradient(x)
        m = g if m is None else momentum * m + (1 - momentum) * g
        total = total + m**2
        h = torch.diag(total.sqrt() + eps)
        y = x
        for _ in range(inner_steps):
            slope = m + h @ (y - x) / lr
            v = ball.lmo(slope)
            if v.equal(y):
                break
            curvature = (v - y) @ h @ (v - y) / lr
            gamma = ((slope @ (y - v)) / curvature).clamp(0, 1)
            y = y + gamma * (v - y)
        x = y
    return x


@pytest.mark.parametrize("ball", BALLS, ids=repr)
@pytest.mark.parametrize(("lr", "inner_steps", "steps"), [(0.05, 1, 20), (0.05, 2, 20), (0.05, 5, 20), (5.0, 2, 2)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_adagrad_against_a_reference(ball, lr, inner_steps, steps, momentum):
    stream = torch.Generator().manual_seed(0)
    b, start = (torch.randn(5, dtype=torch.float64, generator=stream) for _ in range(2))
    start = ball.project(start)
    x = nn.Parameter(start.clone())
    optimizer = AdaGradSFW([x], ball, lr=lr, momentum=momentum, inner_steps=inner_steps)
    minimise(optimizer, x, b, steps)
    expected = adagrad_reference(lambda y: y - b, ball, start, steps, lr, momentum, inner_steps, 1e-8)
    assert (x - expected).abs().max() < 1e-11
    assert (x - start).abs().max() > 0.05
    assert optimizer.lmo_calls == steps * inner_steps
    assert ball.violation(x) < 1e-12


def test_adagrad_with_many_inner_steps_solves_the_subproblem():
    """The minimiser of Q over a box is the AdaGrad step, clipped."""
    x, g = vector(0.4, -0.2, 0.1), torch.tensor([-5.0, 0.3, 2.0], dtype=torch.float64)
    optimizer = AdaGradSFW([x], Linf(0.5), lr=0.3, momentum=0.0, inner_steps=2000)
    expected = (x.detach() - 0.3 * g.sign()).clamp(-0.5, 0.5)
    x.grad = g
    gap = (g * x.detach()).sum() + 0.5 * g.abs().sum()
    optimizer.step()
    assert (x - expected).abs().max() < 1e-3
    assert optimizer.fw_gap == pytest.approx(gap.item(), rel=1e-14)


def test_adagrad_without_a_set_is_adagrad():
    x, y = vector(3.0, -4.0), vector(3.0, -4.0)
    mine, torchs = (
        AdaGradSFW([x], Unconstrained(), lr=0.1, momentum=0.0, eps=1e-8),
        torch.optim.Adagrad([y], 0.1, eps=1e-8),
    )
    for _ in range(5):
        for p, optimizer in ((x, mine), (y, torchs)):
            p.grad = p.detach() ** 3
            optimizer.step()
    assert (x - y).abs().max() < 1e-14
    assert mine.lmo_calls == 0


def test_adagrad_stands_still_without_a_gradient_or_a_learning_rate():
    x = vector(0.1, 0.2)
    optimizer = AdaGradSFW([x], L1(1.0), momentum=0.0)
    x.grad = torch.zeros_like(x)
    optimizer.step()
    assert x.tolist() == [0.1, 0.2]
    optimizer.param_groups[0]["lr"] = 0.0
    x.grad = torch.ones_like(x)
    optimizer.step()
    assert x.tolist() == [0.1, 0.2]
    x.grad = torch.full_like(x, float("nan"))
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    assert x.isnan().all()


@pytest.mark.parametrize(
    "params", [{"lr": -1}, {"eps": 0}, {"momentum": 1.0}, {"inner_steps": 0}, {"inner_steps": 1.5}], ids=repr
)
def test_adagrad_parameters_out_of_range(params):
    with pytest.raises(ValueError, match=rf"^{next(iter(params))} must"):
        AdaGradSFW([vector(0.0)], L2(1.0), **params)


MAKERS = {
    "momentum": lambda x: StochasticFrankWolfe([x], L2(1.0)),
    "decreasing": lambda x: StochasticFrankWolfe([x], L1(1.0), momentum=DECREASING, step_size="2/(t+2)"),
    "nesterov": lambda x: StochasticFrankWolfe([x], Linf(1.0), estimator="nesterov", rescale="gradient"),
    "storm": lambda x: StochasticFrankWolfe([x], L2(1.0), estimator="storm"),
    "adagrad": lambda x: AdaGradSFW([x], L1(1.0), lr=0.1),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resuming_gives_the_same_bits(name, dtype):
    x = nn.Parameter(torch.tensor([[0.2, -0.1], [0.4, 0.0]], dtype=dtype))
    optimizer, noisy = MAKERS[name](x), Noisy(x)

    def run(optimizer, noisy, steps):
        for _ in range(steps):
            noisy.draw()
            optimizer.step(noisy.closure)

    run(optimizer, noisy, 5)
    file = io.BytesIO()
    torch.save([x.detach(), optimizer.state_dict()], file)
    file.seek(0)
    start, state = torch.load(file, weights_only=True)
    y = nn.Parameter(start)
    resumed, again = MAKERS[name](y), Noisy(y)
    resumed.load_state_dict(state)
    again.stream = noisy.stream.clone_state()
    run(optimizer, noisy, 5)
    run(resumed, again, 5)
    assert x.equal(y)
    assert optimizer.lmo_calls == resumed.lmo_calls == 10 * (2 if name == "adagrad" else 1)
    assert optimizer.fw_gap == resumed.fw_gap


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", MAKERS)
def test_long_runs_stay_feasible_in_place(name, dtype, tol):
    rows = torch.zeros(2, 6, dtype=dtype)
    x = nn.Parameter(rows[1])
    optimizer, noisy = MAKERS[name](x), Noisy(x, in_place=True)
    ((_, ball),) = optimizer.constraints()
    largest = 0.0
    for t in range(1000):
        noisy.draw()
        optimizer.step(noisy.closure)
        if t % 10 == 0:
            largest = max(largest, ball.violation(x))
    assert largest <= tol
    assert x.data_ptr() == rows[1].data_ptr()
    assert not rows[0].any()
    assert rows[1].any()
