"""Sets against answers found in other ways: vertices by enumeration, linear programs, dual norms, other formulations.

Polytopes are given twice, by their vertices (from the definition as a convex hull) and by their inequalities; other
sets by a dual norm in numpy and by a smooth problem that scipy solves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import optimize

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
    UnitSimplex,
)

R = 1.5
WEIGHTS = np.array([3.0, 2.0, 2.0, 0.5])
ORDERS = [np.array(order) for order in itertools.permutations(range(4))]
SIGNS = np.array(list(itertools.product([-1.0, 1.0], repeat=4)))
SUBSETS = np.array(list(itertools.product([0.0, 1.0], repeat=4)))


@dataclass(frozen=True)
class Polytope:
    """{upper x <= bounds, equal x = values}, and its vertices; of vectors or flattened matrices."""

    constraint: ConstraintSet
    vertices: np.ndarray
    upper: np.ndarray
    bounds: np.ndarray
    equal: np.ndarray | None = None
    values: np.ndarray | None = None
    shape: tuple[int, ...] = (4,)


def signed(patterns: Iterable[np.ndarray]) -> np.ndarray:
    return np.array([sign * pattern for pattern in patterns for sign in SIGNS])


def subsets(size: int) -> np.ndarray:
    return SUBSETS[SUBSETS.sum(1) == size]


def box(low: float, high: float, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    return np.vstack([np.eye(n), -np.eye(n)]), np.array([high] * n + [-low] * n)


def owl(constraint: ConstraintSet, weights: np.ndarray) -> Polytope:
    """All signed permutations of the weights; vertices have k equal entries of radius/(w_1 + ... + w_k)."""
    sums = weights.cumsum()
    vertices = signed([R / sums[k - 1] * pattern for k in (1, 2, 3, 4) for pattern in subsets(k)])
    rows = np.array([sign * weights[order] for order in ORDERS for sign in SIGNS])
    return Polytope(constraint, vertices, rows, np.full(len(rows), R))


def doubly_stochastic() -> Polytope:
    vertices = np.array([np.eye(3)[list(order)].ravel() for order in itertools.permutations(range(3))])
    sums = np.vstack([np.kron(np.eye(3), np.ones(3)), np.kron(np.ones(3), np.eye(3))])
    return Polytope(Birkhoff(), vertices, -np.eye(9), np.zeros(9), sums, np.ones(6), (3, 3))


def permutahedron() -> Polytope:
    rows = SUBSETS[(SUBSETS.sum(1) > 0) & (SUBSETS.sum(1) < 4)]
    bounds = np.array([WEIGHTS[: int(row.sum())].sum() for row in rows])
    total = np.array([WEIGHTS.sum()])
    return Polytope(
        Permutahedron([2.0, 0.5, 3, 2]), np.array([WEIGHTS[o] for o in ORDERS]), rows, bounds, np.ones((1, 4)), total
    )


ONE = np.ones((1, 4))
CUBE, SIDES = box(-R, R)
CORNER = np.vstack([-np.eye(4), ONE])
POLYTOPES = {
    "L1": Polytope(L1(R), signed(R * np.eye(4)), SIGNS, np.full(16, R)),
    "Linf": Polytope(Linf(R), R * SIGNS, CUBE, SIDES),
    "box": Polytope(
        Box([-1.0, 0, 1, 2], [0.0, 2, 1, 5]),
        np.array(list(itertools.product([-1.0, 0], [0.0, 2], [1.0], [2.0, 5]))),
        np.vstack([np.eye(4), -np.eye(4)]),
        np.array([0, 2, 1, 5, 1, 0, -1, -2.0]),
    ),
    "K-sparse": Polytope(
        KSparsePolytope(R, 2),
        signed(R * subsets(2)),
        np.vstack([SIGNS, CUBE]),
        np.concatenate([np.full(16, 2 * R), SIDES]),
    ),
    "K-norm": owl(KNormBall(R, 2), np.array([1.0, 1, 0, 0])),
    "K-norm is a hull": Polytope(
        KNormBall(R, 3),
        np.vstack([signed(R * np.eye(4)), R / 3 * SIGNS]),
        signed(subsets(3)),
        np.full(64, R),
    ),
    "OWL": owl(OrderedWeightedL1(R, WEIGHTS.tolist()), WEIGHTS),
    "simplex": Polytope(ProbabilitySimplex(R), R * np.eye(4), -np.eye(4), np.zeros(4), ONE, np.array([R])),
    "unit simplex": Polytope(
        UnitSimplex(R), np.vstack([R * np.eye(4), np.zeros(4)]), CORNER, np.array([0, 0, 0, 0, R])
    ),
    "hypersimplex": Polytope(Hypersimplex(2, R), R * subsets(2), *box(0, R), ONE, np.array([2 * R])),
    "permutahedron": permutahedron(),
    "Birkhoff": doubly_stochastic(),
}

GRADIENTS = [np.random.default_rng(seed).standard_normal(9) for seed in range(12)]
GRADIENTS += [np.round(g) for g in GRADIENTS[:6]] + [np.zeros(9), np.ones(9), -np.ones(9)]


def tensor(values: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(values[: math.prod(shape)].copy()).view(shape)


@pytest.mark.parametrize("case", POLYTOPES.values(), ids=POLYTOPES)
def test_polytope(case):
    assert case.constraint.polytope
    for values in GRADIENTS:
        g = tensor(values, case.shape)
        best = (case.vertices @ g.numpy().ravel()).max()
        program = optimize.linprog(-g.numpy().ravel(), case.upper, case.bounds, case.equal, case.values, (None, None))
        assert float(case.constraint.support(g)) == pytest.approx(best, rel=1e-12, abs=1e-12)
        assert float(case.constraint.support(g)) == pytest.approx(-program.fun, rel=1e-8, abs=1e-8)
        if np.unique(np.abs(values)).size == len(values):
            v = case.constraint.lmo(g).numpy().ravel()
            assert np.abs(case.vertices - v).max(1).min() < 1e-12  # a vertex
        for size in (0.3, 2.0, 30.0):
            nearest = case.constraint.project(size * g).numpy().ravel()
            assert nearest == pytest.approx(hull_point(case.vertices, size * g.numpy().ravel()), abs=1e-7)


def hull_point(vertices: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The nearest convex combination: non-negative least squares, scaled to a sum of 1.

    From the nearest point of the flat that the vertices span: a distance to the flat would drown those within it.
    """
    middle = vertices.mean(0)
    spread = vertices - middle
    if np.linalg.matrix_rank(spread) < len(x):
        x = middle + np.linalg.pinv(spread) @ (spread @ (x - middle))
    system = np.vstack([(vertices - x).T, np.ones(len(vertices))])  # seen from x any weight of the sum is exact
    combination, _ = optimize.nnls(system, np.append(np.zeros(len(x)), 1.0))
    return vertices.T @ (combination / combination.sum())


@pytest.mark.parametrize("case", POLYTOPES.values(), ids=POLYTOPES)
def test_polytope_membership(case):
    rng = np.random.default_rng(0)
    for _ in range(200):
        x = 2 * case.vertices[rng.integers(len(case.vertices))] * rng.standard_normal(case.vertices.shape[1])
        x = case.constraint.project(tensor(x, case.shape)).numpy().ravel() + 0.1 * rng.standard_normal(len(x))
        excess = np.maximum(0, case.upper @ x - case.bounds).max()
        if case.equal is not None:
            excess = max(excess, np.abs(case.equal @ x - case.values).max())
        assert case.constraint.violation(tensor(x, case.shape)) == pytest.approx(excess, abs=1e-12)


Array = np.ndarray


@dataclass(frozen=True)
class Convex:
    """A set with curved sides: its support function, and how to find the nearest point with scipy."""

    constraint: ConstraintSet
    support: Callable[[Array], float]
    nearest: Callable[[Array], Array]
    shape: tuple[int, ...] = (2, 3)


def minimize(inequality: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The nearest point with inequality(x) >= 0."""

    def nearest(x: Array) -> Array:
        solution = optimize.minimize(
            lambda y: 0.5 * ((y - x.ravel()) ** 2).sum(),
            0.01 * x.ravel(),
            jac=lambda y: y - x.ravel(),
            constraints={"type": "ineq", "fun": lambda y: np.atleast_1d(inequality(y.reshape(x.shape)))},
            options={"ftol": 1e-15, "maxiter": 200},
        )
        return solution.x.reshape(x.shape)

    return nearest


def factored(x: Array) -> Array:
    """argmin_z 1/2 ||z - x||^2 + R ||z||_*, with ||A B^T||_* <= (||A||^2 + ||B||^2)/2, equal for the best factors."""
    m, n = x.shape
    k = min(m, n)

    def split(theta: Array) -> tuple[Array, Array]:
        return theta[: m * k].reshape(m, k), theta[m * k :].reshape(n, k)

    def loss(theta: Array) -> tuple[float, Array]:
        a, b = split(theta)
        residual = a @ b.T - x
        slope = np.concatenate([(residual @ b + R * a).ravel(), (residual.T @ a + R * b).ravel()])
        return 0.5 * float((residual**2).sum()) + R / 2 * float((theta**2).sum()), slope

    start = np.random.default_rng(1).standard_normal((m + n) * k)
    a, b = split(optimize.minimize(loss, start, jac=True, options={"gtol": 1e-11, "maxiter": 5000}).x)
    return a @ b.T


def nuclear_nearest(x: Array) -> Array:
    """Over factors A B^T with (||A||^2 + ||B||^2)/2 <= R."""
    m, n = x.shape
    k = min(m, n)
    solution = optimize.minimize(
        lambda t: 0.5 * ((t[: m * k].reshape(m, k) @ t[m * k :].reshape(n, k).T - x) ** 2).sum(),
        0.3 * np.random.default_rng(1).standard_normal((m + n) * k),
        constraints={"type": "ineq", "fun": lambda t: R - (t**2).sum() / 2},
        options={"ftol": 1e-15, "maxiter": 2000},
    )
    return solution.x[: m * k].reshape(m, k) @ solution.x[m * k :].reshape(n, k).T


def spectraplex_nearest(x: Array) -> Array:
    """Over R B B^T/||B||^2."""

    def point(theta: Array) -> Array:
        b = theta.reshape(x.shape)
        return R * b @ b.T / (b**2).sum()

    start = np.eye(len(x)).ravel() + 0.1 * np.random.default_rng(1).standard_normal(x.size)
    loss = lambda theta: 0.5 * ((point(theta) - x) ** 2).sum()  # noqa: E731
    return point(optimize.minimize(loss, start, options={"gtol": 1e-9}).x)


def lp_case(p: float) -> Convex:
    q = p / (p - 1)
    return Convex(
        Lp(R, p),
        lambda g: R * (np.abs(g) ** q).sum() ** (1 / q),
        minimize(lambda x: R**p - ((x**2 + 1e-14) ** (p / 2)).sum()),
    )


def group_norms(x: Array) -> Array:
    return np.sqrt((x.ravel()[[[0, 5], [2, 4], [1, 3]]] ** 2).sum(1) + 1e-16)


AXES, CENTER = np.array([[1.0, 2, 3], [0.2, 0.5, 2]]), np.array([[0.5, -1, 0], [0, 0.3, 1]])
CURVED = {
    "L2": Convex(L2(R), lambda g: R * np.linalg.norm(g), minimize(lambda x: R**2 - (x**2).sum())),
    "Lp, p=1.3": lp_case(1.3),
    "Lp, p=3": lp_case(3.0),
    "Lp, p=6": lp_case(6.0),
    "ellipsoid": Convex(
        Ellipsoid(AXES.tolist(), CENTER.tolist()),
        lambda g: (CENTER * g).sum() + np.linalg.norm(AXES * g),
        minimize(lambda x: 1 - (((x - CENTER) / AXES) ** 2).sum()),
    ),
    "groups": Convex(
        GroupL1(R, [[0, 5], [2, 4], [1, 3]]),
        lambda g: R * group_norms(g).max(),
        minimize(lambda x: R - group_norms(x).sum()),
    ),
    "rows": Convex(
        RowNormBall(R), lambda g: R * np.linalg.norm(g, axis=1).sum(), minimize(lambda x: R**2 - (x**2).sum(1))
    ),
    "columns": Convex(
        ColumnNormBall(R), lambda g: R * np.linalg.norm(g, axis=0).sum(), minimize(lambda x: R**2 - (x**2).sum(0))
    ),
    "nuclear": Convex(NuclearBall(R), lambda g: R * np.linalg.norm(g, 2), nuclear_nearest),
    "spectral": Convex(SpectralBall(R), lambda g: R * np.linalg.norm(g, "nuc"), lambda x: x - factored(x)),
    "spectraplex": Convex(
        Spectraplex(R), lambda g: R * np.linalg.eigvalsh(g + g.T)[-1] / 2, spectraplex_nearest, (2, 2)
    ),
}


@pytest.mark.parametrize("case", CURVED.values(), ids=CURVED)
def test_curved_set(case):
    assert not case.constraint.polytope
    for values in GRADIENTS[:6]:
        g = tensor(values, case.shape)
        assert float(case.constraint.support(g)) == pytest.approx(case.support(g.numpy()), rel=1e-7)
        for size in (0.5, 3.0):
            nearest = case.constraint.project(size * g)
            assert nearest.numpy() == pytest.approx(case.nearest(size * g.numpy()), abs=3e-5)
