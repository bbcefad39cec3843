"""How fast a mixing matrix W (n, n) brings the rows to their mean.

One round multiplies the distance to the mean, sqrt(consensus), by at most ``slem = ||W - J||_2`` with J =
11^T/n (Xiao & Boyd, "Fast linear iterations for distributed averaging", 2004, eq. 7). For a symmetric
doubly stochastic W this is max(|lambda_2|, |lambda_n|), the second largest eigenvalue modulus. For one node
nothing is left to do: slem = 0.

Sizes: dense LAPACK up to `DENSE_LIMIT` nodes. Above it Lanczos on sparse products, except that
graphs which are long and thin (rings, paths, tori: eigenvalues too close together for Lanczos, but sparse
triangular factors) are solved by shift-and-invert: a ring of 100,000 nodes takes seconds, where Lanczos
does not converge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.linalg import eigvals, eigvalsh
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import ArpackError, LinearOperator, eigs, eigsh, splu

from gossipsim.network.lanczos import Eigenvalue, Vector, ends, start

if TYPE_CHECKING:
    Matrix = sparse.csr_array[Any, tuple[int, int]]
else:
    Matrix = sparse.csr_array

DENSE_LIMIT = 400
DENSE_GENERAL_LIMIT = 1500  # of eigenvalues of matrices that are not symmetric
TOLERANCE = 1e-10  # on sums of rows and columns and on symmetry; rounding stays near 1e-15
_RESTARTS = 30
_SMALL_GAP = 1e-3


@dataclass(frozen=True)
class Properties:
    """What the entries of one mixing matrix say: "stochastic" speaks of sums only; `nonnegative` of their signs."""

    symmetric: bool
    row_stochastic: bool
    column_stochastic: bool
    doubly_stochastic: bool
    nonnegative: bool


@dataclass(frozen=True)
class Spectrum(Properties):
    """What one mixing matrix does; all numbers are per round.

    `lambda_2` and `lambda_min` are the largest and the smallest eigenvalue besides the one that belongs to
    the constant vector; of real parts where W is not symmetric, and None where these could not be found
    (non-symmetric, thousands of nodes, no convergence). Both are 0 for one node.
    """

    lambda_2: float | None
    lambda_min: float | None
    slem: float
    spectral_gap: float


def spectrum(W: Any) -> Spectrum:
    """The eigenvalues that matter and the properties of a sparse or dense W (n, n).

    >>> spectrum([[0.5, 0.5], [0.5, 0.5]]).spectral_gap
    1.0

    Raises:
        ValueError: when W is not a square matrix of finite numbers.
    """
    matrix = as_matrix(W)
    known = properties(matrix)
    lambda_2: float | None
    lambda_min: float | None
    if matrix.shape[0] == 1:
        lambda_2, lambda_min, slem = 0.0, 0.0, contraction([matrix])
    elif known.symmetric and known.doubly_stochastic:
        lambda_2, lambda_min = extremes(matrix)
        slem = max(abs(lambda_2), abs(lambda_min))
    else:
        lambda_2, lambda_min = _general_extremes(matrix)
        slem = contraction([matrix])
    return Spectrum(**vars(known), lambda_2=lambda_2, lambda_min=lambda_min, slem=slem, spectral_gap=1 - slem)


def properties(W: Matrix) -> Properties:
    """Sums, signs and symmetry: without eigenvalues, in the time that it takes to read W."""
    row_stochastic, column_stochastic = (bool(np.abs(W.sum(axis=axis) - 1).max() <= TOLERANCE) for axis in (1, 0))
    asymmetry = abs(W - W.T)
    return Properties(
        symmetric=bool(asymmetry.nnz == 0 or asymmetry.max() <= TOLERANCE),
        row_stochastic=row_stochastic,
        column_stochastic=column_stochastic,
        doubly_stochastic=row_stochastic and column_stochastic,
        nonnegative=bool(W.nnz == 0 or W.data.min() >= 0),
    )


def as_matrix(W: Any) -> Matrix:
    """W as a float64 CSR array with sorted indices and without stored zeros.

    Raises:
        ValueError: when W is not a square matrix of finite numbers.
    """
    if not sparse.issparse(W):
        W = np.asarray(W)
        if W.ndim != 2:
            raise ValueError(f"a mixing matrix has two dimensions, got shape {W.shape}")
    matrix: Matrix = sparse.csr_array(W, dtype=np.float64, copy=True)
    if matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"a mixing matrix is square, got shape {matrix.shape}")
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    if not np.isfinite(matrix.data).all():
        raise ValueError("a mixing matrix holds finite numbers, got NaN or infinity")
    return matrix


def extremes(W: Matrix) -> tuple[float, float]:
    """Largest and smallest eigenvalue of a symmetric W (n >= 2) with unit row sums, but for the constant's."""
    n = W.shape[0]
    bound = float(abs(W).sum(axis=1).max())
    if n <= DENSE_LIMIT:
        # The constant vector's eigenvalue is moved from 1 to below all others.
        eigenvalues = eigvalsh(W.toarray() - (2 + bound) / n)
        return float(eigenvalues[-1]), float(eigenvalues[1])
    if _bandwidth(W) <= 4 * math.sqrt(n):
        return _nearest_to_bound(W, upper=True), _nearest_to_bound(W, upper=False)
    lowest, highest = ends(lambda x: W @ x, n)
    return _large_gap(W, highest), lowest.value


def _large_gap(W: Matrix, highest: Eigenvalue) -> float:
    """The largest eigenvalue of W but for the constant's: as found, or where that was too hard by shift-and-invert."""
    # A small gap means small separators (Cheeger): sparse factors. An expander's would fill the memory.
    if not highest.converged and highest.value > 1 - _SMALL_GAP:
        return _nearest_to_bound(W, upper=True)
    return highest.value


def contraction(rounds: Sequence[Matrix]) -> float:
    """||W_T ... W_2 W_1 - J||_2 of successive rounds, given in their order in time."""
    n = rounds[0].shape[0]
    if n <= DENSE_LIMIT:
        product: Vector = rounds[0].toarray()
        for W in rounds[1:]:
            product = W @ product
        return float(np.linalg.norm(product - 1 / n, 2))
    if len(rounds) == 1 and properties(rounds[0]).doubly_stochastic:
        # (W - J)^T (W - J) = W^T W - J, sparse and positive semidefinite.
        squared_rows = as_matrix(rounds[0].T @ rounds[0])
        return math.sqrt(max(0.0, _large_gap(squared_rows, ends(lambda x: squared_rows @ x, n)[1])))

    def squared(x: Vector) -> Vector:
        y = x
        for W in rounds:
            y = W @ y
        y = y - x.mean()
        z = y
        for W in reversed(rounds):
            z = W.T @ z
        return np.asarray(z - y.mean())

    return math.sqrt(max(0.0, ends(squared, n, centred=False)[1].value))


def _bandwidth(W: Matrix) -> int:
    order = reverse_cuthill_mckee(W, symmetric_mode=True)
    place = np.empty_like(order)
    place[order] = np.arange(len(order), dtype=order.dtype)
    coordinates = W.tocoo()
    return int(np.abs(place[coordinates.row] - place[coordinates.col]).max())


def _nearest_to_bound(W: Matrix, *, upper: bool) -> float:
    """The eigenvalue nearest to Gershgorin's bound on that side, the constant vector projected out."""
    n = W.shape[0]
    diagonal = W.diagonal()
    radius = np.asarray(abs(W).sum(axis=1)) - np.abs(diagonal)
    # The gap of a ring shrinks as 1/n^2; the shift stays as far from the bound as the gap is wide.
    distance = max(1.0 / n**2, 1e-12)
    shift = float((diagonal + radius).max() + distance if upper else (diagonal - radius).min() - distance)
    shifted = (W - shift * sparse.eye_array(n)).tocsc()
    factors = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def inverse(x: Vector) -> Vector:
        y = factors.solve(np.asarray(x).ravel())
        return np.asarray(y - y.mean())

    operator: Any = LinearOperator((n, n), matvec=inverse, dtype=np.float64)
    values: Any = eigsh(W, k=1, sigma=shift, OPinv=operator, which="LM", ncv=20, v0=start(n), return_eigenvectors=False)
    return float(values[0])


def _general_extremes(W: Matrix) -> tuple[float | None, float | None]:
    """Second largest and smallest real part of the eigenvalues of any W; n >= 2."""
    n = W.shape[0]
    if n <= DENSE_GENERAL_LIMIT:
        real_parts = np.sort(np.real(eigvals(W.toarray())))
        return float(real_parts[-2]), float(real_parts[0])
    options: Any = {
        "ncv": 40,
        "tol": 1e-8,
        "maxiter": _RESTARTS,
        "v0": start(n),
        "return_eigenvectors": False,
    }
    try:
        highest: Any = eigs(W, k=2, which="LR", **options)
        lowest: Any = eigs(W, k=1, which="SR", **options)
    except ArpackError:
        return None, None
    return float(np.real(highest).min()), float(np.real(lowest)[0])
