"""The top singular pair of a matrix, by Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation.

    A V_k = U_k B_k,   A^T U_k = V_k B_k^T + beta_k v_{k+1} e_k^T,   B_k upper bidiagonal (k, k)

The largest singular value of B_k approaches that of A from below, the faster the larger the gap below it. The start is
a fixed pseudo-random vector, so that no structure of A (rows that sum to zero, say) is orthogonal to it; torch's global
random numbers are neither read nor moved.
Golub and Kahan, Calculating the Singular Values and Pseudo-Inverse of a Matrix, SIAM J. Numerical Analysis 2, 1965.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from gossipsim.optim.constraints.base import nonzero, stable_norm

EXACT = 64
"""Up to that smaller side the decomposition is as fast, and exact."""

_CHECK = 4
_MAX_STEPS = 100
_GAIN = 1e-6
"""Stop when the last two checks together gained less than that, relatively. A near tie at the top looks like
convergence for some steps: of 300 random matrices, a third with a near tie, 3 ended up to 4e-4 below the top with 1e-5,
none more than 3e-6 with this, for 10 % more steps."""
_ALIGNMENT = 64
"""Bytes; where torch's allocator begins a tensor."""
_SAFE = 1e-10, 1e10
"""Entries in that range have sums of squares within float32."""


def top_singular(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors u (m,) and v (n,), and sigma = u^T A v >= 0, with v near the top right singular vector.

    Exact where the smaller side is at most 64. Else sigma >= 0.9999 times the largest singular value on all that was
    measured: Gaussian, power-law, graded and low-rank matrices, ties and near ties at the top; most to 1e-6, the
    worst, 1.4e-5, on values that crowd at the top as 1 - (i/512)^2. Deterministic. NaN everywhere where `matrix` has an
    entry that is not finite; some unit vectors for the zero matrix.
    """
    low, high = torch.aminmax(matrix)
    largest = max(-float(low), float(high))  # NaN in both where there is one
    if not math.isfinite(largest):
        u, v = torch.full_like(matrix[:, 0], math.nan), torch.full_like(matrix[0], math.nan)
        return u, u[0].clone(), v
    scale = largest if largest > 0 and not _SAFE[0] < largest < _SAFE[1] else 1.0
    a = _aligned(matrix) if scale == 1.0 else matrix / scale
    if min(a.shape) > EXACT:
        v = _right_vector(a)
        u = a @ v
        sigma = stable_norm(u)
        if float(sigma) > 0:
            return u / sigma, sigma * scale, v
    left, values, right = torch.linalg.svd(a, full_matrices=False)
    return left[:, 0].clone(), values[0] * scale, right[0].clone()


def _aligned(matrix: Tensor) -> Tensor:
    """The matrix, copied where it is a view into something larger: BLAS has other bits for other addresses."""
    fresh = matrix.is_contiguous() and matrix.data_ptr() % _ALIGNMENT == 0
    return matrix if fresh else matrix.clone(memory_format=torch.contiguous_format)


@functools.lru_cache(maxsize=32)
def _start(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    vector = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit: Tensor = vector / vector.norm()
    return unit.to(device=device, dtype=dtype)


def _orthogonal(vector: Tensor, basis: Tensor, size: float) -> tuple[Tensor, float]:
    """`vector` without its parts in the rows of `basis`, as a unit vector, and its length; 0 where nothing is left.

    Twice: with one pass rounding grows from step to step, and after 100 steps in float32 all is lost.
    """
    for _ in range(2):
        vector = torch.addmv(vector, basis.T, basis @ vector, alpha=-1)
    length = float(torch.linalg.vector_norm(vector))
    nothing = length <= torch.finfo(vector.dtype).eps * size
    return (torch.zeros_like(vector), 0.0) if nothing else (vector / length, length)


def _right_vector(a: Tensor) -> Tensor:
    """The best right vector of the Krylov space, of unit length."""
    steps = min(*a.shape, _MAX_STEPS)
    left, right = a.new_zeros(steps, a.shape[0]), a.new_zeros(steps + 1, a.shape[1])
    right[0] = _start(a.shape[1], a.dtype, a.device)
    bidiagonal = torch.zeros(steps, steps + 1, dtype=torch.float64)
    seen, size = [0.0, 0.0], 0.0
    for k in range(steps):
        left[k], alpha = _orthogonal(a @ right[k], left[:k], size)
        right[k + 1], beta = _orthogonal(a.T @ left[k], right[: k + 1], size)
        bidiagonal[k, k], bidiagonal[k, k + 1], size = alpha, beta, max(size, alpha, beta)
        if alpha == 0 or beta == 0:
            break
        if k % _CHECK == _CHECK - 1:
            seen.append(float(torch.linalg.svdvals(bidiagonal[: k + 1, : k + 1])[0]))
            if seen[-1] - seen[-3] <= _GAIN * seen[-1]:
                break
    rows = torch.linalg.svd(bidiagonal[: k + 1, : k + 1]).Vh
    v: Tensor = right[: k + 1].T @ rows[0].to(dtype=a.dtype, device=a.device)
    return v.div_(nonzero(stable_norm(v)))
