"""Sets of matrices by their singular values or eigenvalues: nuclear and spectral norm balls, the spectraplex.

A parameter is the matrix of `as_matrix`: convolutions are (out, in*k*k), a vector is one column, for which the nuclear
and the spectral norm are the L2 norm. Nuclear: Jaggi, Revisiting Frank-Wolfe, ICML 2013; spectral: Pethick et al.,
Training Deep Learning Models with Norm-Constrained LMOs, ICML 2025, arXiv 2502.07529.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from gossipsim.optim.constraints.base import NormBall, Radius, Scaled, as_matrix, excess, matrix_shape
from gossipsim.optim.constraints.lanczos import top_singular
from gossipsim.optim.constraints.projection import clip_to_sum, project_with
from gossipsim.optim.orthogonalize import Method, orthogonalize

_EPS = torch.finfo(torch.float64).eps


def _singular_values(x: Tensor) -> Tensor:
    """In descending order; all NaN where an entry is not finite, which LAPACK would raise for."""
    if not x.isfinite().all():
        return x.new_full((min(matrix_shape(x.shape)),), math.nan)
    values: Tensor = torch.linalg.svdvals(as_matrix(x))
    return values


def _project_values(
    ball: NormBall, x: Tensor, measure: Callable[[Tensor], Tensor], nearest: Callable[[Tensor], Tensor]
) -> Tensor:
    """The singular values of `x` replaced by the `nearest` ones, unless their `measure` is within the radius."""
    if not x.isfinite().all():
        return torch.full_like(x, math.nan)
    left, values, right = torch.linalg.svd(as_matrix(x.detach().double()), full_matrices=False)
    decomposition = 4 * len(values) * _EPS * ball.r  # what the decomposition itself adds to the norm
    rounding = ball.r * math.sqrt(len(values))  # what rounding the entries adds to it
    violation = excess(measure(values) - ball.r - decomposition) / rounding
    return project_with(lambda _: ((left * nearest(values)) @ right).view(x.shape), x, violation)


@dataclass(frozen=True)
class NuclearBall(NormBall):
    """The sum of the singular values <= radius: the convex hull of radius u v^T with unit vectors.

    The oracle's answer is -radius u v^T with the top singular pair of g: exact where the smaller side is at most 64,
    else by Lanczos (:func:`top_singular`) with <g, v> at least 0.9999 of the best value, in 3 % of the time of an SVD
    at 1024 x 1024. `support` is exact.
    """

    def norm(self, x: Tensor) -> Tensor:
        return _singular_values(x).sum()

    def lmo(self, g: Tensor) -> Tensor:
        left, _, right = top_singular(as_matrix(g))
        return torch.outer(left * -self.r, right).view(g.shape)

    def support(self, g: Tensor) -> Tensor:
        return self.r * _singular_values(g).amax()

    def project(self, x: Tensor) -> Tensor:
        """The singular values are projected onto the L1 ball."""
        return _project_values(self, x, torch.sum, lambda values: clip_to_sum(values, self.r, self.r))

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r


@dataclass(frozen=True)
class SpectralBall(NormBall):
    """The largest singular value <= radius. The oracle's answer is -radius U V^T for g = U S V^T; 0 for g = 0.

    Args:
        radius: as everywhere.
        method: how U V^T is found, see :func:`gossipsim.optim.orthogonalize`. With "svd" and "exact_fast" the answer
            lies in the ball, and its value is the best one up to rounding ("exact_fast": to 1e-3). With the iterations
            "newton_schulz" and "polar_express" it leaves the ball by up to 20 %.

    Raises:
        ValueError: for another method.
    """

    method: Method = "svd"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in get_args(Method):
            allowed = ", ".join(map(repr, get_args(Method)))
            raise ValueError(f"method must be one of {allowed}, got {self.method!r}")

    def norm(self, x: Tensor) -> Tensor:
        return _singular_values(x).amax()

    def lmo(self, g: Tensor) -> Tensor:
        return orthogonalize(as_matrix(g), self.method).mul_(-self.r).view(g.shape)

    def support(self, g: Tensor) -> Tensor:
        return self.r * _singular_values(g).sum()

    def project(self, x: Tensor) -> Tensor:
        """The singular values are clipped."""
        return _project_values(self, x, torch.amax, lambda values: values.clamp(max=self.r))

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r * math.sqrt(min(matrix_shape(shape)))


def square_side(kind: str, shape: Sequence[int]) -> int:
    """n of a parameter that is an (n, n) matrix.

    Raises:
        ValueError: for another shape.
    """
    rows, columns = matrix_shape(shape)
    if rows != columns:
        raise ValueError(
            f"{kind}: a parameter of the shape {tuple(shape)} is a {rows} x {columns} matrix, not a square"
        )
    return rows


@dataclass(frozen=True)
class Spectraplex(Scaled):
    """Symmetric positive semidefinite matrices of trace radius: the convex hull of radius v v^T with unit vectors.

    The oracle's answer is radius v v^T with the eigenvector of the smallest eigenvalue of (g + g^T)/2.

    Raises:
        ValueError: by `diameter` and all else for a parameter that is not a square matrix.
    """

    radius: Radius = 1.0

    def lmo(self, g: Tensor) -> Tensor:
        symmetric = self._symmetric(g)
        if not g.isfinite().all():
            return torch.full_like(g, math.nan)
        vector = torch.linalg.eigh(symmetric).eigenvectors[:, 0]
        return (torch.outer(vector, vector) * self.r).view(g.shape)

    def support(self, g: Tensor) -> Tensor:
        return self.r * self._eigenvalues(g).amax()

    def project(self, x: Tensor) -> Tensor:
        """The eigenvalues of the symmetric part are projected onto the simplex."""
        decomposition = 4 * len(as_matrix(x)) * _EPS  # what the decomposition itself adds to the eigenvalues
        return project_with(self._nearest, x, self.violation(x) / self.r - decomposition)

    def _nearest(self, x: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(self._symmetric(x))
        return self._symmetric((vectors * clip_to_sum(values, self.r, self.r)) @ vectors.T).view(x.shape)

    def violation(self, x: Tensor) -> float:
        precise = x.detach().double()
        matrix, eigenvalues = as_matrix(precise), self._eigenvalues(precise)
        return excess((matrix - matrix.T).abs(), -eigenvalues, (matrix.trace() - self.r).abs())

    def _symmetric(self, x: Tensor) -> Tensor:
        square_side("Spectraplex", x.shape)
        matrix = as_matrix(x)
        return matrix / 2 + matrix.T / 2

    def _eigenvalues(self, x: Tensor) -> Tensor:
        symmetric = self._symmetric(x)
        if not x.isfinite().all():
            return symmetric.new_full((len(symmetric),), math.nan)
        values: Tensor = torch.linalg.eigvalsh(symmetric)
        return values

    def diameter(self, shape: Sequence[int]) -> float:
        return math.sqrt(2) * self.r if square_side("Spectraplex", shape) > 1 else 0.0
