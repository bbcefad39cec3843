"""Both ends of the spectrum of a large symmetric operator, by Lanczos' recurrence.

No vectors are kept and none are orthogonalised again: rounding then finds an eigenvalue several times, which does not
move the ends. A step costs one product and a few passes over a vector, a tenth of a restarted method's.

Source: Lanczos, J. Res. Natl. Bur. Stand. 45, 1950; without reorthogonalisation: Paige, "Accuracy and effectiveness of
the Lanczos algorithm for the symmetric eigenproblem", Linear Algebra Appl. 34, 1980.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh_tridiagonal

Vector = npt.NDArray[np.float64]

_MOST_STEPS = 3000
_FIRST_LOOK = 20
_RESIDUAL = 1e-8  # an eigenvalue is then right to about its square
_BREAKDOWN = 1e-14


@dataclass(frozen=True)
class Eigenvalue:
    """`converged`: to full precision; else it is right to some digits."""

    value: float
    converged: bool


def ends(apply: Callable[[Vector], Vector], n: int, *, centred: bool = True) -> tuple[Eigenvalue, Eigenvalue]:
    """The lowest and the highest eigenvalue, of the size of 1, of x -> apply(x) on the vectors (n,) of zero mean.

    Args:
        centred: False: on all vectors (n,).
    """
    v, before = start(n) + (0.0 if centred else 1.0), np.zeros(n)
    v /= math.sqrt(_product(v, v))
    level = _product(v, apply(v))  # the constant vector is given an eigenvalue between the two
    diagonal: list[float] = []
    beside: list[float] = []
    looks = itertools.accumulate(itertools.repeat(_FIRST_LOOK), lambda steps, _: steps * 4 // 3)
    next_look = next(looks)
    while True:
        w = apply(v)
        if centred:
            w = w + (level * v.mean() - w.mean())
        diagonal.append(_product(v, w))
        w -= diagonal[-1] * v
        if beside:
            w -= beside[-1] * before
        beside.append(math.sqrt(_product(w, w)))
        finished = beside[-1] <= _BREAKDOWN or len(beside) == _MOST_STEPS
        if finished or len(beside) == next_look:
            lowest, highest = (_end(diagonal, beside, place) for place in (0, len(beside) - 1))
            if finished or (lowest.converged and highest.converged):
                return lowest, highest
            next_look = next(looks)
        before, v = v, w / beside[-1]


def _end(diagonal: list[float], beside: list[float], place: int) -> Eigenvalue:
    values, vectors = eigh_tridiagonal(diagonal, beside[:-1], select="i", select_range=(place, place))
    residual = beside[-1] * abs(float(vectors[-1, 0]))
    return Eigenvalue(float(values[0]), residual <= _RESIDUAL)


def _product(v: Vector, w: Vector) -> float:
    """<v, w> on one thread, so that the bits do not depend on the machine's cores; BLAS would take them all."""
    return float(np.einsum("i,i", v, w))


def start(n: int) -> Vector:
    """The starting vector, orthogonal to constants and fixed: one matrix gives the same bits again."""
    v = np.random.default_rng(0).standard_normal(n)
    return np.asarray(v - v.mean())
