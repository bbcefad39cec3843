"""Automatic radii, radii from functions, and the rules that choose sets by name and shape."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gossipsim.models import CNN, MLP, Vector
from gossipsim.optim.constraints import L1, L2, Box, ByName, ByShape, Linf, Place, Scaled, SpectralBall, initial_norm
from gossipsim.spec import build

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
    assert L2("auto*1").resolve(Place.of(name, module)).radius == pytest.approx(expected, rel=tolerance)


def test_automatic_radii_have_one_diameter(subjects):
    module = nn.Linear(40, 30)
    place = Place.of("weight", module)
    wanted = 2 * 5 * math.sqrt(30 * 40 / (3 * 40))
    tried = 0
    for subject in subjects.values():
        if isinstance(subject.constraint, Scaled) and (400,) in subject.shapes:
            automatic = subject.scaled("auto*5")
            assert automatic.resolve(place).diameter(place.shape) == pytest.approx(wanted)
            tried += 1
    assert tried >= 15
    assert L1("auto*5").resolve(place).r == pytest.approx(wanted / 2)
    assert Linf("auto*5").resolve(place).r == pytest.approx(wanted / 2 / math.sqrt(30 * 40))


def test_radius_from_a_function():
    module = nn.Sequential(nn.Linear(4, 3))
    ball = Linf(lambda name, shape: 10.0 if name == "0.bias" else 1 / shape[-1])
    assert ball.resolve(Place.of("0.bias", module)) == Linf(10.0)
    assert ball.resolve(Place.of("0.weight", module)) == Linf(0.25)
    with pytest.raises(ValueError, match=r"radius must be .* got -1"):
        Linf(lambda name, shape: -1).resolve(Place("x", (2,)))
    with pytest.raises(ValueError, match="for_model"):
        ball.lmo(torch.ones(2))


def test_resolving_touches_neither_weights_nor_random_numbers():
    torch.manual_seed(0)
    model = CNN((1, 8, 8), 10)
    before, stream = [p.detach().clone() for p in model.parameters()], torch.get_rng_state()
    for name in ("hidden.weight", "hidden.bias"):
        SpectralBall("auto*5").resolve(Place.of(name, model))
    assert all(p.equal(q) for p, q in zip(model.parameters(), before, strict=True))
    assert torch.get_rng_state().equal(stream)


def test_automatic_radius_of_other_modules():
    assert initial_norm(Place.of("weight", nn.GroupNorm(2, 16))) == 4.0
    assert L2("auto*2").resolve(Place.of("x", Vector(4, init=1.0))).radius == 4.0
    for name, module in (("x", Vector(4)), ("bias", nn.GroupNorm(2, 16)), ("weight", nn.Embedding(3, 2))):
        with pytest.raises(ValueError, match=r"auto\*2.*give the\s+radius as a number"):
            L2("auto*2").resolve(Place.of(name, module))
    number = L2(3.0)
    assert number.resolve(Place.of("weight", nn.Embedding(3, 2))) is number
    with pytest.raises(ValueError, match="for_model"):
        L2("auto*2").lmo(torch.ones(2))


def test_models_resolve_every_parameter():
    model = MLP((1, 8, 8), 10, hidden=[5])
    for name, p in model.named_parameters():
        place = Place.of(name, model)
        assert place.shape == tuple(p.shape)
        assert Linf("auto*3").resolve(place).r > 0


def test_sets_by_shape():
    rule = ByShape(matrices=SpectralBall(2.0), others=Linf(1.0))
    assert rule("conv", (8, 4, 3, 3)) == rule("weight", (5, 4)) == SpectralBall(2.0)
    assert rule("bias", (5,)) == rule("scale", ()) == Linf(1.0)


def test_sets_by_name():
    rule = ByName({"*.bias": Linf(1.0), "layers.0.*": L1(2.0), "*": L2(3.0)})
    assert rule("layers.0.bias", (5,)) == Linf(1.0)
    assert rule("layers.0.weight", (5, 4)) == L1(2.0)
    assert rule("layers.1.weight", (5, 4)) == L2(3.0)
    assert ByName({"*.Bias": Linf(1.0)}, default=L2(3.0))("layers.0.bias", (5,)) == L2(3.0)
    with pytest.raises(ValueError, match=r"no pattern of '\*\.bias', 'x' matches the parameter 'layers\.0\.weight'"):
        ByName({"*.bias": Linf(1.0), "x": L2(1.0)})("layers.0.weight", (5, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ByShape(L2(1.0), 3), "others must be a feasible set.*got 3"),
        (lambda: ByShape("L2", L2(1.0)), "matrices must be a feasible set.*got 'L2'"),
        (lambda: ByName({"*": 3}), r"sets\['\*'\] must be a feasible set.*got 3"),
        (lambda: ByName([L2(1.0)]), "sets must map patterns"),
        (lambda: ByName({}, default=1.0), "default must be a feasible set"),
    ],
)
def test_rules_of_something_else(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rules_and_lists_from_json():
    room = "gossipsim.optim.constraints"
    spectral = {"class": f"{room}.SpectralBall", "params": {"radius": "auto*3", "method": "exact_fast"}}
    box = {"class": f"{room}.Box", "params": {"lower": [0, -1], "upper": 2}}
    by_name = {"class": f"{room}.ByName", "params": {"sets": {"*.weight": spectral}, "default": box}}
    rule = build(by_name)
    assert rule("a.weight", (2, 2)) == SpectralBall("auto*3", "exact_fast")
    assert rule("a.bias", (2,)) == Box([0.0, -1.0], 2.0)
    rule = build({"class": f"{room}.ByShape", "params": {"matrices": spectral, "others": box}})
    assert rule("a.weight", (2, 2)) == SpectralBall("auto*3", "exact_fast")
    others = {
        "Lp": {"radius": 1, "p": "inf"},
        "KSparsePolytope": {"radius": "auto*2", "k": 0.1},
        "Hypersimplex": {"k": 3},
        "Permutahedron": {"weights": [1, 2, 3]},
        "OrderedWeightedL1": {"radius": 1, "weights": [2, 1]},
        "GroupL1": {"radius": 1, "groups": [[0, 2], [1]]},
        "Ellipsoid": {"axes": [[1, 2]], "center": [[0, -1]]},
        "Birkhoff": {},
        "Unconstrained": {},
    }
    for name, params in others.items():
        assert type(build({"class": f"{room}.{name}", "params": params})).__name__ == name
