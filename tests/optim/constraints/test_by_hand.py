"""Answers that can be worked out by hand, closed forms, and sets that are special cases of others."""

from __future__ import annotations

import math

import pytest
import torch

from gossipsim.optim.constraints import (
    L1,
    L2,
    Birkhoff,
    Box,
    ColumnNormBall,
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
    UnitSimplex,
)
from gossipsim.optim.constraints.projection import clip_to_sum


def test_projections():
    x = torch.tensor([3.0, -1.0, 0.5])
    assert L1(2.0).project(x).tolist() == [2.0, 0.0, 0.0]
    assert L1(3.0).project(x).tolist() == [2.5, -0.5, 0.0]
    assert Linf(1.0).project(x).tolist() == [1.0, -1.0, 0.5]
    assert L2(1.0).project(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    assert ProbabilitySimplex().project(x).tolist() == [1, 0, 0]
    assert UnitSimplex(5.0).project(x).tolist() == [3.0, 0.0, 0.5]
    assert Hypersimplex(2).project(x).tolist() == [1, 0, 1]
    assert KSparsePolytope(1.0, 2).project(x).tolist() == [1.0, -0.75, 0.25]
    assert KNormBall(2.0, 2).project(torch.tensor([2.0, 2.0, 1.0])).tolist() == [1, 1, 1]
    assert Permutahedron([0, 1, 2]).project(x).tolist() == [2, 0, 1]
    assert Permutahedron([0, 1, 2]).project(0 * x).tolist() == [1, 1, 1]
    assert Box(-1.0, [0.0, 2.0, 0.25]).project(x).tolist() == [0.0, -1.0, 0.25]
    assert Birkhoff().project(torch.zeros(2, 2)).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert Birkhoff().project(torch.eye(2) / 4).tolist() == [[0.625, 0.375], [0.375, 0.625]]


def test_vertices():
    g = torch.tensor([[1.0, -4.0], [0.0, 4.0]])
    assert L1(2.0).lmo(g).tolist() == [[0.0, 2.0], [0.0, 0.0]]
    assert Linf(2.0).lmo(g).tolist() == [[-2.0, 2.0], [0.0, -2.0]]
    assert L2(5.0).lmo(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([-3.0, -4.0])
    assert ProbabilitySimplex(2.0).lmo(g).tolist() == [[0, 2], [0, 0]]
    assert UnitSimplex().lmo(g.abs()).tolist() == [[0, 0], [0, 0]]
    assert Hypersimplex(2).lmo(g).tolist() == [[0, 1], [1, 0]]
    assert KSparsePolytope(1.0, 3).lmo(g).tolist() == [[-1, 1], [0, -1]]
    assert KNormBall(1.0, 2).lmo(g).tolist() == [[-0.5, 0.5], [0, -0.5]]
    assert KNormBall(1.0, 2).lmo(torch.tensor([9.0, 1.0])).tolist() == [-1, 0]
    assert Permutahedron([1, 2, 3, 4]).lmo(g).tolist() == [[2, 4], [3, 1]]
    assert Birkhoff().lmo(g).tolist() == [[0, 1], [1, 0]]
    assert GroupL1(1.0, "columns").lmo(torch.tensor([[3.0, 1.0], [4.0, 1.0]])).tolist() == [
        [-0.6000000238418579, 0],
        [-0.800000011920929, 0],
    ]
    assert RowNormBall(5.0).lmo(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[-3, -4], [0, 0]]
    assert ColumnNormBall(5.0).lmo(torch.tensor([[3.0, 0.0], [4.0, -2.0]])).tolist() == [[-3, 0], [-4, 5]]
    assert Spectraplex(2.0).lmo(torch.diag(torch.tensor([1.0, -1.0]))).tolist() == [[0, 0], [0, 2]]


def test_the_first_largest_entry_wins_in_long_vectors():
    g = torch.ones(3000)
    assert int(L1(1.0).lmo(g).nonzero()) == 0
    for k in (0, 255, 256, 2815, 2816, 2999):
        g = torch.ones(3000)
        g[k] = -2
        assert L1(1.0).lmo(g)[k] == 1
        g[k] = math.nan
        assert L1(1.0).lmo(g)[k].isnan()


def test_membership():
    assert L2(1.0).contains(torch.tensor([0.6, 0.8 + 1e-7]))
    assert not L2(1.0).contains(torch.tensor([0.6, 0.81]))
    assert not L1(1.0).contains(torch.tensor([float("nan")]))
    assert Linf(1.0).violation(torch.tensor([1.5, 0.0])) == 0.5
    assert Linf(1.0).violation(torch.tensor([0.5, 0.0])) == 0.0
    assert ProbabilitySimplex().violation(torch.tensor([0.5, 0.25])) == 0.25
    assert ProbabilitySimplex().violation(torch.tensor([1.25, -0.25])) == 0.25
    assert Spectraplex().violation(torch.tensor([[0.5, 0.25], [0.0, 0.5]])) == 0.25
    assert Birkhoff().violation(torch.tensor([[1.0, 0.0], [0.5, 0.5]])) == 0.5
    assert KSparsePolytope(1.0, 2).violation(torch.tensor([1.0, -1.0, 0.5])) == 0.5


@pytest.mark.parametrize(
    ("general", "special"),
    [
        (Lp(1.5, 1), L1(1.5)),
        (Lp(1.5, 2), L2(1.5)),
        (Lp(1.5, "inf"), Linf(1.5)),
        (Lp(1.5, math.inf), Linf(1.5)),
        (KSparsePolytope(1.5, 1), L1(1.5)),
        (KSparsePolytope(1.5, 6), Linf(1.5)),
        (KSparsePolytope(1.5, 100), Linf(1.5)),
        (KNormBall(1.5, 6), L1(1.5)),
        (KNormBall(1.5, 100), L1(1.5)),
        (KNormBall(1.5, 1), Linf(1.5)),
        (OrderedWeightedL1(3.0, [2] * 6), L1(1.5)),
        (OrderedWeightedL1(1.5, [1, 1, 0, 0, 0, 0]), KNormBall(1.5, 2)),
        (Box(-1.5, 1.5), Linf(1.5)),
        (Hypersimplex(1, 1.5), ProbabilitySimplex(1.5)),
        (Permutahedron([1.5, 0, 0, 0, 0, 0]), ProbabilitySimplex(1.5)),
        (GroupL1(1.5, 1), L1(1.5)),
        (GroupL1(1.5, 6), L2(1.5)),
        (GroupL1(1.5, "rows"), GroupL1(1.5, [[0, 1, 2], [3, 4, 5]])),
        (GroupL1(1.5, "columns"), GroupL1(1.5, [[0, 3], [1, 4], [2, 5]])),
        (GroupL1(1.5, 4), GroupL1(1.5, [[0, 1, 2, 3], [4, 5]])),
    ],
    ids=repr,
)
def test_special_cases(general, special):
    for seed in range(10):
        x = 2 * torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert torch.allclose(general.lmo(x), special.lmo(x), rtol=0, atol=1e-14)
        assert torch.allclose(general.support(x), special.support(x), rtol=1e-14)
        assert torch.allclose(general.project(x), special.project(x), rtol=0, atol=1e-13)
        assert general.diameter(x.shape) == pytest.approx(special.diameter(x.shape), rel=1e-14)
        inside = special.project(x)
        assert general.contains(inside, tol=1e-12)


def test_vectors_as_matrices():
    x = torch.randn(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for one in (NuclearBall(1.5), SpectralBall(1.5), ColumnNormBall(1.5)):
        assert torch.allclose(one.lmo(x), L2(1.5).lmo(x), atol=1e-14)
        assert torch.allclose(one.project(x), L2(1.5).project(x), atol=1e-14)
    assert RowNormBall(1.5).lmo(x).equal(Linf(1.5).lmo(x))


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 2, 2, 1)])
def test_singular_values(shape):
    """Spectral: clipped. Nuclear: projected onto the L1 ball. The oracles: U V^T and u v^T."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(x.reshape(shape[0], -1), full_matrices=False)

    def matrix(replaced):
        return ((left * replaced) @ right).view(shape)

    assert torch.allclose(SpectralBall(1.5).project(x), matrix(values.clamp(max=1.5)), atol=1e-13)
    assert torch.allclose(NuclearBall(1.5).project(x), matrix(L1(1.5).project(values)), atol=1e-13)
    assert torch.allclose(SpectralBall(1.5).lmo(x), matrix(torch.full_like(values, -1.5)), atol=1e-13)
    top = torch.zeros_like(values)
    top[0] = -1.5
    assert torch.allclose(NuclearBall(1.5).lmo(x), matrix(top), atol=1e-13)


def test_spectraplex_is_the_simplex_of_eigenvalues():
    x = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, vectors = torch.linalg.eigh((x + x.T) / 2)
    expected = (vectors * ProbabilitySimplex(2.0).project(values)) @ vectors.T
    assert torch.allclose(Spectraplex(2.0).project(x), expected, atol=1e-13)


def test_iterations_leave_the_spectral_ball_as_documented():
    g = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    exact = SpectralBall(1.0)
    assert exact.violation(exact.lmo(g)) < 1e-5
    for method in ("newton_schulz", "polar_express"):
        assert 0.02 < exact.violation(SpectralBall(1.0, method).lmo(g)) < 0.25


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3, 1e12])
def test_clipped_sums(spread):
    """The shared kernel: feasible, and x - y is one number but where y is at a bound."""
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        n = int(torch.randint(1, 30, (1,), generator=generator))
        x = spread * torch.randn(n, generator=generator, dtype=torch.float64)
        if seed % 3 == 0:
            x = x.round()
        high = float(torch.rand(1, generator=generator)) + 0.1
        total = high * n * (1 if seed % 10 == 0 else float(torch.rand(1, generator=generator)))
        y = clip_to_sum(x, high, total)
        assert float(y.sum()) == pytest.approx(total, rel=1e-14)
        assert 0 <= float(y.min()) <= float(y.max()) <= high
        theta, rounding = x - y, 4e-16 * float(x.abs().max() + high)
        if (y > 0).any() and (y < high).any():
            assert float(theta[y > 0].min()) >= float(theta[y < high].max()) - rounding


def test_huge_points_do_not_swallow_the_radius():
    x = torch.tensor([1e30, 5.0, 4.5, 0.0], dtype=torch.float64)
    assert Hypersimplex(2).project(x).tolist() == [1.0, 0.75, 0.25, 0.0]
    assert ProbabilitySimplex().project(x).tolist() == [1, 0, 0, 0]
    assert Permutahedron([3, 2, 1, 0]).project(x).tolist() == [3.0, 1.75, 1.25, 0.0]
    assert L1(1.0).project(torch.full((4,), 1e30)).tolist() == [0.25] * 4
