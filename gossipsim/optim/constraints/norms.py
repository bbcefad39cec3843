"""Balls of the l_p norms: L1, L2, Linf, and Lp for any p >= 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossipsim.optim.constraints.base import NormBall, as_vectors, nonzero, per_row, stable_norm
from gossipsim.optim.constraints.projection import (
    clip_to_sum,
    multiplier,
    one_by_one,
    project_rows_with,
    project_with,
)

_BLOCK = 256


def first_largest(magnitude: Tensor) -> int:
    """The index of the first largest entry of a vector, or of a NaN.

    By blocks: on a CPU torch's argmax takes 4 times as long as all the rest of an oracle (290 us for 200,000
    entries, 53 us by blocks).
    """
    whole = len(magnitude) // _BLOCK * _BLOCK
    if whole <= _BLOCK:
        return int(magnitude.argmax())
    blocks = magnitude[:whole].view(-1, _BLOCK)
    block = int(blocks.amax(1).argmax())
    k = block * _BLOCK + int(blocks[block].argmax())
    if whole < len(magnitude):
        last = whole + int(magnitude[whole:].argmax())
        candidates = magnitude[[k, last]]
        k = (k, last)[int(candidates.argmax())]
    return k


def first_largest_of_each(magnitude: Tensor) -> Tensor:
    """:func:`first_largest` of vectors (..., n): (..., 1)."""
    n = magnitude.shape[-1]
    if n < 2 * _BLOCK or not magnitude.is_cpu:
        return magnitude.argmax(-1, keepdim=True)
    return torch.tensor([first_largest(each) for each in magnitude.view(-1, n)]).view(*magnitude.shape[:-1], 1)


def _ordinary(norm: float) -> bool:
    """Whether quotients by it are far from overflow."""
    return 1e-30 < norm < 1e30


@dataclass(frozen=True)
class L1(NormBall):
    """Sum of magnitudes <= radius. The oracle's answer has one entry: -radius sign(g_k) at the first largest |g_k|."""

    polytope: ClassVar[bool] = True

    def norm(self, x: Tensor) -> Tensor:
        return x.abs().sum()

    def lmo(self, g: Tensor) -> Tensor:
        flat = g.reshape(-1)
        k = first_largest(flat.abs())
        vertex = torch.zeros_like(flat)
        vertex[k] = self._entry(float(flat[k]))
        return vertex.view(g.shape)

    def lmo_rows(self, G: Tensor) -> Tensor:
        flat = as_vectors(G)
        k = first_largest_of_each(flat.abs())
        entries = [self._entry(largest) for largest in flat.gather(1, k).squeeze(1).tolist()]
        return torch.zeros_like(flat).scatter_(1, k, per_row(entries, flat)).view_as(G)

    def _entry(self, largest: float) -> float:
        return 0 * largest - math.copysign(self.r, largest)  # NaN for a NaN

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.abs().amax()

    def project(self, x: Tensor) -> Tensor:
        """By sorting (Duchi et al., ICML 2008, figure 1), in float64."""
        return project_with(self._nearest, x, self.violation(x) / self.r)

    def project_rows(self, X: Tensor) -> Tensor:
        norms = as_vectors(X.detach().double()).abs().sum(1)
        return project_rows_with(one_by_one(self._nearest), X, (norms - self.r) / self.r)

    def _nearest(self, x: Tensor) -> Tensor:
        return torch.copysign(clip_to_sum(x.abs().reshape(-1), self.r, self.r).view(x.shape), x)

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r


@dataclass(frozen=True)
class L2(NormBall):
    """Euclidean (Frobenius) norm <= radius. The oracle's answer is -radius g/||g||; 0 for g = 0."""

    def norm(self, x: Tensor) -> Tensor:
        return stable_norm(x)

    def lmo(self, g: Tensor) -> Tensor:
        norm = float(stable_norm(g))
        if _ordinary(norm):
            return g * (-self.r / norm)
        return (g / (norm or 1.0)).mul_(-self.r)  # the quotient of the numbers could overflow or vanish

    def lmo_rows(self, G: Tensor) -> Tensor:
        norms = stable_norm(as_vectors(G), -1).tolist()
        if all(map(_ordinary, norms)):
            return G * per_row([-self.r / norm for norm in norms], G)
        return super().lmo_rows(G)

    def support(self, g: Tensor) -> Tensor:
        return self.r * stable_norm(g)

    def project(self, x: Tensor) -> Tensor:
        return project_with(lambda y: (y / stable_norm(y)).mul_(self.r), x, self.violation(x) / self.r)

    def project_rows(self, X: Tensor) -> Tensor:
        def nearest(points: Tensor) -> Tensor:
            norms = stable_norm(as_vectors(points), -1)
            return (points / norms.view(-1, *[1] * (X.ndim - 1))).mul_(self.r)

        norms = stable_norm(as_vectors(X.detach().double()), -1)
        return project_rows_with(nearest, X, (norms - self.r) / self.r)

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r


@dataclass(frozen=True)
class Linf(NormBall):
    """Largest magnitude <= radius: a box. The oracle's answer is -radius sign(g), 0 where g is 0."""

    polytope: ClassVar[bool] = True

    def norm(self, x: Tensor) -> Tensor:
        return x.abs().amax()

    def lmo(self, g: Tensor) -> Tensor:
        return g.sign().mul_(-self.r).add_(g, alpha=0)  # sign(NaN) is 0, and NaN again with the 0 g

    def lmo_rows(self, G: Tensor) -> Tensor:
        return self.lmo(G)

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.abs().sum()

    def project(self, x: Tensor) -> Tensor:
        return x.detach().clamp(-self.r, self.r)

    def project_rows(self, X: Tensor) -> Tensor:
        return self.project(X)

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r * math.sqrt(math.prod(shape))


@dataclass(frozen=True)
class Lp(NormBall):
    """(sum |x_i|^p)^(1/p) <= radius.

    The oracle's answer is -radius sign(g) |g|^(q-1) / || |g|^(q-1) ||_p with 1/p + 1/q = 1; 0 for g = 0. For
    p = 1, 2 and infinity all answers are those of :class:`L1`, :class:`L2` and :class:`Linf`. The projection
    solves y_i + lambda y_i^(p-1) = |x_i| by Newton's method from above, which is monotone, inside a bracketed
    search for the multiplier lambda: to about 1e-13 of the radius.

    Args:
        radius: as everywhere.
        p: a number >= 1, or "inf".

    Raises:
        ValueError: for a p that is none.

    >>> Lp(2.0, p=4).lmo(torch.tensor([1.0, -8.0, 0.0]))
    tensor([-0.9850,  1.9699, -0.0000])
    """

    p: float | str

    def __post_init__(self) -> None:
        super().__post_init__()
        p = math.inf if self.p == "inf" else self.p
        if isinstance(p, bool) or not isinstance(p, int | float) or not p >= 1:
            raise ValueError(f'p must be a number >= 1, or "inf", got {self.p!r}')
        object.__setattr__(self, "p", float(p))

    @property
    def _special(self) -> NormBall | None:
        kinds: dict[float | str, type[NormBall]] = {1.0: L1, 2.0: L2, math.inf: Linf}
        return kinds[self.p](self.radius) if self.p in kinds else None

    def norm(self, x: Tensor) -> Tensor:
        return _power_norm(x, float(self.p))

    def lmo(self, g: Tensor) -> Tensor:
        if self._special is not None:
            return self._special.lmo(g)
        magnitude = g.double().abs()
        power = (magnitude / nonzero(magnitude.amax())) ** (1 / (float(self.p) - 1))  # the exponent is q - 1
        direction = power / nonzero(_power_norm(power, float(self.p)))
        return (torch.copysign(direction, g) * -self.r).to(g.dtype)

    def support(self, g: Tensor) -> Tensor:
        p = float(self.p)
        return self.r * _power_norm(g, math.inf if p == 1 else 1.0 if p == math.inf else p / (p - 1))

    def project(self, x: Tensor) -> Tensor:
        if self._special is not None:
            return self._special.project(x)
        return project_with(self._nearest, x, self.violation(x) / self.r)

    def _nearest(self, x: Tensor) -> Tensor:
        p = float(self.p)
        a = x.abs() / self.r
        norm, dual = float(_power_norm(a, p)), float(_power_norm(a, p / (p - 1)))
        low = (norm - 1) / max(1.0, x.numel() ** (2 / p - 1))  # lambda = ||a - y||_q >= ||a - y||_p / that

        def residual(log_multiplier: float) -> float:
            return math.log(float(_power_norm(_shrunk(a, math.exp(log_multiplier), p), p)))

        y = _shrunk(a, math.exp(multiplier(residual, math.log(low) - 1e-3, math.log(dual) + 1e-3)), p)
        return torch.copysign(y * (self.r / _power_norm(y, p)), x)

    def diameter(self, shape: Sequence[int]) -> float:
        return float(2 * self.r * max(1.0, math.prod(shape) ** (0.5 - 1 / float(self.p))))


def _power_norm(x: Tensor, p: float) -> Tensor:
    """The l_p norm, also where powers would overflow or vanish."""
    if p == 2:
        return stable_norm(x)
    magnitude = x.abs()
    if p == math.inf:
        return magnitude.amax()
    if p == 1:
        return magnitude.sum()
    scale = nonzero(magnitude.amax())
    return (magnitude / scale).double().pow(p).sum().pow(1 / p).to(x.dtype) * scale


def _shrunk(a: Tensor, strength: float, p: float) -> Tensor:
    """y >= 0 with y + strength y^(p-1) = a, elementwise.

    As b u^e + c u = a with e >= 1, convex in u: u is y, or y^(p-1) where p < 2. Newton's method falls from the
    smaller of the two one-term solutions, which is at most twice the solution.
    """
    b, c, e = (strength, 1.0, p - 1) if p >= 2 else (1.0, strength, 1 / (p - 1))
    u = torch.minimum((a / b) ** (1 / e), a / c)
    for _ in range(60):
        power = b * u ** (e - 1)
        step = (power * u + c * u - a) / (e * power + c)
        u = u - step.clamp(min=0)
        if float((step - 1e-16 * u).amax()) <= 0:
            break
    return u if p >= 2 else u**e
