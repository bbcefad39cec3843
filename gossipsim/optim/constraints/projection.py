"""What projections share: keeping feasible points to the bit, one kernel for sums of clipped entries, one root finder.

    clip_to_sum(x, high, total) = argmin_y ||y - x||_2   subject to   0 <= y <= high,  sum y = total
                                = clip(x - theta, 0, high)                            for one number theta

With high = total it is the projection onto the simplex (Held, Wolfe, Crowder, Mathematical Programming 6, 1974;
Duchi et al., ICML 2008), which that onto the L1 ball is built on; with high < total that onto the hypersimplex and
onto the K-sparse polytope.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy import optimize
from torch import Tensor

ROUNDINGS = 4
"""A point whose relative violation is below that many units of rounding counts as feasible."""


def project_with(nearest: Callable[[Tensor], Tensor], x: Tensor, violation: float) -> Tensor:
    """`x` itself where it is feasible up to rounding, else the nearest point, computed in float64.

    Args:
        nearest: the projection of a point in float64 that is not feasible.
        x: any point.
        violation: that of `x`, relative to the size of the numbers in the inequality.

    Returns:
        A new tensor like `x`, without a graph; all NaN where `x` has an entry that is not finite.
    """
    if violation <= ROUNDINGS * torch.finfo(x.dtype).eps:
        return x.detach().clone()
    if not x.isfinite().all():
        return torch.full_like(x, math.nan)
    return nearest(x.detach().double()).to(x.dtype)


def project_rows_with(nearest: Callable[[Tensor], Tensor], X: Tensor, violations: Tensor) -> Tensor:
    """:func:`project_with` for every row of X (rows, *shape).

    Args:
        nearest: the projections of rows in float64 that are not feasible, (some, *shape).
        violations: (rows,), in float64, as there; below 0 inside.
    """
    projected = X.detach().clone()
    outside = (~(violations <= ROUNDINGS * torch.finfo(X.dtype).eps)).nonzero().squeeze(1)
    if len(outside):
        points = projected[outside].double()
        finite = points.reshape(len(points), -1).isfinite().all(1)
        projected[outside[~finite]] = math.nan
        if finite.any():
            projected[outside[finite]] = nearest(points[finite]).to(X.dtype)
    return projected


def one_by_one(nearest: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function of rows (some, *shape) that maps each by itself."""
    return lambda points: torch.stack([nearest(point) for point in points])


def clip_to_sum(x: Tensor, high: float, total: float) -> Tensor:
    """The nearest y with 0 <= y <= high and sum y = total, exactly, by sorting the breakpoints of theta.

    Args:
        x: (n,), float64, finite.
        high: above 0.
        total: in (0, n high].
    """
    n, high = len(x), min(high, total)
    full = min(max(math.ceil(total / high), 1), n)  # that many entries at `high` reach the total
    # theta lies within `high` below the full-th largest entry: seen from there, huge entries cannot swallow it
    offset = (x - x.topk(full).values[-1]).clamp(-high, high)
    undecided = offset[(offset > -high) & (offset < high)]
    at_top = int((offset == high).sum())
    theta = _threshold(undecided, high, total - high * at_top)
    return (offset - theta).clamp(0, high)


def _threshold(z: Tensor, high: float, total: float) -> Tensor:
    """theta in [-high, 0] with sum clip(z - theta, 0, high) = total, for -high < z < high."""
    ends = torch.tensor([-high, 0.0], dtype=z.dtype, device=z.device)
    points = torch.cat([z, z - high, ends]).clamp(-high, 0).sort().values
    ordered = z.sort().values
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    below, at_top = torch.searchsorted(ordered, points), torch.searchsorted(ordered, points + high)
    reached = sums[at_top] - sums[below] - points * (at_top - below) + high * (len(z) - at_top)
    right = (reached > total).sum().clamp(1, len(points) - 1)  # the sum falls from left to right
    middle = (points[right - 1] + points[right]) / 2
    free = z[(z > middle) & (z < middle + high)]
    if not len(free):
        return middle  # the sum is constant here
    above = int((z >= middle + high).sum())
    theta: Tensor = (free.sum() - (total - high * above)) / len(free)
    return theta.clamp(points[right - 1], points[right])


def multiplier(residual: Callable[[float], float], low: float, high: float) -> float:
    """The zero between `low` and `high` of a function with different signs there, to some roundings (Brent).

    Where rounding makes the signs at both ends the same: the end with the smaller residual.
    """
    at_low, at_high = residual(low), residual(high)
    if at_low * at_high >= 0:
        return low if abs(at_low) <= abs(at_high) else high
    return float(optimize.brentq(residual, low, high, xtol=1e-300, rtol=1e-15, maxiter=500))
