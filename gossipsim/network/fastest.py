"""The fastest symmetric mixing matrices on a graph, by semidefinite programming: ``pip install 'gossipsim[fdla]'``.

    minimise s    subject to    -s I <= I - L(w) - J <= s I,    L(w) = sum over edges of w_ij (e_i - e_j)(e_i - e_j)^T

W = I - L(w) then has slem s, J = 11^T/n. FDLA, fastest distributed linear averaging, leaves the weights w free:
some may be negative. FMMC, the fastest mixing Markov chain, asks for w >= 0 and diag(L) <= 1, so that W >= 0.
FDLA is at least as fast as every other symmetric W on the graph, FMMC as every non-negative one, such as
Metropolis-Hastings. One node has W = [[1.]].

The solver's accuracy is about 1e-8; weights are rounded to 1e-9, so that the last bits of its linear algebra do
not show. A sparse graph of 50 nodes takes five seconds, one of 64 ten, in every process anew.

Sources: Xiao & Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters, 2004;
Boyd, Diaconis & Xiao, "Fastest Mixing Markov Chain on a Graph", SIAM Review, 2004.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from gossipsim.network.lanczos import Vector
from gossipsim.network.spectrum import Matrix, as_matrix
from gossipsim.network.topologies import Graph
from gossipsim.network.weights import DOUBLY, NONNEGATIVE, Claims, adjacency, require_undirected

_DIGITS = 9
_ROOM = 1e-12  # kept on the diagonal for rounding


class FDLA:
    """Fastest distributed linear averaging: the symmetric W of least slem; weights may be negative.

    Undirected graphs only.

    Raises:
        ValueError: without cvxpy, for a directed graph, or where the solver fails.
    """

    claims: ClassVar[Claims] = {"undirected": DOUBLY}

    def __call__(self, graph: Graph, /) -> Matrix:
        return _fastest(graph, "FDLA", nonnegative=False)


class FMMC:
    """Fastest mixing Markov chain: the symmetric W >= 0 of least slem.

    Undirected graphs only.

    Raises:
        ValueError: without cvxpy, for a directed graph, or where the solver fails.
    """

    claims: ClassVar[Claims] = {"undirected": DOUBLY | NONNEGATIVE}

    def __call__(self, graph: Graph, /) -> Matrix:
        return _fastest(graph, "FMMC", nonnegative=True)


def _fastest(graph: Graph, name: str, *, nonnegative: bool) -> Matrix:
    A = adjacency(graph)
    require_undirected(A, name, "gossipsim.network.MetropolisHastings")
    upper = sparse.triu(A, format="coo")
    i, j, n = upper.row, upper.col, A.shape[0]
    if len(i) == 0:
        return as_matrix(sparse.eye_array(n))
    w = _solve(name, i, j, n, nonnegative=nonnegative).round(_DIGITS)
    if nonnegative:
        w = np.maximum(w, 0)
        given = np.bincount(i, w, minlength=n) + np.bincount(j, w, minlength=n)
        w = w * min(1.0, (1 - _ROOM) / float(given.max()))
    half = sparse.csr_array((w, (i, j)), shape=(n, n))
    W = half + half.T
    return as_matrix(W + sparse.diags_array(1 - np.asarray(W.sum(axis=1))))


def _solve(name: str, i: Any, j: Any, n: int, *, nonnegative: bool) -> Vector:
    """The weights of the edges (i, j)."""
    cp: Any = _cvxpy(name)
    edges = np.arange(len(i))
    ones = np.ones(len(i))
    incidence = sparse.csr_array((np.concatenate([ones, -ones]), (np.tile(edges, 2), np.concatenate([i, j]))))
    w, s = cp.Variable(len(i)), cp.Variable()
    deviation = np.eye(n) - 1 / n - incidence.T @ cp.diag(w) @ incidence
    constraints = [deviation << s * np.eye(n), deviation >> -s * np.eye(n)]
    if nonnegative:
        constraints += [w >= 0, abs(incidence).T @ w <= 1]
    problem = cp.Problem(cp.Minimize(s), constraints)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")  # 1e-7 instead of 1e-8
            problem.solve(solver=cp.CLARABEL)
    except cp.SolverError as error:
        raise ValueError(f"{name}: the solver failed on this graph of {n} nodes: {error}") from error
    if w.value is None:
        raise ValueError(f"{name}: the solver found no weights for this graph of {n} nodes: {problem.status}")
    return np.asarray(w.value, dtype=np.float64)


def _cvxpy(name: str) -> Any:
    try:
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise ValueError(f"{name} needs cvxpy, which is not installed: pip install 'gossipsim[fdla]'") from error
