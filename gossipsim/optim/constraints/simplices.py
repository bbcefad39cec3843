"""Simplices and the hypersimplex: entries >= 0 with a fixed or bounded sum; and the K-sparse polytope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossipsim.optim.constraints.base import Radius, Scaled, VectorSet, as_vectors, excess
from gossipsim.optim.constraints.projection import clip_to_sum, one_by_one, project_rows_with, project_with


def check_count(k: float) -> None:
    """Raises ValueError unless `k` is an integer >= 1 or a fraction in (0, 1)."""
    whole = isinstance(k, int) and not isinstance(k, bool) and k >= 1
    if not whole and not (isinstance(k, float) and 0 < k < 1):
        raise ValueError(f"k must be an integer >= 1, or a fraction of the entries in (0, 1), got {k!r}")


def count_of(k: float, numel: int) -> int:
    """`k` as a number of entries: fractions are of `numel`, rounded, at least 1."""
    return k if isinstance(k, int) else max(1, round(k * numel))


@dataclass(frozen=True)
class ProbabilitySimplex(VectorSet, Scaled):
    """x >= 0, sum x = radius. The oracle's answer is radius at the first smallest g_k.

    >>> ProbabilitySimplex().project(torch.tensor([1.0, 0.5, -3.0]))
    tensor([0.7500, 0.2500, 0.0000])
    """

    radius: Radius = 1.0

    polytope: ClassVar[bool] = True

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        k = g.argmin(-1, keepdim=True)
        return torch.zeros_like(g).scatter_(-1, k, self.r + 0 * g.gather(-1, k))

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.amax()

    def project(self, x: Tensor) -> Tensor:
        return project_with(self._nearest, x, self.violation(x) / self.r)

    def project_rows(self, X: Tensor) -> Tensor:
        vectors = as_vectors(X.detach().double())
        violations = torch.maximum((-vectors).amax(1), (vectors.sum(1) - self.r).abs())
        return project_rows_with(one_by_one(self._nearest), X, violations / self.r)

    def _nearest(self, x: Tensor) -> Tensor:
        return clip_to_sum(x.reshape(-1), self.r, self.r).view(x.shape)

    def violation(self, x: Tensor) -> float:
        precise = x.detach().double()
        return excess(-precise, (precise.sum() - self.r).abs())

    def diameter(self, shape: Sequence[int]) -> float:
        return math.sqrt(2) * self.r if math.prod(shape) > 1 else 0.0


@dataclass(frozen=True)
class UnitSimplex(VectorSet, Scaled):
    """x >= 0, sum x <= radius. The oracle's answer is radius at the first smallest g_k; 0 where no g_k is below 0."""

    radius: Radius = 1.0

    polytope: ClassVar[bool] = True

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        k = g.argmin(-1, keepdim=True)
        smallest = g.gather(-1, k)
        return torch.zeros_like(g).scatter_(-1, k, self.r * (smallest < 0).to(g.dtype) + 0 * smallest)

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.amax().clamp(min=0)

    def project(self, x: Tensor) -> Tensor:
        return project_with(self._nearest, x, self.violation(x) / self.r)

    def project_rows(self, X: Tensor) -> Tensor:
        vectors = as_vectors(X.detach().double())
        violations = torch.maximum((-vectors).amax(1), vectors.sum(1) - self.r)
        return project_rows_with(one_by_one(self._nearest), X, violations / self.r)

    def _nearest(self, x: Tensor) -> Tensor:
        positive = x.clamp(min=0)
        if float(positive.sum()) <= self.r:
            return positive
        return clip_to_sum(x.reshape(-1), self.r, self.r).view(x.shape)

    def violation(self, x: Tensor) -> float:
        precise = x.detach().double()
        return excess(-precise, precise.sum() - self.r)

    def diameter(self, shape: Sequence[int]) -> float:
        return math.sqrt(2) * self.r if math.prod(shape) > 1 else self.r


@dataclass(frozen=True, init=False)
class Hypersimplex(VectorSet, Scaled):
    """0 <= x <= radius, sum x = k radius. The oracle's answer is radius at the k smallest entries of g.

    Args:
        k: an integer >= 1, or a fraction in (0, 1) of the number of entries.
        radius: as everywhere.

    Raises:
        ValueError: for another k; by `diameter` and all else for k above the number of entries.
    """

    k: float

    polytope: ClassVar[bool] = True

    def __init__(self, k: float, radius: Radius = 1.0) -> None:
        check_count(k)
        object.__setattr__(self, "k", k)
        object.__setattr__(self, "radius", radius)
        self.__post_init__()

    def _count(self, shape: Sequence[int]) -> int:
        k = count_of(self.k, math.prod(shape))
        if k > math.prod(shape):
            raise ValueError(f"k = {k} is above the number of entries of a parameter of the shape {tuple(shape)}")
        return k

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        smallest = g.topk(self._count(shape), largest=False).indices
        return torch.zeros_like(g).scatter_(-1, smallest, self.r).add_(g, alpha=0)

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.reshape(-1).topk(self._count(g.shape)).values.sum()

    def project(self, x: Tensor) -> Tensor:
        entries, total = self._excesses(x)
        return project_with(self._nearest, x, excess(entries / self.r, total / (self.r * self._count(x.shape))))

    def _nearest(self, x: Tensor) -> Tensor:
        return clip_to_sum(x.reshape(-1), self.r, self.r * self._count(x.shape)).view(x.shape)

    def _excesses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        precise = x.detach().double()
        return torch.maximum(-precise, precise - self.r), (precise.sum() - self.r * self._count(x.shape)).abs()

    def violation(self, x: Tensor) -> float:
        return excess(*self._excesses(x))

    def diameter(self, shape: Sequence[int]) -> float:
        k = self._count(shape)
        return self.r * math.sqrt(2 * min(k, math.prod(shape) - k))


@dataclass(frozen=True)
class KSparsePolytope(VectorSet, Scaled):
    """sum |x_i| <= radius k, |x_i| <= radius: the convex hull of vectors with k entries of +-radius.

    The oracle's answer is -radius sign(g) at k largest |g_i|. For k >= the number of entries it is the ball Linf.

    Args:
        radius: as everywhere.
        k: an integer >= 1, or a fraction in (0, 1) of the number of entries (rounded, at least 1).

    Raises:
        ValueError: for another k.

    >>> KSparsePolytope(1.0, k=2).lmo(torch.tensor([3.0, -5.0, 1.0]))
    tensor([-1.,  1.,  0.])
    """

    k: float

    polytope: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.k)

    def _count(self, shape: Sequence[int]) -> int:
        return min(count_of(self.k, math.prod(shape)), math.prod(shape))

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        largest = g.abs().topk(self._count(shape)).indices
        chosen = g.gather(-1, largest)
        return torch.zeros_like(g).scatter_(-1, largest, -self.r * chosen.sign() + 0 * chosen)

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.abs().reshape(-1).topk(self._count(g.shape)).values.sum()

    def project(self, x: Tensor) -> Tensor:
        total, entries = self._excesses(x)
        return project_with(self._nearest, x, excess(total / (self.r * self._count(x.shape)), entries / self.r))

    def _nearest(self, x: Tensor) -> Tensor:
        total = self.r * self._count(x.shape)
        clipped = x.clamp(-self.r, self.r)
        if float(clipped.abs().sum()) <= total:
            return clipped
        return torch.copysign(clip_to_sum(x.abs().reshape(-1), self.r, total).view(x.shape), x)

    def _excesses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        magnitude = x.detach().double().abs()
        return magnitude.sum() - self.r * self._count(x.shape), magnitude - self.r

    def violation(self, x: Tensor) -> float:
        return excess(*self._excesses(x))

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r * math.sqrt(self._count(shape))
