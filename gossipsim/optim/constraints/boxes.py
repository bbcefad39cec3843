"""Boxes, axis-parallel ellipsoids, and the whole space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from gossipsim.optim.constraints.base import ConstraintSet, as_vectors, excess, nonzero, stable_norm
from gossipsim.optim.constraints.entries import Entries, entries_like, freeze_entries
from gossipsim.optim.constraints.projection import multiplier, project_with


@dataclass(frozen=True)
class Box(ConstraintSet):
    """lower <= x <= upper, entry by entry. The oracle's answer is the middle where g is 0.

    Args:
        lower: a number, or nested lists of the parameter's shape.
        upper: likewise; nowhere below `lower`.

    Raises:
        ValueError: for other bounds.

    >>> Box(0.0, [1.0, 2.0, 3.0]).lmo(torch.tensor([5.0, -1.0, 0.0]))
    tensor([0.0000, 2.0000, 1.5000])
    """

    lower: Entries
    upper: Entries

    polytope: ClassVar[bool] = True

    def __post_init__(self) -> None:
        lower, upper = freeze_entries(self, "lower"), freeze_entries(self, "upper")
        if lower.ndim and upper.ndim and lower.shape != upper.shape:
            raise ValueError(f"lower has the shape {tuple(lower.shape)}, upper {tuple(upper.shape)}: they must agree")
        if (lower > upper).any():
            raise ValueError(f"lower must be <= upper everywhere, got lower={self.lower!r}, upper={self.upper!r}")

    def _bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return entries_like(self, "lower", x), entries_like(self, "upper", x)

    def lmo(self, g: Tensor) -> Tensor:
        return self._vertex(g, *self._bounds(g))

    def lmo_rows(self, G: Tensor) -> Tensor:
        return self._vertex(G, *self._bounds(G[0]))

    def _vertex(self, g: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        vertex = torch.where(g > 0, lower, torch.where(g < 0, upper, lower / 2 + upper / 2))
        return vertex.add_(g, alpha=0)  # a NaN is neither above nor below 0, and NaN again with the 0 g

    def support(self, g: Tensor) -> Tensor:
        lower, upper = self._bounds(g)
        return torch.maximum(lower * g, upper * g).sum()

    def project(self, x: Tensor) -> Tensor:
        return x.detach().clamp(*self._bounds(x))

    def project_rows(self, X: Tensor) -> Tensor:
        return X.detach().clamp(*self._bounds(X[0]))

    def violation(self, x: Tensor) -> float:
        precise = x.detach().double()
        lower, upper = self._bounds(precise)
        return excess(lower - precise, precise - upper)

    def diameter(self, shape: Sequence[int]) -> float:
        lower, upper = self._bounds(torch.empty(shape, dtype=torch.float64))
        return float(stable_norm((upper - lower).expand(shape)))


@dataclass(frozen=True)
class Ellipsoid(ConstraintSet):
    """sum ((x_i - center_i)/axes_i)^2 <= 1. The oracle's answer is center - axes^2 g/||axes g||; center for g = 0.

    The projection is center + a^2 z/(a^2 + lambda) with z = x - center; the multiplier lambda solves the secular
    equation 1/||a z/(a^2 + lambda)|| = 1, which is nearly linear, to about 1e-15.

    Args:
        axes: half lengths of the axes, above 0: a number, or nested lists of the parameter's shape.
        center: likewise, of any sign.

    Raises:
        ValueError: for other axes or centers.

    >>> Ellipsoid([1.0, 2.0]).lmo(torch.tensor([0.0, 7.0]))
    tensor([ 0., -2.])
    """

    axes: Entries
    center: Entries = 0.0

    def __post_init__(self) -> None:
        axes, center = freeze_entries(self, "axes"), freeze_entries(self, "center")
        if not (axes > 0).all():
            raise ValueError(f"axes must be above 0, got {self.axes!r}")
        if axes.ndim and center.ndim and axes.shape != center.shape:
            raise ValueError(f"axes have the shape {tuple(axes.shape)}, center {tuple(center.shape)}: they must agree")

    def _fields(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return entries_like(self, "axes", x), entries_like(self, "center", x)

    def lmo(self, g: Tensor) -> Tensor:
        return self.lmo_rows(g[None])[0]

    def lmo_rows(self, G: Tensor) -> Tensor:
        axes, center = self._fields(G[0])
        ball = axes * G
        norms = nonzero(stable_norm(as_vectors(ball), -1)).view(-1, *[1] * (G.ndim - 1))
        return center - axes * (ball / norms)

    def support(self, g: Tensor) -> Tensor:
        axes, center = self._fields(g)
        return (center * g).sum() + stable_norm(axes * g)

    def project(self, x: Tensor) -> Tensor:
        axes, center = self._fields(x.double())
        size = 2 * (1 + float((center / axes).abs().amax()))  # what rounding of x changes the sum by
        return project_with(self._nearest, x, self.violation(x) / size)

    def _nearest(self, x: Tensor) -> Tensor:
        axes, center = self._fields(x)
        z, squares = x - center, axes.square()

        def ball(strength: float) -> Tensor:
            return axes * z / (squares + strength)

        norm = float(stable_norm(axes * z))
        low, high = max(0.0, norm - float(squares.amax())), max(0.0, norm - float(squares.amin()))
        point = ball(multiplier(lambda strength: 1 / float(stable_norm(ball(strength))) - 1, low, high))
        return center + axes * (point / stable_norm(point))

    def violation(self, x: Tensor) -> float:
        precise = x.detach().double()
        axes, center = self._fields(precise)
        return excess(((precise - center) / axes).square().sum() - 1)

    def diameter(self, shape: Sequence[int]) -> float:
        axes, _ = self._fields(torch.empty(shape, dtype=torch.float64))
        return 2 * float(axes.amax())


@dataclass(frozen=True)
class Unconstrained(ConstraintSet):
    """The whole space: every point is feasible, and optimizers over it take plain gradient steps."""

    def lmo(self, g: Tensor) -> NoReturn:
        """Raises ValueError: a linear function has no minimum on the whole space."""
        raise ValueError(
            "Unconstrained: a linear function has no minimum on the whole space: give this parameter a bounded set, or "
            "an optimizer that takes a plain gradient step here"
        )

    def support(self, g: Tensor) -> Tensor:
        """0 for g = 0, infinity else."""
        size = g.abs().amax()
        return torch.where(size > 0, torch.full_like(size, math.inf), size)

    def project(self, x: Tensor) -> Tensor:
        return x.detach().clone()

    def project_rows(self, X: Tensor) -> Tensor:
        return X.detach().clone()

    def violation(self, x: Tensor) -> float:
        """0; NaN where `x` holds one."""
        return excess(0 * x.detach().double())

    def diameter(self, shape: Sequence[int]) -> float:
        return math.inf
