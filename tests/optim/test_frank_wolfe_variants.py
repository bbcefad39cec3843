"""Away, pairwise, blended pairwise and lazy Frank-Wolfe: rates, feasibility, state."""

import io
import math

import pytest
import torch
from torch import nn

from gossipsim.optim import FrankWolfe
from gossipsim.optim.constraints import L1, L2, Linf, ProbabilitySimplex, Unconstrained
from gossipsim.optim.step_sizes import Backtracking, LineSearch, ShortStep

N = 8
CAUTIOUS = ShortStep(L=4.0)  # the true L is 1: shorter steps, so that a rate has time to show
ACTIVE = ["away", "pairwise", "blended_pairwise"]
SETS = {"simplex": ProbabilitySimplex(), "l1": L1(1.0), "box": Linf(1.0)}
INSIDE = {
    "simplex": [0.2, 0.05, 0.1, 0.15, 0.1, 0.1, 0.2, 0.1],
    "l1": [0.1, -0.05, 0.02, 0.03, 0.1, -0.1, 0.05, 0.07],
    "box": [0.5, -0.3, 0.2, 0.1, 0.0, -0.6, 0.4, 0.25],
}
FACE = {
    "simplex": [0.7, 0.5, 0.4, -0.1, -0.2, -0.1, -0.3, -0.2],
    "l1": [1.0, -0.7, 0.5, 0.1, 0.0, 0.05, 0.02, -0.01],
    "box": [1.7, -1.4, 0.2, 0.1, 0.0, -0.6, 0.4, 0.25],
}
CASES = [(kind, where) for kind in SETS for where in ("inside", "face")]


def target(kind, where):
    return torch.tensor({"inside": INSIDE, "face": FACE}[where][kind], dtype=torch.float64)


class Quadratic:
    """f = 1/2 ||x - b||^2 over a set, from the vertex that is worst for it; the optimum is the projection of b."""

    def __init__(self, kind, where, rule=None, start=None, **options):
        self.ball, self.b = SETS[kind], target(kind, where)
        self.x = nn.Parameter(self.ball.lmo(self.b + 0.01) if start is None else start.clone())
        self.optimizer = FrankWolfe([self.x], self.ball, rule or ShortStep(L=1.0), **options)
        self.best = self._f(self.ball.project(self.b))

    def _f(self, x):
        return 0.5 * (x - self.b).square().sum().item()

    def closure(self):
        self.x.grad = (self.x - self.b).detach()
        return self._f(self.x.detach())

    def run(self, steps):
        """f - f* after every step."""
        found = []
        for _ in range(steps):
            self.optimizer.step(self.closure)
            found.append(self._f(self.x.detach()) - self.best)
        return found


def line(xs, ys):
    """Slope and R^2 of the least-squares line."""
    x, y = torch.tensor(xs, dtype=torch.float64), torch.tensor(ys, dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    slope = (x @ y) / (x @ x)
    return slope.item(), (1 - (y - slope * x).square().sum() / y.square().sum()).item()


@pytest.mark.parametrize("variant", ACTIVE)
@pytest.mark.parametrize(("kind", "where"), CASES)
def test_linear_convergence(variant, kind, where):
    errors = Quadratic(kind, where, CAUTIOUS, variant=variant).run(500)
    seen = [(t, math.log(error)) for t, error in enumerate(errors) if error > 1e-13]
    slope, fit = line(*zip(*seen, strict=True))
    assert fit > 0.92
    assert slope < -0.025
    assert abs(errors[-1]) < 1e-8


@pytest.mark.parametrize("kind", SETS)
def test_plain_steps_zigzag_towards_a_face(kind):
    """f - f* ~ 1/t with the same step size."""
    errors = Quadratic(kind, "face", CAUTIOUS, variant="vanilla").run(500)
    seen = [(math.log(t), math.log(errors[t])) for t in range(50, 500)]
    slope, fit = line(*zip(*seen, strict=True))
    assert -1.2 < slope < -0.8
    assert fit > 0.99
    assert errors[-1] > 1e-3


@pytest.mark.parametrize("variant", ACTIVE)
@pytest.mark.parametrize("rule", [Backtracking(), LineSearch()], ids=repr)
@pytest.mark.parametrize(("kind", "where"), [("simplex", "face"), ("l1", "face"), ("box", "inside")])
def test_other_closed_loop_rules(variant, rule, kind, where):
    problem = Quadratic(kind, where, rule, variant=variant)
    assert abs(problem.run(200)[-1]) < 1e-12
    assert problem.ball.contains(problem.x.detach(), tol=1e-14)


@pytest.mark.parametrize("variant", ["vanilla", *ACTIVE])
@pytest.mark.parametrize(("kind", "where"), CASES)
def test_lazy_oracles(variant, kind, where):
    """The same accuracy with fewer calls."""
    calls = []
    for lazy in (False, True):
        problem, steps = Quadratic(kind, where, CAUTIOUS, variant=variant, lazy=lazy), 1
        while problem.run(1)[0] > (3e-2 if variant == "vanilla" else 1e-5):
            steps += 1
            assert steps < 700
        calls.append(problem.optimizer.lmo_calls)
        assert lazy or calls[0] == steps
        assert problem.ball.contains(problem.x.detach(), tol=1e-14)
    assert calls[1] <= 0.6 * calls[0]


def test_lazy_oracles_once_more_after_the_gradient_has_changed():
    problem = Quadratic("box", "face", variant="blended_pairwise", lazy=True)
    problem.run(300)
    problem.b = -problem.b
    problem.best = problem._f(problem.ball.project(problem.b))
    assert abs(problem.run(500)[-1]) < 1e-7


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("variant", ["vanilla", *ACTIVE])
def test_the_gap_bounds_the_suboptimality(variant, lazy):
    problem = Quadratic("l1", "face", variant=variant, lazy=lazy)
    before = problem._f(problem.x.detach()) - problem.best
    for _ in range(60):
        calls = problem.optimizer.lmo_calls
        x = problem.x.detach().clone()
        error = problem.run(1)[0]
        true_gap = ((x - problem.b) * (x - problem.ball.lmo(x - problem.b))).sum().item()
        if problem.optimizer.lmo_calls > calls:
            assert problem.optimizer.fw_gap == pytest.approx(true_gap, abs=1e-14)
            assert problem.optimizer.fw_gap >= before - 1e-14
        else:
            assert problem.optimizer.fw_gap <= true_gap + 1e-14
        before = error


@pytest.mark.parametrize("variant", ACTIVE)
@pytest.mark.parametrize("rule", ["2/(t+2)", 0.3], ids=repr)
def test_open_loop_steps_stay_feasible(variant, rule):
    with pytest.warns(UserWarning, match="does not converge linearly"):
        problem = Quadratic("simplex", "face", rule, variant=variant)
    first = problem.run(1)[0]
    for _ in range(300):
        error = problem.run(1)[0]
        assert problem.ball.violation(problem.x) < 1e-14
    assert error < first
    if rule == "2/(t+2)":
        assert error < 0.01


@pytest.mark.parametrize(
    ("variant", "kind", "dtype", "steps"),
    [
        pytest.param("pairwise", "l1", torch.float64, 10_000, marks=pytest.mark.slow),
        ("away", "l1", torch.float32, 1_000),
        ("pairwise", "simplex", torch.float32, 1_000),
        ("blended_pairwise", "simplex", torch.float64, 1_000),
        ("blended_pairwise", "l1", torch.float32, 1_000),
    ],
)
def test_long_runs_stay_feasible(variant, kind, dtype, steps):
    ball, stream = SETS[kind], torch.Generator().manual_seed(0)
    x = nn.Parameter(ball.lmo(torch.randn(6, dtype=dtype, generator=stream)))
    optimizer = FrankWolfe([x], ball, ShortStep(L=10.0), variant=variant)
    noise = torch.randn(steps, 6, dtype=dtype, generator=stream)
    largest = 0.0
    for t in range(steps):
        x.grad = noise[t]
        optimizer.step()
        if t % 10 == 0:
            largest = max(largest, ball.violation(x))
    assert largest <= (1e-12 if dtype == torch.float64 else 1e-6)
    assert optimizer.lmo_calls == steps
    assert len(optimizer.state[x]["weights"]) <= 12


@pytest.mark.parametrize("variant", ACTIVE)
def test_a_start_that_is_no_vertex(variant):
    start = torch.tensor(INSIDE["simplex"], dtype=torch.float64).flip(0)
    problem = Quadratic("simplex", "face", start=start, variant=variant)
    problem.run(1)
    assert (problem.optimizer.state[problem.x]["atoms"] == start).all(1).any()
    assert abs(problem.run(200)[-1]) < 1e-13
    atoms = problem.optimizer.state[problem.x]["atoms"]
    assert (atoms.sort(1).values == torch.eye(N, dtype=torch.float64)[-1]).all()  # the start has left


@pytest.mark.parametrize("variant", ACTIVE)
def test_x_moved_from_outside(variant):
    """As gossip does: the active set starts anew, x stays feasible, the run goes on to the optimum."""
    problem = Quadratic("simplex", "face", variant=variant)
    stream = torch.Generator().manual_seed(0)
    for _ in range(20):
        problem.run(3)
        assert len(problem.optimizer.state[problem.x]["weights"]) > 1
        other = torch.rand(N, dtype=torch.float64, generator=stream)
        average = 0.5 * (problem.x.detach() + other / other.sum())
        with torch.no_grad():
            problem.x.copy_(average)
        problem.run(1)
        v = problem.ball.lmo(average - problem.b)
        gap, d = (average - problem.b) @ (average - v), v - average
        assert (problem.x - average - gap / (d @ d) * d).norm() < 1e-14  # a plain step
        assert problem.ball.violation(problem.x) < 1e-14
    assert abs(problem.run(200)[-1]) < 1e-13


@pytest.mark.parametrize("variant", ["vanilla", *ACTIVE])
def test_a_product_of_sets_is_one_polytope(variant):
    """The simplex in two shapes: the same iterates as with hand-made vertices of the product."""
    x = nn.Parameter(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    y = nn.Parameter(torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    bx, by = torch.tensor([0.3, 0.3, 0.4]).double(), torch.tensor([[0.9, 0.8], [-0.2, -0.5]]).double()
    optimizer = FrankWolfe([x, y], [ProbabilitySimplex(), L1(1.0)], ShortStep(L=1.0), variant=variant)
    for _ in range(300):
        x.grad, y.grad = (x - bx).detach(), (y - by).detach()
        optimizer.step()
    if variant == "vanilla":
        assert "atoms" not in optimizer.state[x]
    else:
        assert (x - bx).abs().max() < 1e-7
        assert (y - L1(1.0).project(by)).abs().max() < 1e-7
        assert optimizer.state[x]["atoms"].shape[1] == 7
    assert optimizer.lmo_calls == 600
    assert ProbabilitySimplex().violation(x) < 1e-14
    assert L1(1.0).violation(y) < 1e-14


def test_parameters_are_updated_in_place():
    row = torch.zeros(2, 4)
    row[:, 0] = 1
    x = nn.Parameter(row[1])
    optimizer = FrankWolfe([x], ProbabilitySimplex(), ShortStep(1.0), variant="away")
    for _ in range(3):
        x.grad = torch.tensor([3.0, 2.0, 0.0, -1.0])
        optimizer.step()
    assert x.data_ptr() == row[1].data_ptr()
    assert row.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("variant", ["vanilla", *ACTIVE])
@pytest.mark.parametrize("rule", [ShortStep(1.0), Backtracking()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resuming_gives_the_same_bits(variant, lazy, rule, dtype):
    def fresh(start):
        x = nn.Parameter(start.clone())
        return x, FrankWolfe([x], Linf(1.0), rule, variant=variant, lazy=lazy)

    b = target("box", "face").to(dtype)

    def run(x, optimizer, steps):
        def closure():
            x.grad = (x - b).detach()
            return 0.5 * x.grad.square().sum().item()

        for _ in range(steps):
            optimizer.step(closure)

    x, optimizer = fresh(torch.full((N,), 0.3, dtype=dtype))
    run(x, optimizer, 9)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    y, resumed = fresh(x.detach())
    resumed.load_state_dict(torch.load(file, weights_only=True))
    if variant != "vanilla" or lazy:
        assert len(resumed.state[y]["atoms"]) > 2
    for _ in range(20):
        run(x, optimizer, 1)
        run(y, resumed, 1)
        assert x.equal(y)
    assert optimizer.lmo_calls == resumed.lmo_calls
    assert optimizer.fw_gap == resumed.fw_gap


@pytest.mark.parametrize("one", [L2(1.0), Unconstrained()], ids=repr)
@pytest.mark.parametrize("options", [{"variant": "away"}, {"lazy": True}], ids=repr)
def test_sets_without_vertices(one, options):
    x = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match=r"is for polytopes such as L1, .*, not " + type(one).__name__):
        FrankWolfe([x], one, ShortStep(1.0), **options)
    y = nn.Parameter(torch.zeros(2))
    groups = [{"params": [y], "constraint": L1(1.0)}, {"params": [x], "variant": "vanilla", "lazy": False}]
    optimizer = FrankWolfe(groups, one, ShortStep(1.0), **options)
    x.grad = y.grad = torch.ones(2)
    optimizer.step()
    assert x.tolist() != [0, 0]


def test_what_cannot_be():
    x, y = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="variant must be one of vanilla, away"):
        FrankWolfe([x], L1(1.0), variant="fast")
    with pytest.raises(ValueError, match="same dtype and device"):
        FrankWolfe([x, y], L1(1.0), ShortStep(1.0), variant="away")
    with pytest.raises(ValueError, match="step_size must be given"):
        FrankWolfe([x], L1(1.0), None)
    with pytest.raises(ValueError, match="lr must be"):
        FrankWolfe([x], L1(1.0), lr=-1.0)
