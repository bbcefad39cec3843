"""The polar factor of a matrix: G = U S V^T -> U V^T, the linear minimisation oracle of the spectral ball up to sign.

    <G, U V^T> = ||G||_*   (nuclear norm)     and     ||U V^T||_2 = 1,   so   U V^T = argmax <G, D>, ||D||_2 <= 1

Two kinds of methods. The exact ones answer with a point of the ball; a feasible method (Scion, Frank-Wolfe on a
SpectralBall) needs that. The iterations of Muon raise small singular values to about one and leave the ball; Muon
has no ball to stay in.

Measured in float32: worst of 7 shapes (20x20 to 512x512, 800x128, 40x600) times 11 spectra (Gaussian, powers -1/2,
-1 and -2, condition numbers 1e2 to 1e6, low rank, one large value among 1e-3); a Gaussian 512x512; the time over
that of torch.linalg.svd by itself on Gaussian matrices, 1 thread:

| method                 | worst ||D||_2 | worst value, <G, D>/||G||_* | Gaussian: both    | 512^2 | 1024^2 | 3072x768 |
|------------------------|---------------|-----------------------------|-------------------|-------|--------|----------|
| svd                    | 1 + 3e-6      | 0.99999                     | 1 + 3e-6, 1.00000 | 1.1   | 1.1    | 1.1      |
| exact_fast             | 1 + 3e-6      | 0.9996                      | 1 + 2e-6, 1.00000 | 0.93  | 0.95   | 0.85     |
| newton_schulz          | 1.20          | 0.68 (and 1.13)             | 1.20, 0.954       | 0.84  | 0.94   | 1.42     |
| polar_express          | 1.14          | 0.88 (and 1.13)             | 1.14, 1.009       | 0.86  | 0.97   | 1.39     |
| polar_express, 8 steps | 1 + 5e-7      | 0.987                       | 1 + 5e-7, 1.00000 | 1.3   | 1.6    | 2.1      |

In float64 the norms are 1 + 4e-15 and exact_fast has 1 - 3e-9 of the value. In bfloat16, Newton-Schulz takes less than
half the time where the processor has instructions for it, and 35 times that of the SVD where it does not.

Values above 1 exist only outside the ball. Singular values that are zero stay zero: where G does not have full rank
the answer is the partial isometry (dead units are not moved), which is as good a minimiser as any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Method = Literal["svd", "exact_fast", "newton_schulz", "polar_express"]

KELLER_JORDAN = (3.4445, -4.775, 2.0315)
"""a, b, c of X <- a X + b (X X^T) X + c (X X^T)^2 X: https://kellerjordan.github.io/posts/muon, as torch.optim.Muon."""

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""The first steps' a, b, c (Amsel, Persson, Musco, Gower, arXiv 2505.16932; the values of microsoft/dion)."""

CLASSICAL = (1.875, -1.25, 0.375)
"""What the optimal coefficients tend to: the quintic Newton-Schulz step, which maps [0, 1] into itself."""

_LARGEST_LOSS = 1e-3  # of the value, for which "exact_fast" answers without an SVD
_SMALL = 64  # smaller sides below this: the SVD is faster (4x4 to 64x64: 0.2 to 1.0 of the time)


def orthogonalize(
    G: Tensor, method: Method = "svd", *, steps: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """The polar factor U V^T of G (m, n): a new contiguous tensor of the shape, dtype and device of G.

    The zero matrix gives zero, a matrix that holds NaN or an infinity gives NaN, and c G gives the same as G for
    c > 0, also where squares of entries would overflow or vanish.

    Args:
        G: a matrix (m, n).
        method: "svd": by torch.linalg.svd. "exact_fast": by the eigenvectors of the smaller Gram matrix, with an SVD
            where that loses more than 1e-3 of the value. "newton_schulz": Keller Jordan's quintic.
            "polar_express": the steps of Amsel et al. and, from the sixth on, the classical quintic, which brings
            the answer back into the ball: 8 steps are exact to 1e-5 on well-conditioned matrices.
        steps: of the two iterations; None: 5.
        dtype: of the arithmetic; None: that of G (float32 for the exact methods of a 16-bit G). torch.optim.Muon
            iterates in bfloat16.

    Raises:
        ValueError: when G is not a matrix, for an unknown method, and for steps or a dtype that the method lacks.

    >>> orthogonalize(torch.diag(torch.tensor([3.0, -0.5, 0.0])))
    tensor([[ 1.,  0.,  0.],
            [ 0., -1.,  0.],
            [ 0.,  0.,  0.]])
    """
    check_method(method, steps, dtype)
    if G.ndim != 2:
        raise ValueError(f"orthogonalize takes a matrix (m, n), got the shape {tuple(G.shape)}: see as_matrix")
    exact = method in _EXACT
    if dtype is None:
        dtype = torch.promote_types(G.dtype, torch.float32) if exact else G.dtype
    largest = float(G.abs().amax()) if G.numel() else 0.0
    if not math.isfinite(largest):
        return torch.full_like(G, math.nan)
    if largest == 0:
        return torch.zeros_like(G)
    X = _rescaled(G, largest).to(dtype)
    X = X.T if len(G) > G.shape[1] else X
    D = _EXACT[method](X) if exact else _ITERATIONS[method](X, 5 if steps is None else steps)
    return (D.T if len(G) > G.shape[1] else D).to(G.dtype).contiguous()


def check_method(method: str, steps: int | None = None, dtype: torch.dtype | None = None) -> None:
    """Raises ValueError unless `method` is one of :func:`orthogonalize` and has such steps and arithmetic."""
    if method not in _EXACT and method not in _ITERATIONS:
        allowed = ", ".join(map(repr, (*_EXACT, *_ITERATIONS)))
        raise ValueError(f"orthogonalization must be one of {allowed}, got {method!r}")
    if steps is not None:
        if method in _EXACT:
            raise ValueError(f"steps of an orthogonalization by {method!r}, which takes none: leave steps={steps} away")
        if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps < 100:
            raise ValueError(f"steps of the orthogonalization must be a whole number from 1 to 99, got {steps!r}")
    if dtype is not None and method in _EXACT and dtype not in (torch.float32, torch.float64):
        raise ValueError(f"orthogonalization by {method!r} computes in float32 or float64, not in {dtype}")


def _rescaled(G: Tensor, largest: float) -> Tensor:
    """G times the power of two that brings the largest entry into [1/2, 1): exact, it changes no bit of an answer."""
    exponent = math.frexp(largest)[1]
    half = -exponent // 2  # two factors, since a single one may overflow
    return G * math.ldexp(1.0, half) * math.ldexp(1.0, -exponent - half)


def _svd(X: Tensor) -> Tensor:
    U, s, Vh = torch.linalg.svd(X.T, full_matrices=False)  # of the taller one: LAPACK takes twice the time for a 1:4
    factor: Tensor = Vh.T @ (U * _nonzero(s)).T
    return factor


def _nonzero(values: Tensor) -> Tensor:
    """Which singular values are not those of rounding: those of low-rank products were up to 5 eps of the largest."""
    return values > 10 * torch.finfo(values.dtype).eps * values.amax()


def _exact_fast(X: Tensor) -> Tensor:
    """By X X^T = Q L Q^T: (L^-1/2 Q^T) X, then two cubic Newton-Schulz steps f(x) = 1.5 x - 0.5 x^3.

    The Gram matrix loses what is below sqrt(eps) of the largest singular value. Dividing by no less than the noise
    keeps all singular values of the first factor below sqrt 3, measured 1.4; f maps [0, sqrt 3] into [0, 1], so the
    answer lies in the ball, and what was lost has only shrunk. How much that costs is known: no D has a value above
    the sum of the row norms of Q^T X, and where ours is below (1 - 1e-3) of it, the SVD answers.
    """
    if len(X) < _SMALL:
        return _svd(X)
    X = X / torch.linalg.vector_norm(X)
    eps = torch.finfo(X.dtype).eps
    shifted = X @ X.T
    shifted.diagonal().add_(eps)  # else MKL's eigh fails or answers NaN for 1 % of graded low-rank matrices, in float32
    try:
        L, Q = torch.linalg.eigh(shifted)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return _svd(X)
    L = L - eps
    noise = math.sqrt(len(X)) * eps * L[-1]
    Y = Q.T @ X
    rows = torch.linalg.vector_norm(Y, dim=1)
    Y *= (_nonzero(rows) / L.clamp(min=noise).sqrt()).unsqueeze(1)
    gram = Y @ Y.T
    first = _cubic(gram)
    both = _cubic(first @ gram @ first) @ first  # f(f(.)) as a factor from the left, on the smaller side only
    D: Tensor = (Q @ both) @ Y
    value = torch.linalg.vecdot(X.flatten(), D.flatten())
    return D if value >= (1 - _LARGEST_LOSS) * rows.sum() else _svd(X)


def _cubic(gram: Tensor) -> Tensor:
    """1.5 I - 0.5 X X^T."""
    factor = gram.mul(-0.5)
    factor.diagonal().add_(1.5)
    return factor


def _quintic(X: Tensor, coefficients: tuple[float, float, float]) -> Tensor:
    a, b, c = coefficients
    gram = X @ X.T
    return torch.addmm(X, torch.addmm(gram, gram, gram, beta=b, alpha=c), X, beta=a)


def _newton_schulz(X: Tensor, steps: int) -> Tensor:
    X = X / X.norm()
    for _ in range(steps):
        X = _quintic(X, KELLER_JORDAN)
    return X


def _polar_express(X: Tensor, steps: int) -> Tensor:
    X = X / (1.02 * X.norm())
    for step in range(steps):
        X = _quintic(X, POLAR_EXPRESS[step] if step < len(POLAR_EXPRESS) else CLASSICAL)
    return X


_EXACT: dict[str, Callable[[Tensor], Tensor]] = {"svd": _svd, "exact_fast": _exact_fast}
_ITERATIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "newton_schulz": _newton_schulz,
    "polar_express": _polar_express,
}
