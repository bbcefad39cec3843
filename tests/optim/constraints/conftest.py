"""The table of sets that the laws are crossed with: a new set is one more row."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch

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
    Scaled,
    SpectralBall,
    Spectraplex,
    UnitSimplex,
)

Shape = tuple[int, ...]

ANY: tuple[Shape, ...] = ((), (1,), (7,), (3, 4), (2, 3, 2, 2), (400,))
SOME: tuple[Shape, ...] = ((6,), (2, 3), (3, 2, 1, 1))
SQUARE: tuple[Shape, ...] = ((), (1,), (2, 2), (5, 5), (4, 1, 2, 2))


@dataclass(frozen=True)
class Subject:
    """A set, and what is true of it.

    Attributes:
        shapes: that it is tested with.
        size: about the largest number in its inequalities, in radii.
        symmetric: whether it contains -x with x.
        loss: the oracle may miss so much of the best value, relatively.
    """

    constraint: ConstraintSet
    shapes: tuple[Shape, ...] = ANY
    size: float = 1.0
    symmetric: bool = True
    loss: float = 0.0

    def scaled(self, radius: float) -> ConstraintSet:
        """The set with that radius, where it has one."""
        return (
            dataclasses.replace(self.constraint, radius=radius)
            if isinstance(self.constraint, Scaled)
            else self.constraint
        )

    def magnitude(self, radius: float, shape: Shape) -> float:
        """What rounding is relative to, in `violation`."""
        numel = math.prod(shape)
        size = self.size * numel if isinstance(self.constraint, (KSparsePolytope, Hypersimplex)) else self.size
        if isinstance(self.constraint, (NuclearBall, SpectralBall)):
            size = math.sqrt(numel)  # singular values of rounded entries
        return size * (radius if isinstance(self.constraint, Scaled) else 1.0)


SUBJECTS = {
    "L1": Subject(L1(1.0)),
    "L2": Subject(L2(1.0)),
    "Linf": Subject(Linf(1.0)),
    "Lp, p=1": Subject(Lp(1.0, p=1)),
    "Lp, p=1.3": Subject(Lp(1.0, p=1.3)),
    "Lp, p=3": Subject(Lp(1.0, p=3)),
    "Lp, p=50": Subject(Lp(1.0, p=50)),
    "Lp, p=inf": Subject(Lp(1.0, p="inf")),
    "box, numbers": Subject(Box(-0.5, 2), size=2, symmetric=False),
    "box, lists": Subject(Box([[0.0, -1, -2], [1, 1, -5]], [[3.0, 0, 2], [1, 4, -4]]), ((2, 3),), 5, symmetric=False),
    "K-sparse, 3": Subject(KSparsePolytope(1.0, k=3)),
    "K-sparse, 30 %": Subject(KSparsePolytope(1.0, k=0.3)),
    "K-norm, 3": Subject(KNormBall(1.0, k=3)),
    "K-norm, 30 %": Subject(KNormBall(1.0, k=0.3)),
    "OWL": Subject(OrderedWeightedL1(1.0, [3, 3, 2, 1, 0.5, 0]), SOME, size=3),
    "probability simplex": Subject(ProbabilitySimplex(), symmetric=False),
    "unit simplex": Subject(UnitSimplex(), symmetric=False),
    "hypersimplex, 2": Subject(Hypersimplex(2), ((2,), (7,), (3, 4), (400,)), symmetric=False),
    "hypersimplex, 40 %": Subject(Hypersimplex(0.4), symmetric=False),
    "permutahedron": Subject(Permutahedron([1, 5, 3, -2, 3, 0]), SOME, size=14, symmetric=False),
    "Birkhoff": Subject(Birkhoff(), SQUARE, symmetric=False),
    "rows": Subject(GroupL1(1.0, groups="rows")),
    "columns": Subject(GroupL1(1.0, groups="columns")),
    "groups of 3": Subject(GroupL1(1.0, groups=3)),
    "groups by lists": Subject(GroupL1(1.0, groups=[[0, 5], [2], [1, 3, 4]]), SOME),
    "ellipsoid": Subject(Ellipsoid([[1, 2, 3], [0.1, 0.5, 2]], center=0.3), ((2, 3),), size=8, symmetric=False),
    "ellipsoid, numbers": Subject(Ellipsoid(0.5), size=2),
    "nuclear": Subject(NuclearBall(1.0)),
    "nuclear, by Lanczos": Subject(NuclearBall(1.0), ((70, 66), (66, 10, 3, 3)), loss=1e-4),
    "spectral": Subject(SpectralBall(1.0)),
    "spectral, fast": Subject(SpectralBall(1.0, method="exact_fast"), ((3, 4), (70, 66)), loss=1e-3),
    "spectraplex": Subject(Spectraplex(), SQUARE, symmetric=False),
    "row norms": Subject(RowNormBall(1.0)),
    "column norms": Subject(ColumnNormBall(1.0)),
}

KINDS = ["normal", "zero", "one-hot", "tied", "huge", "tiny", "sparse"]


def draw(kind: str, shape: Shape, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """A tensor of one of the kinds."""
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Crosses every test that takes a `subject` with the table."""
    if "subject" in metafunc.fixturenames:
        metafunc.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS.keys())


@pytest.fixture(scope="session", name="draw")
def _draw():
    return draw


@pytest.fixture(scope="session", name="subjects")
def _subjects() -> dict[str, Subject]:
    return SUBJECTS
