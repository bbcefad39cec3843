"""Wrong parameters and shapes: the error names the field, the value and what is allowed."""

from __future__ import annotations

import math

import pytest
import torch

from gossipsim.optim.constraints import (
    L1,
    L2,
    Birkhoff,
    Box,
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
    SpectralBall,
    Spectraplex,
    Unconstrained,
    UnitSimplex,
)

SCALED = {
    "L1": L1,
    "Linf": Linf,
    "Lp": lambda radius: Lp(radius, 3),
    "K-sparse": lambda radius: KSparsePolytope(radius, 2),
    "K-norm": lambda radius: KNormBall(radius, 2),
    "OWL": lambda radius: OrderedWeightedL1(radius, [2, 1]),
    "simplex": ProbabilitySimplex,
    "unit simplex": UnitSimplex,
    "hypersimplex": lambda radius: Hypersimplex(1, radius),
    "groups": lambda radius: GroupL1(radius, "rows"),
    "nuclear": NuclearBall,
    "spectral": SpectralBall,
    "spectraplex": Spectraplex,
}


@pytest.mark.parametrize("make", SCALED.values(), ids=SCALED)
@pytest.mark.parametrize("radius", [0, -1, float("nan"), float("inf"), True, None, "5", "auto", "auto*0", "auto*x"])
def test_radii_that_are_none(make, radius):
    with pytest.raises(ValueError, match=r"^radius must be a number above 0"):
        make(radius)


WRONG = {
    "p below 1": (lambda: Lp(1.0, 0.5), r'^p must be a number >= 1, or "inf", got 0\.5'),
    "p is a word": (lambda: Lp(1.0, "two"), r"^p must be .* got 'two'"),
    "p is nan": (lambda: Lp(1.0, math.nan), r"^p must be .* got nan"),
    "k is 0": (lambda: KSparsePolytope(1.0, 0), r"^k must be an integer >= 1, or a fraction .*\(0, 1\), got 0"),
    "k is 1.0": (lambda: KNormBall(1.0, 1.0), r"^k must be .* got 1\.0"),
    "k is true": (lambda: Hypersimplex(True), r"^k must be .* got True"),
    "k is a word": (lambda: Hypersimplex("2"), r"^k must be .* got '2'"),
    "bounds cross": (lambda: Box([0, 3], [1, 2]), r"^lower must be <= upper everywhere, got lower=\(0.0, 3.0\)"),
    "bounds of two shapes": (lambda: Box([0, 0], [1, 1, 1]), r"^lower has the shape \(2,\), upper \(3,\)"),
    "infinite bound": (lambda: Box(0, math.inf), r"^upper must be a finite number, or nested lists .* got inf"),
    "ragged lists": (lambda: Box([[0], [1, 2]], 3), r"^lower must be a finite number, or nested lists"),
    "words for numbers": (lambda: Box("0", 3), r"^lower must be .* got '0'"),
    "no entries": (lambda: Box([], 3), r"^lower must be .* got \[\]"),
    "flat axis": (lambda: Ellipsoid([1, 0]), r"^axes must be above 0, got \(1.0, 0.0\)"),
    "center elsewhere": (lambda: Ellipsoid([1, 1], [0, 0, 0]), r"^axes have the shape \(2,\), center \(3,\)"),
    "rising weights": (lambda: OrderedWeightedL1(1.0, [1, 2]), r"^weights must be .* non-increasing .* got \(1"),
    "negative weight": (lambda: OrderedWeightedL1(1.0, [1, -2]), r"^weights must be .* >= 0"),
    "no weight": (lambda: OrderedWeightedL1(1.0, [0, 0]), r"^weights must be .* the first above 0"),
    "one weight for all": (lambda: Permutahedron(3.0), r"^weights must be a list of numbers, got 3\.0"),
    "unknown groups": (lambda: GroupL1(1.0, "layers"), r'^groups must be "rows", "columns", an integer >= 1, or lists'),
    "groups overlap": (lambda: GroupL1(1.0, [[0, 1], [1, 2]]), r"^groups must be .* each of the indices .* once"),
    "groups leave a gap": (lambda: GroupL1(1.0, [[0], [2]]), r"^groups must be"),
    "empty group": (lambda: GroupL1(1.0, [[0], []]), r"^groups must be"),
    "groups of 0": (lambda: GroupL1(1.0, 0), r"^groups must be .* got 0"),
    "unknown method": (lambda: SpectralBall(1.0, "qr"), r"^method must be one of 'svd', .* got 'qr'"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_parameters_that_are_none(make, message):
    with pytest.raises(ValueError, match=message):
        make()


SHAPES = {
    "Birkhoff": (Birkhoff(), (2, 3), r"Birkhoff: .* shape \(2, 3\) is a 2 x 3 matrix, not a square"),
    "Birkhoff of a vector": (Birkhoff(), (4,), r"Birkhoff: .* shape \(4,\) is a 4 x 1 matrix"),
    "spectraplex": (Spectraplex(), (4, 2, 1, 1), r"Spectraplex: .* shape \(4, 2, 1, 1\) is a 4 x 2 matrix"),
    "permutahedron": (Permutahedron([1, 2, 3]), (2, 2), r"weights has the shape \(3,\), the parameter \(4,\)"),
    "OWL": (OrderedWeightedL1(1.0, [2, 1]), (3,), r"weights has the shape \(2,\), the parameter \(3,\)"),
    "box": (Box([0, 0], 1), (4, 2), r"lower has the shape \(2,\), the parameter \(4, 2\)"),
    "ellipsoid": (Ellipsoid(1, [[0, 0]]), (2,), r"center has the shape \(1, 2\), the parameter \(2,\)"),
    "hypersimplex": (Hypersimplex(5), (2, 2), r"k = 5 is above the number of entries .* shape \(2, 2\)"),
    "groups": (GroupL1(1.0, [[0, 1], [2]]), (2, 2), r"groups hold 3 indices, a parameter of the shape \(2, 2\) 4"),
}


@pytest.mark.parametrize(("one", "shape", "message"), SHAPES.values(), ids=SHAPES)
def test_shapes_that_have_no_such_set(one, shape, message):
    x = torch.ones(shape)
    for use in (one.lmo, one.support, one.project, one.violation, lambda x: one.diameter(x.shape)):
        with pytest.raises(ValueError, match=message):
            use(x)


def test_the_whole_space():
    everything, x = Unconstrained(), torch.tensor([1e30, -2.0])
    assert everything.project(x).equal(x)
    assert everything.violation(x) == 0
    assert math.isnan(everything.violation(x * math.nan))
    assert everything.diameter((2,)) == math.inf
    assert float(everything.support(x)) == math.inf
    assert float(everything.support(0 * x)) == 0
    assert math.isnan(float(everything.support(x * math.nan)))
    with pytest.raises(ValueError, match="a linear function has no minimum on the whole space"):
        everything.lmo(x)


def test_a_single_point_has_no_automatic_radius():
    from torch import nn

    from gossipsim.optim.constraints import Place

    with pytest.raises(ValueError, match=r"auto\*2.*single point for the shape \(1,\)"):
        ProbabilitySimplex("auto*2").resolve(Place.of("bias", nn.Linear(4, 1)))


def test_l2_of_a_bad_radius_at_use():
    with pytest.raises(ValueError, match=r"radius 'auto\*2' has to be resolved"):
        L2("auto*2").project(torch.ones(2))
