"""Feasible sets: exact identities of the oracle, projections, automatic radii."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gossipsim.models import CNN, MLP, Vector
from gossipsim.optim.constraints import L1, L2, ConstraintSet, Linf, initial_norm

SETS = [L1, L2, Linf]
KINDS = ["normal", "zero", "one-hot", "tied", "huge", "tiny", "sparse"]


def draw(kind: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    g = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if kind == "zero":
        g.zero_()
    elif kind == "one-hot":
        flat = torch.zeros(g.numel(), dtype=torch.float64)
        flat[seed % g.numel()] = -2.0
        g = flat.view(shape)
    elif kind == "tied":
        g = g.sign() * 3
    elif kind == "huge":
        g *= 1e30
    elif kind == "tiny":
        g *= 1e-30
    elif kind == "sparse":
        g *= torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    return g.to(dtype)


cases = {
    "kind": st.sampled_from(KINDS),
    "shape": st.sampled_from([(), (1,), (7,), (3, 4), (2, 3, 2, 2), (400,)]),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
    "radius": st.floats(1e-2, 50),
    "seed": st.integers(0, 1000),
}


@pytest.mark.parametrize("kind_of_set", SETS)
@settings(max_examples=150, deadline=None)
@given(**cases)
def test_oracle(kind_of_set, kind, shape, dtype, radius, seed):
    ball: ConstraintSet = kind_of_set(radius)
    g = draw(kind, shape, dtype, seed)
    before = g.clone()
    v = ball.lmo(g)
    assert (v.shape, v.dtype) == (g.shape, g.dtype)
    assert g.equal(before)
    assert not v.isnan().any()
    eps = 1e-5 if dtype == torch.float32 else 1e-12
    assert ball.contains(v, tol=radius * eps)
    inner, support = float((g.double() * v.double()).sum()), float(ball.support(-g))
    assert inner == pytest.approx(-support, rel=eps, abs=1e-300)
    assert support == float(ball.support(g))  # symmetric sets


@pytest.mark.parametrize("kind_of_set", SETS)
@settings(max_examples=60, deadline=None)
@given(**cases)
def test_oracle_beats_every_other_point(kind_of_set, kind, shape, dtype, radius, seed):
    ball = kind_of_set(radius)
    g = draw(kind, shape, torch.float64, seed)
    best = float((g * ball.lmo(g)).sum())
    for other in range(5):
        point = ball.project(3 * radius * draw("normal", shape, torch.float64, seed + other + 1))
        assert float((g * point).sum()) >= best - 1e-9 * abs(best)


@pytest.mark.parametrize("kind_of_set", SETS)
@settings(max_examples=80, deadline=None)
@given(**cases)
def test_projection(kind_of_set, kind, shape, dtype, radius, seed):
    ball = kind_of_set(radius)
    x = draw(kind, shape, dtype, seed)
    p = ball.project(x)
    assert (p.shape, p.dtype) == (x.shape, x.dtype)
    assert ball.contains(p, tol=radius * (1e-5 if dtype == torch.float32 else 1e-12))
    inside = ball.project(x.double()) * 0.99
    assert ball.project(inside).equal(inside)
    if kind != "huge" and dtype == torch.float64:
        # <x - p, z - p> <= 0 for all z of the set; the worst z is the oracle's answer
        gap = float(ball.support(x - p) - ((x - p) * p).sum())
        assert gap <= 1e-9 * (1 + radius) * (1 + float(x.norm()))


def test_projections_by_hand():
    x = torch.tensor([3.0, -1.0, 0.5])
    assert L1(2.0).project(x).tolist() == [2.0, 0.0, 0.0]
    assert L1(3.0).project(x).tolist() == [2.5, -0.5, 0.0]
    assert Linf(1.0).project(x).tolist() == [1.0, -1.0, 0.5]
    assert L2(1.0).project(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])


def test_vertices_by_hand():
    g = torch.tensor([[1.0, -4.0], [0.0, 4.0]])
    assert L1(2.0).lmo(g).tolist() == [[0.0, 2.0], [0.0, 0.0]]
    assert Linf(2.0).lmo(g).tolist() == [[-2.0, 2.0], [0.0, -2.0]]
    assert L2(5.0).lmo(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([-3.0, -4.0])


def test_membership():
    assert L2(1.0).contains(torch.tensor([0.6, 0.8 + 1e-7]))
    assert not L2(1.0).contains(torch.tensor([0.6, 0.81]))
    assert not L1(1.0).contains(torch.tensor([float("nan")]))
    assert Linf(1.0).violation(torch.tensor([1.5, 0.0])) == 0.5
    assert Linf(1.0).violation(torch.tensor([0.5, 0.0])) == 0.0


@pytest.mark.parametrize("kind_of_set", SETS)
def test_diameter_is_attained(kind_of_set):
    ball, shape = kind_of_set(1.5), (2, 8)
    g = torch.ones(shape, dtype=torch.float64)
    assert float((ball.lmo(g) - ball.lmo(-g)).norm()) == pytest.approx(ball.diameter(shape))


MODULES = [
    nn.Linear(40, 30),
    nn.Linear(7, 3),
    nn.Conv2d(4, 8, 3),
    nn.Conv2d(8, 8, 5, groups=4),
    nn.Conv1d(3, 5, 4),
    nn.ConvTranspose2d(6, 4, 3),
]


@pytest.mark.parametrize("module", MODULES, ids=str)
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_automatic_radius_is_the_mean_initial_norm(module, name):
    norms = []
    torch.manual_seed(0)
    for _ in range(800):
        module.reset_parameters()
        norms.append(float(getattr(module, name).detach().norm()))
    expected = sum(norms) / len(norms)
    # E||b||, not sqrt(E||b||^2): the difference is below 2 % from about 10 entries on
    tolerance = 0.02 if len(getattr(module, name).flatten()) > 10 else 0.08
    assert L2("auto*1").resolve(name, module).radius == pytest.approx(expected, rel=tolerance)


def test_automatic_radii_have_one_diameter():
    module = nn.Linear(40, 30)
    diameters = [kind("auto*5").resolve("weight", module).diameter((30, 40)) for kind in SETS]
    assert diameters == pytest.approx([diameters[0]] * 3)
    assert diameters[0] == pytest.approx(2 * 5 * math.sqrt(30 * 40 / (3 * 40)))


def test_resolving_touches_neither_weights_nor_random_numbers():
    torch.manual_seed(0)
    model = CNN((1, 8, 8), 10)
    before, stream = [p.detach().clone() for p in model.parameters()], torch.get_rng_state()
    for name in ("weight", "bias"):
        L1("auto*5").resolve(name, model.hidden)
    assert all(p.equal(q) for p, q in zip(model.parameters(), before, strict=True))
    assert torch.get_rng_state().equal(stream)


def test_automatic_radius_of_other_modules():
    assert initial_norm("weight", nn.GroupNorm(2, 16)) == 4.0
    assert L2("auto*2").resolve("x", Vector(4, init=1.0)).radius == 4.0
    for name, module in (("x", Vector(4)), ("bias", nn.GroupNorm(2, 16)), ("weight", nn.Embedding(3, 2))):
        with pytest.raises(ValueError, match=r"auto\*2.*give the\s+radius as a number"):
            L2("auto*2").resolve(name, module)
    number = L2(3.0)
    assert number.resolve("weight", nn.Embedding(3, 2)) is number
    with pytest.raises(ValueError, match="for_model"):
        L2("auto*2").lmo(torch.ones(2))


@pytest.mark.parametrize("kind_of_set", SETS)
@pytest.mark.parametrize("radius", [0, -1, float("nan"), float("inf"), True, None, "5", "auto", "auto*0", "auto*x"])
def test_radii_that_are_none(kind_of_set, radius):
    with pytest.raises(ValueError, match=r"^radius must be"):
        kind_of_set(radius)


def test_models_resolve_every_parameter():
    model = MLP((1, 8, 8), 10, hidden=[5])
    for name, _ in model.named_parameters():
        owner, _, own = name.rpartition(".")
        assert Linf("auto*3").resolve(own, model.get_submodule(owner)).r > 0
