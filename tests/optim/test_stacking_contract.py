"""Which optimizers step stacked parameters, and what their state and figures then mean."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn, optim

from gossipsim.optim import FrankWolfe, ProjectedSGD, Scion, StochasticFrankWolfe
from gossipsim.optim.constraints import L1, L2, ConstraintSet, Linf
from gossipsim.optim.stacking import elementwise, stack_parameters, stacking_obstacle
from gossipsim.optim.step_sizes import Backtracking, ShortStep
from tests.optim.rows import check, stacked


def bound(kind: type[torch.optim.Optimizer], *args: object, **options: object) -> torch.optim.Optimizer:
    """An optimizer of a matrix and a vector."""
    return kind([nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3))], *args, **options)


class Descent(torch.optim.Optimizer):
    """Gradient descent, as a user may write it."""

    elementwise = True

    def __init__(self, params):
        super().__init__(params, {"lr": 0.5})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad, alpha=group["lr"])


class Clipped(torch.optim.SGD):
    """Looks at parameters as a whole."""


class OwnBall(L2):
    """Replaces one oracle and not the other."""

    def lmo(self, g):
        return -super().lmo(-g)


class OwnSet(ConstraintSet):
    """The point zero."""

    def lmo(self, g):
        return torch.zeros_like(g)

    def support(self, g):
        return g.new_zeros(())

    def project(self, x):
        return torch.zeros_like(x)

    def violation(self, x):
        return float(x.abs().amax())

    def diameter(self, shape):
        return 1.0


REFUSED = {
    "as a whole": [
        lambda: bound(optim.LBFGS),
        lambda: bound(Clipped, lr=0.1),
        lambda: bound(optim.Adafactor),
        lambda: bound(optim.SparseAdam),
        lambda: optim.Muon([nn.Parameter(torch.ones(3, 4))]),
    ],
    "evaluates the objective": [
        lambda: bound(FrankWolfe, L1(1.0), step_size=Backtracking()),
        lambda: bound(StochasticFrankWolfe, L1(1.0), estimator="storm"),
    ],
    "keeps the vertices": [
        lambda: bound(FrankWolfe, L1(1.0), step_size=ShortStep(1.0), variant="away"),
        lambda: bound(FrankWolfe, L1(1.0), lazy=True),
    ],
    "OwnBall replaces an oracle": [lambda: bound(ProjectedSGD, [OwnBall(1.0), L1(1.0)], lr=0.1)],
}
INEXACT = {
    "fused": lambda: bound(optim.Adam, fused=True),
    "the set OwnSet": lambda: bound(Scion, OwnSet()),
    "bfloat16": lambda: optim.SGD([nn.Parameter(torch.ones(3, dtype=torch.bfloat16))]),
}


@pytest.mark.parametrize(("why", "make"), [(why, make) for why, makes in REFUSED.items() for make in makes])
def test_what_cannot_be_stacked_says_why(why, make):
    for exact in (True, False):
        assert why in stacking_obstacle(make(), exact=exact)


@pytest.mark.parametrize(("why", "make"), INEXACT.items(), ids=INEXACT)
def test_equal_bits_are_not_promised_where_they_are_not_known(why, make):
    assert why in stacking_obstacle(make())
    assert stacking_obstacle(make(), exact=False) is None


def test_hooks_are_refused():
    optimizer = bound(optim.SGD)
    optimizer.register_step_pre_hook(lambda *_: None)
    assert "hooks" in stacking_obstacle(optimizer)


def test_a_users_optimizer_and_set():
    assert elementwise(bound(Descent))
    check(Descent, ((3, 4), (3,)), 3, torch.float32)
    own = [nn.Parameter(torch.ones(3))]
    optimizer = Scion(own, OwnSet(), lr=0.5)
    rows = nn.Parameter(torch.ones(2, 3))
    stack_parameters(optimizer, [rows])
    rows.grad = torch.ones(2, 3)
    optimizer.step()
    assert torch.equal(rows.detach(), torch.full((2, 3), 0.5))


def test_parameters_that_do_not_fit():
    for shapes in (((2, 3, 4),), ((2, 3, 4), (2, 4)), ((2, 3, 4), (5, 3))):
        with pytest.raises(ValueError, match="stacked parameters must be"):
            stack_parameters(bound(optim.SGD), [nn.Parameter(torch.ones(shape)) for shape in shapes])


def test_state_has_rows_and_survives():
    X = torch.ones(4, 15)
    optimizer, parameters = stacked(lambda params: StochasticFrankWolfe(params, L1(1.0)), X, ((3, 4), (3,)))
    for p in parameters:
        p.grad = torch.arange(p.numel()).view(p.shape).float()
    optimizer.step()
    assert [optimizer.state[p]["momentum"].shape for p in parameters] == [(4, 3, 4), (4, 3)]
    assert optimizer.lmo_calls == 8
    other, again = stacked(lambda params: StochasticFrankWolfe(params, L1(1.0)), X.clone(), ((3, 4), (3,)))
    other.load_state_dict(optimizer.state_dict())
    for p, q in zip(parameters, again, strict=True):
        q.grad = p.grad
    optimizer.step()
    other.step()
    assert all(map(torch.equal, parameters, again))
    assert other.lmo_calls == 16
    assert copy.deepcopy(optimizer).stacked


def test_figures_of_stacked_parameters_are_those_of_all_rows():
    X = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    optimizer, (p,) = stacked(lambda params: FrankWolfe(params, L2(1.0)), X, ((2,),))
    assert optimizer.feasibility == 2.0
    assert optimizer.make_feasible() == 2.0
    assert torch.equal(X, torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
    p.grad = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    optimizer.step()
    assert optimizer.fw_gap == pytest.approx((1 + 1) + (1 + 2))


def test_a_row_has_its_own_step_size():
    X = torch.zeros(2, 1)
    optimizer, (p,) = stacked(lambda params: FrankWolfe(params, Linf(1.0), step_size=ShortStep(4.0)), X, ((1,),))
    p.grad = torch.tensor([[1.0], [2.0]])
    optimizer.step()
    assert X.tolist() == [[-0.25], [-0.5]]
