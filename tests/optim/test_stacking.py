"""One optimizer for stacked parameters against one for each row: the same bits, whatever the optimizer and the set."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import nn

import gossipsim.optim
from gossipsim.optim import (
    AdaGradSFW,
    FrankWolfe,
    Muon,
    ProjectedSGD,
    Scion,
    StochasticFrankWolfe,
    UnconstrainedScion,
    constrained,
    constraints,
)
from gossipsim.optim.constraints import (
    L1,
    L2,
    Birkhoff,
    Box,
    ColumnNormBall,
    ConstraintSet,
    Ellipsoid,
    GroupL1,
    Hypersimplex,
    KNormBall,
    KSparsePolytope,
    Linf,
    Lp,
    NuclearBall,
    OrderedWeightedL1,
    Permutahedron,
    ProbabilitySimplex,
    RowNormBall,
    SpectralBall,
    Spectraplex,
    Unconstrained,
    UnitSimplex,
)
from gossipsim.optim.stacking import (
    ELEMENTWISE,
    EXACT_SETS,
    ROW_BY_ROW,
    elementwise,
)
from gossipsim.optim.step_sizes import ShortStep
from gossipsim.stacked import padded
from tests.optim.rows import Layout, Make, Shapes, check, columns_first, gradients, in_rows, stacked, views

optim = torch.optim
TORCHS: dict[str, Make] = {
    **{kind.__name__: lambda params, kind=kind: kind(params, lr=0.05) for kind in ELEMENTWISE},
    "momentum": lambda params: optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.01, dampening=0.1),
    "Nesterov": lambda params: optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True, maximize=True),
    "AMSGrad": lambda params: optim.Adam(params, lr=0.05, amsgrad=True, weight_decay=0.1),
    "foreach": lambda params: optim.AdamW(params, lr=0.05, foreach=True),
    "lr is a tensor": lambda params: optim.Adam(params, lr=torch.tensor(0.05)),
    "centered": lambda params: optim.RMSprop(params, lr=0.05, momentum=0.5, centered=True, weight_decay=0.1),
    "ASGD, averaging": lambda params: optim.ASGD(params, lr=0.05, t0=3, weight_decay=0.1),
    "RAdam, decoupled": lambda params: optim.RAdam(params, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True),
    "Adagrad, decaying": lambda params: optim.Adagrad(params, lr=0.05, lr_decay=0.1, initial_accumulator_value=0.1),
    "Muon": Muon,
    "Muon, others": lambda params: Muon(params, nesterov=False, weight_decay=0.1, orthogonalization="exact_fast"),
}
SETS: dict[str, ConstraintSet] = {
    "L1": L1(2.0),
    "L2": L2(2.0),
    "Linf": Linf(0.5),
    "Lp": Lp(2.0, 3.0),
    "box": Box(-1.0, 1.0),
    "ellipsoid": Ellipsoid(2.0, 0.1),
    "groups": GroupL1(2.0, 3),
    "group columns": GroupL1(2.0, "columns"),
    "rows": RowNormBall(1.0),
    "columns": ColumnNormBall(1.0),
    "K-norm": KNormBall(2.0, 3),
    "hypersimplex": Hypersimplex(0.5),
    "K-sparse": KSparsePolytope(1.0, 0.3),
    "simplex": ProbabilitySimplex(),
    "unit simplex": UnitSimplex(),
    "nuclear": NuclearBall(2.0),
    "spectral": SpectralBall(1.0),
    "exact_fast": SpectralBall(1.0, "exact_fast"),
    "Newton-Schulz": SpectralBall(1.0, "newton_schulz"),
    "unconstrained": Unconstrained(),
}
SQUARES: dict[str, ConstraintSet] = {
    "Birkhoff": Birkhoff(),
    "spectraplex": Spectraplex(),
    "ordered": OrderedWeightedL1(2.0, [36.0 - k for k in range(36)]),
    "permutahedron": Permutahedron([float(k) for k in range(36)]),
}
METHODS: dict[str, Callable[[list[nn.Parameter], ConstraintSet], torch.optim.Optimizer]] = {
    "Frank-Wolfe": FrankWolfe,
    "short step": lambda params, one: FrankWolfe(params, one, step_size=ShortStep(3.0)),
    "stochastic": StochasticFrankWolfe,
    "rescaled": lambda params, one: StochasticFrankWolfe(params, one, rescale="gradient", estimator="nesterov"),
    "projected": lambda params, one: ProjectedSGD(params, one, lr=0.3, momentum=0.9),
    "AdaGrad": lambda params, one: AdaGradSFW(params, one, lr=0.1),
    "Scion": Scion,
    "unconstrained Scion": lambda params, one: UnconstrainedScion(params, one, momentum=0.0),
}
SHAPES: tuple[Shapes, ...] = (((5,),), ((3, 4),), ((10, 784),), ((4, 3, 3, 3),), ((3, 4), (3,), (4, 3, 3, 3)))
SMALL: tuple[Shapes, ...] = (((5,),), ((3, 259),), ((3, 4), (3,), (4, 3, 3, 3)))


LAYOUTS: tuple[tuple[int, Layout], ...] = ((1, in_rows), (2, torch.Tensor.contiguous), (7, columns_first))
CASES = list(product(LAYOUTS, (torch.float32, torch.float64)))


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("make", TORCHS.values(), ids=TORCHS)
def test_optimizers(make, shapes):
    for (rows, layout), dtype in CASES:
        check(make, shapes, rows, dtype, layout)


@pytest.mark.filterwarnings("ignore:lr=")
@pytest.mark.parametrize("one", SETS.values(), ids=SETS)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_methods_over_sets(method, one):
    if isinstance(one, Unconstrained) and method is METHODS["unconstrained Scion"]:
        return
    for shapes in SMALL:
        check(lambda params: method(params, one), shapes, 3, torch.float32)
    check(lambda params: method(params, one), SMALL[-1], 7, torch.float64, columns_first)


@pytest.mark.parametrize("one", SQUARES.values(), ids=SQUARES)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_methods_over_sets_of_one_shape(method, one):
    for dtype in (torch.float32, torch.float64):
        check(lambda params: method(params, one), ((6, 6),), 3, dtype)


def test_64_rows():
    for make in (TORCHS["Adam"], lambda params: StochasticFrankWolfe(params, L1(3.0))):
        check(make, ((10, 784), (10,)), 64, torch.float32)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_rows_may_be_worked_on_in_parts(method, monkeypatch):
    for part in (1, 100, 300):
        monkeypatch.setattr(constrained, "PART_BYTES", part)
        check(lambda params: method(params, L2(1.0)), ((3, 4), (3,)), 7, torch.float32)


@pytest.mark.parametrize("one", {**SETS, **SQUARES}.values(), ids={**SETS, **SQUARES})
def test_oracles_of_rows_are_those_of_one_row(one):
    """Also where some rows are zero, tiny, huge, inside the set, or hold what is no number."""
    rows = torch.randn(10, 6, 6, generator=torch.Generator().manual_seed(0))
    rows[1:6] *= torch.tensor([0.0, 1e-36, 1e36, math.nan, 1e-3]).view(-1, 1, 1)
    rows[6, 2, 3] = math.inf
    for dtype in (torch.float32, torch.float64):
        X = rows.to(dtype)
        for many, single in ((one.lmo_rows, one.lmo), (one.project_rows, one.project)):
            if isinstance(one, Unconstrained) and many == one.lmo_rows:
                continue
            expected = torch.stack([single(x) for x in X])
            torch.testing.assert_close(many(X), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("make", [TORCHS[name] for name in ("SGD", "Adam", "Nesterov")])
def test_a_whole_matrix_may_be_one_parameter_of_an_elementwise_optimizer(make):
    assert elementwise(make([nn.Parameter(torch.zeros(1))]))
    X = padded((7, 33), torch.empty(0)).fill_(1.0)
    apart, parameters = stacked(make, X.clone(), ((3, 4), (21,)))
    whole = make([nn.Parameter(X)])
    for G in gradients(7, 33, torch.float32):
        for p, g in zip(parameters, views(G, ((3, 4), (21,))), strict=True):
            p.grad = g
        whole.param_groups[0]["params"][0].grad = G
        apart.step()
        whole.step()
    assert torch.equal(X, torch.cat([p.detach().reshape(7, -1) for p in parameters], 1))


def test_all_of_torch_and_of_the_package_are_known():
    refused = {"LBFGS", "Adafactor", "SparseAdam", "Muon", "Optimizer"}
    names = {name for name in dir(optim) if isinstance(getattr(optim, name), type)}
    assert {kind.__name__ for kind in ELEMENTWISE} == names - refused
    ours = [getattr(gossipsim.optim, name) for name in gossipsim.optim.__all__ if name not in ("Adam", "constraints")]
    kinds = {kind for kind in ours if isinstance(kind, type)} - {gossipsim.optim.ConstrainedOptimizer}
    assert kinds == set(ROW_BY_ROW)
    sets = [getattr(constraints, name) for name in constraints.__all__]
    kinds = {one for one in sets if isinstance(one, type) and issubclass(one, ConstraintSet)}
    concrete = {kind for kind in kinds if not kind.__abstractmethods__}
    assert concrete == set(EXACT_SETS)
    assert {type(one) for one in (*SETS.values(), *SQUARES.values())} == set(EXACT_SETS)
