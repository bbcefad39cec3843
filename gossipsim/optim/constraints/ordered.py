"""Sets that sort: ordered weighted L1 balls, the K-norm ball among them, and the permutahedron.

    J_w(x) = sum_i w_i |x|_(i),   |x|_(1) >= |x|_(2) >= ...,   w_1 >= w_2 >= ... >= 0

Both projections are isotonic regressions (pool adjacent violators) of the sorted entries.
Bogdan et al., SLOPE, Annals of Applied Statistics 9, 2015 (the prox of J_w); Negrinho and Martins, Orbit
Regularization, NeurIPS 2014; Blondel et al., Fast Differentiable Sorting and Ranking, ICML 2020 (permutahedron).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from gossipsim.optim.constraints.base import NormBall, VectorSet, excess
from gossipsim.optim.constraints.entries import entries_like, freeze_entries
from gossipsim.optim.constraints.norms import first_largest_of_each
from gossipsim.optim.constraints.projection import project_with
from gossipsim.optim.constraints.simplices import check_count, count_of

Array = NDArray[Any]

_FAR = 1e8
"""Projections from farther away than that many radii are those of the point at that distance: the nearest point no
longer moves, except between entries that differ by less than 1e-8 of the largest."""


@dataclass(frozen=True)
class _OrderedBall(NormBall):
    """What sorted magnitudes share; a set says what its weights are."""

    polytope: ClassVar[bool] = True

    @abstractmethod
    def _weights(self, x: Tensor) -> Tensor:
        """(numel,), non-increasing, of the dtype and device of `x`."""

    def project(self, x: Tensor) -> Tensor:
        """By Newton's method on the piecewise linear equation J_w(prox(x; lambda)) = radius.

        The set is kept to rounding; the distance to the nearest point is about 1e-16 times the largest |x_i|, and
        1e-8 radii at most.
        """
        return project_with(self._nearest, x, self.violation(x) / self.r)

    def _nearest(self, x: Tensor) -> Tensor:
        largest, order = x.abs().reshape(-1).sort(descending=True, stable=True)
        weights = self._weights(x).cpu().numpy()
        shrunk = _ordered_ball(largest.cpu().numpy() / self.r, weights) * self.r
        flat = torch.empty_like(largest).scatter_(0, order, torch.from_numpy(shrunk).to(x.device))
        return torch.copysign(flat.view(x.shape), x)


@dataclass(frozen=True)
class KNormBall(VectorSet, _OrderedBall):
    """The sum of the k largest |x_i| <= radius: the convex hull of the balls L1(radius) and Linf(radius/k).

    The oracle's answer is the better one of theirs. For k >= the number of entries it is the ball L1.

    Args:
        radius: as everywhere.
        k: an integer >= 1, or a fraction in (0, 1) of the number of entries (rounded, at least 1).

    Raises:
        ValueError: for another k.
    """

    k: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.k)

    def _count(self, shape: Sequence[int]) -> int:
        return min(count_of(self.k, math.prod(shape)), math.prod(shape))

    def _weights(self, x: Tensor) -> Tensor:
        weights = torch.zeros_like(x).reshape(-1)
        weights[: self._count(x.shape)] = 1
        return weights

    def norm(self, x: Tensor) -> Tensor:
        return x.abs().reshape(-1).topk(self._count(x.shape)).values.sum()

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        k, magnitude = self._count(shape), g.abs()
        where = first_largest_of_each(magnitude)
        value = torch.copysign(entries_like(self, "radius", g), g.gather(-1, where))
        single = torch.zeros_like(g).scatter_(-1, where, value)
        spread = g.sign() * (self.r / k)
        better = k * magnitude.gather(-1, where) >= magnitude.sum(-1, keepdim=True)
        return -torch.where(better, single, spread).add_(g, alpha=0)

    def support(self, g: Tensor) -> Tensor:
        magnitude = g.abs()
        return self.r * torch.maximum(magnitude.amax(), magnitude.sum() / self._count(g.shape))

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r * max(1.0, math.sqrt(math.prod(shape)) / self._count(shape))


@dataclass(frozen=True)
class OrderedWeightedL1(VectorSet, _OrderedBall):
    """sum_i w_i |x|_(i) <= radius, with |x|_(1) the largest magnitude (OWL, SLOPE; OSCAR for linear weights).

    The vertices have k entries of +-radius/(w_1 + ... + w_k) for some k; the oracle's answer is the best of them.

    Args:
        radius: as everywhere.
        weights: one per entry of the parameter, non-increasing, >= 0, the first above 0.

    Raises:
        ValueError: for other weights; by `diameter` and all else when they are not one per entry.

    >>> OrderedWeightedL1(1.0, [3.0, 1.0]).lmo(torch.tensor([-3.0, 2.0]))
    tensor([ 0.2500, -0.2500])
    """

    weights: Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = freeze_entries(self, "weights")
        ordered = weights.ndim == 1 and bool((weights.diff() <= 0).all())
        if not ordered or weights[-1] < 0 or weights[0] <= 0:
            raise ValueError(
                f"weights must be a list of non-increasing numbers >= 0, the first above 0, got {self.weights!r}"
            )

    def _weights(self, x: Tensor) -> Tensor:
        return entries_like(self, "weights", x.reshape(-1))

    def norm(self, x: Tensor) -> Tensor:
        return self._weights(x) @ x.abs().reshape(-1).sort(descending=True).values

    def _averages(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the k largest |g|, for every k: their sum over that of the weights; 1 over the latter; their indices.

        Of vectors (..., numel): the first and the last have that shape, the second is (numel,).
        """
        largest, order = g.abs().sort(dim=-1, descending=True, stable=True)
        scales = 1 / self._weights(_first(g)).cumsum(0)
        return largest.cumsum(-1) * scales, scales, order

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        averages, scales, order = self._averages(g)
        best = averages.argmax(-1, keepdim=True)
        size = self.r * scales[best] * (torch.arange(g.shape[-1], device=g.device) <= best).to(g.dtype)
        chosen = g.gather(-1, order)
        return torch.empty_like(g).scatter_(-1, order, -size * chosen.sign() + 0 * chosen)

    def support(self, g: Tensor) -> Tensor:
        return self.r * self._averages(g.reshape(-1))[0].amax()

    def diameter(self, shape: Sequence[int]) -> float:
        sums = self._weights(torch.empty(shape, dtype=torch.float64)).cumsum(0)
        return 2 * self.r * float((torch.arange(1, len(sums) + 1).double().sqrt() / sums).amax())


@dataclass(frozen=True)
class Permutahedron(VectorSet):
    """The convex hull of all permutations of the weights: Birkhoff's doubly stochastic matrices times the weights.

    The oracle's answer gives the largest weight to the smallest entry of g, and so on.

    Args:
        weights: one per entry of the parameter, in any order.

    Raises:
        ValueError: for other weights; by `diameter` and all else when they are not one per entry.

    >>> Permutahedron([1.0, 2.0, 3.0]).lmo(torch.tensor([5.0, -1.0, 0.0]))
    tensor([1., 3., 2.])
    """

    weights: Sequence[float]

    polytope: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weights = freeze_entries(self, "weights")
        if weights.ndim != 1:
            raise ValueError(f"weights must be a list of numbers, got {self.weights!r}")

    def _descending(self, x: Tensor) -> Tensor:
        return entries_like(self, "weights", x.reshape(-1)).sort(descending=True).values

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        order = g.sort(dim=-1, stable=True).indices
        weights = self._descending(_first(g)).expand_as(g)
        return torch.empty_like(g).scatter_(-1, order, weights).add_(g, alpha=0)

    def support(self, g: Tensor) -> Tensor:
        return self._descending(g) @ g.reshape(-1).sort(descending=True).values

    def project(self, x: Tensor) -> Tensor:
        """By pooling adjacent violators."""
        size = float(self._descending(x.double()).abs().sum())
        return project_with(self._nearest, x, self.violation(x) / size if size > 0 else self.violation(x))

    def _nearest(self, x: Tensor) -> Tensor:
        largest, order = x.reshape(-1).sort(descending=True, stable=True)
        weights = self._descending(x).cpu().numpy()
        # a gap above the spread of the weights decouples what is on its two sides, however large it is
        gaps = np.minimum(-np.diff(largest.cpu().numpy()), weights[0] - weights[-1])
        ordered = np.append(np.cumsum(gaps[::-1])[::-1], 0.0)
        nearest = ordered - _pooled(ordered - weights).x
        return torch.empty_like(largest).scatter_(0, order, torch.from_numpy(nearest).to(x.device)).view(x.shape)

    def violation(self, x: Tensor) -> float:
        """Of: the k largest entries sum up to at most the k largest weights, all entries to all weights."""
        precise = x.detach().double()
        sums = (precise.reshape(-1).sort(descending=True).values - self._descending(precise)).cumsum(0)
        return excess(sums, sums[-1].abs())

    def diameter(self, shape: Sequence[int]) -> float:
        weights = self._descending(torch.empty(shape, dtype=torch.float64))
        return float((weights - weights.flip(0)).norm())


def _first(vectors: Tensor) -> Tensor:
    """The first of vectors (..., numel)."""
    return vectors[(0,) * (vectors.ndim - 1)]


def _pooled(values: Array) -> Any:
    """The nearest non-increasing vector `x`, and its `blocks` of equal entries."""
    return optimize.isotonic_regression(values, increasing=False)


def _ordered_ball(largest: Array, weights: Array) -> Array:
    """The nearest y with w y <= 1 to non-increasing entries >= 0 with w x > 1, for y non-increasing and >= 0."""
    largest = largest * min(1.0, _FAR / largest[0])
    low, high = 0.0, float((np.cumsum(largest) / np.cumsum(weights)).max())
    strength = 0.0
    for _ in range(200):
        pooled = _pooled(largest - strength * weights)
        nearest = np.maximum(pooled.x, 0.0)
        value = float(weights @ nearest)
        low, high = (strength, high) if value > 1 else (low, strength)
        starts = pooled.blocks[:-1]
        means = np.add.reduceat(weights, starts) / np.diff(pooled.blocks)
        slope = float((np.diff(pooled.blocks) * means**2)[pooled.x[starts] > 0].sum())
        step = (value - 1) / slope if slope > 0 else math.inf
        if abs(value - 1) <= 1e-14 or abs(step) <= 1e-15 * strength or high - low <= 1e-15 * high:
            break
        following = strength + step
        strength = following if low < following < high else (low + high) / 2
    return np.asarray(nearest / max(value, 1.0) if value > 0 else nearest)
