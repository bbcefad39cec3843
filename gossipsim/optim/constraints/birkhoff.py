"""The Birkhoff polytope: doubly stochastic matrices, the convex hull of the permutation matrices.

The projection of A is max(A + u 1^T + 1 v^T, 0), where (u, v) minimises the smooth convex piecewise quadratic
1/2 ||max(A + u 1^T + 1 v^T, 0)||^2 - sum u - sum v: each u or v alone is a simplex projection, and on the last piece
one Newton step is exact. Li, Sun, Toh, On Efficient Solutions of General Structured Markov/Doubly Stochastic
Projection Problems, Mathematical Programming 179, 2020 (semismooth Newton).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from gossipsim.optim.constraints.base import ConstraintSet, as_matrix, excess
from gossipsim.optim.constraints.projection import project_with
from gossipsim.optim.constraints.spectral import square_side

Array = NDArray[Any]

_FAR = 1e8
"""Entries that spread more than that are shrunk to it: the nearest point no longer moves, but between near ties."""


@dataclass(frozen=True)
class Birkhoff(ConstraintSet):
    """x >= 0 with rows and columns that sum to 1. The oracle's answer is the permutation matrix of least cost.

    Both oracles are for moderate sizes: assignments take O(n^3), a projection some systems of 2 n equations.

    Raises:
        ValueError: by `diameter` and all else for a parameter that is not a square matrix.

    >>> Birkhoff().lmo(torch.tensor([[5.0, 1.0], [1.0, 2.0]]))
    tensor([[0., 1.],
            [1., 0.]])
    """

    polytope: ClassVar[bool] = True

    def lmo(self, g: Tensor) -> Tensor:
        square_side("Birkhoff", g.shape)
        if not g.isfinite().all():
            return torch.full_like(g, math.nan)
        vertex = torch.zeros_like(as_matrix(g))
        vertex[_assignment(as_matrix(g))] = 1
        return vertex.view(g.shape)

    def support(self, g: Tensor) -> Tensor:
        square_side("Birkhoff", g.shape)
        if not g.isfinite().all():
            return g.new_tensor(math.nan)
        return as_matrix(g)[_assignment(-as_matrix(g))].sum()

    def project(self, x: Tensor) -> Tensor:
        """By semismooth Newton on the dual; rows and columns sum to 1 up to 1e-14, or to rounding of far entries."""
        return project_with(self._nearest, x, self.violation(x))

    def _nearest(self, x: Tensor) -> Tensor:
        return torch.from_numpy(_doubly_stochastic(as_matrix(x).cpu().numpy())).to(x.device).view(x.shape)

    def violation(self, x: Tensor) -> float:
        square_side("Birkhoff", x.shape)
        precise = as_matrix(x.detach().double())
        return excess(-precise, (precise.sum(0) - 1).abs(), (precise.sum(1) - 1).abs())

    def diameter(self, shape: Sequence[int]) -> float:
        side = square_side("Birkhoff", shape)
        return math.sqrt(2 * side) if side > 1 else 0.0


def _assignment(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the permutation of least cost."""
    rows, columns = optimize.linear_sum_assignment(cost.detach().double().cpu().numpy())
    return torch.from_numpy(rows), torch.from_numpy(columns)


def _doubly_stochastic(a: Array) -> Array:
    """The nearest doubly stochastic matrix to (n, n)."""
    a = a - a.mean(1, keepdims=True)  # constants of rows and columns do not matter
    a = a - a.mean(0, keepdims=True)
    spread = max(float(np.ptp(a)), 1.0)
    a = a * min(1.0, _FAR / spread)
    stages = math.ceil(math.log10(min(spread, _FAR)))
    u, v = np.zeros(len(a)), np.zeros(len(a))
    for stage in range(stages, -1, -1):  # far entries: solutions for 10 times nearer ones show the way
        scale = 10.0**stage
        nearest, u, v = _solve(a / scale, u, v, 1e-15 * len(a) if stage == 0 else 1e-3)
        u, v = u * 10, v * 10
    for _ in range(5):  # what rounding of far entries left
        positive = nearest > 0
        du, dv = _newton_step(positive, 1 - nearest.sum(1), 1 - nearest.sum(0))
        nearest = np.maximum(nearest + positive * (du[:, None] + dv), 0.0)
    return nearest


def _solve(a: Array, u: Array, v: Array, tolerance: float) -> tuple[Array, Array, Array]:
    """max(a + u 1^T + 1 v^T, 0) with sums of 1 up to the tolerance or to rounding, u and v, from a start."""
    rounding = 1e-16 * (len(a) + float(np.ptp(a)))
    for _ in range(100):
        v = _shifts(a.T + u)
        u = _shifts(a + v)
        nearest = np.maximum(a + u[:, None] + v, 0.0)
        missing = 1 - nearest.sum(0)
        if np.abs(missing).max() <= max(tolerance, rounding):
            break
        u, v = _line_search(a, (u, v), _newton_step(nearest > 0, np.zeros(len(a)), missing))
    return nearest, u, v


def _shifts(a: Array) -> Array:
    """For every row the number s with sum max(row + s, 0) = 1."""
    ordered = -np.sort(-a, axis=1)
    shifts = (1 - np.cumsum(ordered, axis=1)) / np.arange(1, len(a) + 1)
    last = (ordered + shifts > 0).sum(1) - 1
    return np.asarray(np.take_along_axis(shifts, last[:, None], 1)[:, 0])


def _newton_step(positive: Array, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Solves for the shifts that give rows and columns so much more, if no entry changes its sign."""
    n, mask, missing = len(positive), positive.astype(float), np.concatenate([rows, columns])
    system = np.block([[np.diag(mask.sum(1)), mask], [mask.T, np.diag(mask.sum(0))]])
    # each component of the mask leaves one shift undecided, and may have no solution: damped, less and less
    system[np.diag_indices(2 * n)] += max(1e-12, 0.1 * float(np.abs(missing).max()))
    step = np.linalg.solve(system, missing)
    return step[:n], step[n:]


def _line_search(a: Array, at: tuple[Array, Array], step: tuple[Array, Array]) -> tuple[Array, Array]:
    """The first of the step's halves that lowers the dual function; no step where rounding hides the difference."""

    def value(u: Array, v: Array) -> float:
        return float(0.5 * (np.maximum(a + u[:, None] + v, 0) ** 2).sum() - u.sum() - v.sum())

    before = value(*at)
    for length in 0.5 ** np.arange(30):
        candidate = at[0] + length * step[0], at[1] + length * step[1]
        if value(*candidate) < before:
            return candidate
    return at
