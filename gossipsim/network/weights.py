"""Mixing matrices from graphs: W[i, j] is the weight that node i gives to what it receives from node j.

Each class is called with a graph and returns W (n, n), float64 CSR with sorted indices; the diagonal is one
minus the rest of its row (Push: of its column), so rows sum to one to rounding, and one node has W = [[1.]].
:class:`FromFile` reads any W, :class:`Own` leaves W to the topology. Edge attributes named `weight` are
ignored, self-loops dropped, multi-edges count once. Directed u -> v: u sends to v, so W[v, u] is not zero.

`claims` states the stochasticity as data, per kind of graph; a kind that is missing is refused.

Sources: Xiao & Boyd, "Fast linear iterations for distributed averaging", 2004 (max-degree, best constant);
Xiao, Boyd & Kim, "Distributed average consensus with least-mean-square deviation", 2007
(Metropolis-Hastings); Sinkhorn & Knopp 1967 and Knight & Ruiz, "A fast algorithm for matrix balancing", 2013
(Sinkhorn); Kempe, Dobra & Gehrke, "Gossip-Based Computation of Aggregate Information", 2003 (Push).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from gossipsim.network.lanczos import Vector
from gossipsim.network.spectrum import Matrix, as_matrix, extremes
from gossipsim.network.topologies import Graph

Claims = Mapping[str, frozenset[str]]

_ROW = frozenset({"row_stochastic"})
DOUBLY = frozenset({"row_stochastic", "column_stochastic", "doubly_stochastic", "symmetric"})
NONNEGATIVE = frozenset({"nonnegative"})
_COLUMN = frozenset({"column_stochastic"})
_MEASURED: frozenset[str] = frozenset()  # nothing promised: the network's certificate measures W

_BALANCED = 1e-14  # largest |row sum - 1| at which balancing stops
_NEWTON_STEPS = 100


class Weights(Protocol):
    """What a user writes: any callable from a graph to a sparse or dense matrix will do."""

    def __call__(self, graph: Graph, /) -> Any: ...


class MetropolisHastings:
    """w_ij = 1 / (1 + max(d_i, d_j)): needs only the degrees of neighbours.

    On a directed graph, 1 / (1 + max(in-degree of the receiver, out-degree of the sender)): doubly
    stochastic where all these degrees are equal (exponential graphs), row-stochastic otherwise.
    """

    claims: ClassVar[Claims] = {"undirected": DOUBLY | NONNEGATIVE, "directed": _ROW | NONNEGATIVE}

    def __call__(self, graph: Graph, /) -> Matrix:
        return _from_edges(adjacency(graph), lambda incoming, outgoing: 1 / (1 + np.maximum(incoming, outgoing)))


class Uniform:
    """w_ij = 1 / (1 + d_i): the plain average of what arrived. Row-stochastic only.

    Where degrees differ the nodes agree on an average weighted by 1 + d_i, not on the mean.
    """

    claims: ClassVar[Claims] = {"undirected": _ROW | NONNEGATIVE, "directed": _ROW | NONNEGATIVE}

    def __call__(self, graph: Graph, /) -> Matrix:
        return _from_edges(adjacency(graph), lambda incoming, outgoing: 1 / (1 + incoming))


class MaxDegree:
    """w_ij = 1 / (1 + d_max) on every edge, d_max the largest (in-)degree.

    On a directed graph doubly stochastic where every node sends as much as it receives.
    """

    claims: ClassVar[Claims] = {"undirected": DOUBLY | NONNEGATIVE, "directed": _ROW | NONNEGATIVE}

    def __call__(self, graph: Graph, /) -> Matrix:
        return _from_edges(
            adjacency(graph),
            lambda incoming, outgoing: np.full(incoming.shape, 1 / (1 + incoming.max(initial=0))),
        )


class BestConstant:
    """W = I - a L, a = 2 / (l_2 + l_n) of the Laplacian L: the fastest single weight for all edges.

    Undirected graphs only. The diagonal may be negative (a star's centre).

    Raises:
        ValueError: when called with a directed graph.
    """

    claims: ClassVar[Claims] = {"undirected": DOUBLY}

    def __call__(self, graph: Graph, /) -> Matrix:
        neighbours = adjacency(graph)
        require_undirected(neighbours, "BestConstant", "gossipsim.network.MetropolisHastings")
        largest_degree = float(neighbours.sum(axis=1).max())
        if largest_degree == 0:
            return as_matrix(sparse.eye_array(neighbours.shape[0]))
        # I - L / (2 d_max) is a mixing matrix whose eigenvalues are those of L, mapped.
        half_step = _from_edges(neighbours, lambda incoming, outgoing: np.full(incoming.shape, 0.5 / largest_degree))
        smallest, largest = (2 * largest_degree * (1 - value) for value in extremes(half_step))
        step = 2 / (smallest + largest)
        return _from_edges(neighbours, lambda incoming, outgoing: np.full(incoming.shape, step))


class Lazy:
    """(I + W) / 2 of other weights: no negative eigenvalue, so nothing oscillates; about half as fast.

    Args:
        base: the weights to slow down; None means Metropolis-Hastings.

    Raises:
        ValueError: when `base` is not callable (a spec in a configuration is written ``{"class": ...}``).
    """

    def __init__(self, base: Weights | None = None) -> None:
        if base is not None and not callable(base):
            raise ValueError(
                f'Lazy: base must be weights, got {base!r}; write "base": {{"class": "gossipsim.network.Uniform"}}'
            )
        self.base: Weights = MetropolisHastings() if base is None else base

    @property
    def claims(self) -> Claims:
        """Those of `base`: all of them survive averaging with the identity."""
        claims: Claims = getattr(self.base, "claims", {})
        return claims

    def __call__(self, graph: Graph, /) -> Matrix:
        W = as_matrix(self.base(graph))
        return as_matrix((W + sparse.eye_array(W.shape[0])) * 0.5)


class Push:
    """W[i, j] = 1 / (1 + out-degree of j): every sender splits its value evenly, itself included.

    Column-stochastic on any graph, so the sum over the nodes is kept while the nodes themselves do not agree
    on the mean: push-sum methods divide by a weight that is mixed alike.
    """

    claims: ClassVar[Claims] = {"undirected": _COLUMN | NONNEGATIVE, "directed": _COLUMN | NONNEGATIVE}

    def __call__(self, graph: Graph, /) -> Matrix:
        reversed_edges = as_matrix(adjacency(graph).T)
        return as_matrix(_from_edges(reversed_edges, lambda incoming, outgoing: 1 / (1 + incoming)).T)


class Sinkhorn:
    """W = D (A + I) D, the symmetric doubly stochastic scaling of the adjacency matrix with its diagonal.

    Of all doubly stochastic matrices on the graph the nearest to A + I in relative entropy: what normalising
    rows and columns in turn ends at. Undirected graphs only.

    Raises:
        ValueError: when called with a directed graph.
    """

    claims: ClassVar[Claims] = {"undirected": DOUBLY | NONNEGATIVE}

    def __call__(self, graph: Graph, /) -> Matrix:
        neighbours = adjacency(graph)
        require_undirected(neighbours, "Sinkhorn", "gossipsim.network.MetropolisHastings")
        scale = _balance(as_matrix(neighbours + sparse.eye_array(neighbours.shape[0])))
        W = neighbours.copy()
        receivers = np.repeat(np.arange(W.shape[0]), np.diff(W.indptr))
        W.data = scale[receivers] * scale[W.indices]
        return as_matrix(W + sparse.diags_array(1 - np.asarray(W.sum(axis=1))))


class FromFile:
    """W from a file, the same in every round: ``.npy``, or ``.csv`` with one row per line.

    Row and column i belong to node i, nodes in networkx order; W may be non-zero on the topology's edges and
    on the diagonal only. Its stochasticity is measured, not promised.

    Args:
        path: the file; a relative path starts in the working directory.

    Raises:
        ValueError: when the file cannot be read as a square matrix of finite numbers.
    """

    claims: ClassVar[Claims] = {"undirected": _MEASURED, "directed": _MEASURED}

    def __init__(self, path: str) -> None:
        suffix = Path(path).suffix.lower()
        if suffix not in (".npy", ".csv"):
            raise ValueError(f"FromFile: path must end in .npy or .csv, got {path!r}")
        try:
            loaded = np.load(path, allow_pickle=False) if suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
            self._W = as_matrix(loaded)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"FromFile: path: no mixing matrix in {path}: {error}") from error

    def __call__(self, graph: Graph, /) -> Matrix:
        return self._W.copy()


class Own:
    """The weights that the topology brings: its ``matrix(round)``, as :class:`gossipsim.network.BaseGraph` has.

    For topologies whose W does not follow from the graph of the round. :class:`gossipsim.network.Network` asks
    the topology; nodes are in networkx order of the round's graph.

    Raises:
        ValueError: when the topology has no ``matrix(round)``.
    """

    claims: ClassVar[Claims] = {"undirected": _MEASURED, "directed": _MEASURED}

    def __call__(self, graph: Graph, /) -> Matrix:
        raise ValueError(
            "Own takes W from a topology with matrix(round), such as gossipsim.network.BaseGraph, and this one has "
            "none; use gossipsim.network.MetropolisHastings"
        )


def adjacency(graph: Graph) -> Matrix:
    """A (n, n) of zeros and ones, nodes in networkx order: A[i, j] = 1 where i receives from j, i != j."""
    n = graph.number_of_nodes()
    index = {node: position for position, node in enumerate(graph)}
    flat = np.fromiter((index[end] for edge in graph.edges() for end in edge), dtype=np.int64)
    senders, receivers = flat[0::2], flat[1::2]
    proper = senders != receivers
    senders, receivers = senders[proper], receivers[proper]
    if not graph.is_directed():
        senders, receivers = np.concatenate([senders, receivers]), np.concatenate([receivers, senders])
    ones = np.ones(len(senders))
    A: Matrix = sparse.csr_array((ones, (receivers, senders)), shape=(n, n))
    A.data[:] = 1.0  # a multi-edge was summed
    A.sort_indices()
    return A


def _from_edges(A: Matrix, weight: Callable[[Vector, Vector], Vector]) -> Matrix:
    """W from `weight(in-degree of the receiver, out-degree of the sender)`, given for all edges at once."""
    incoming, outgoing = (np.asarray(A.sum(axis=axis), dtype=np.float64) for axis in (1, 0))
    receivers = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    W = A.copy()
    W.data = weight(incoming[receivers], outgoing[A.indices])
    return as_matrix(W + sparse.diags_array(_rest(W)))


def _rest(W: Matrix) -> Vector:
    """One minus each row's sum; where it is but for rounding the weight of every neighbour, exactly that.

    Rows of a complete graph are then equal to the bit, and need to be mixed only once.
    """
    rest: Vector = np.asarray(1 - W.sum(axis=1), dtype=np.float64)
    degrees = np.diff(W.indptr)
    some = np.flatnonzero(degrees)
    least, most = (extreme.reduceat(W.data, W.indptr[some]) for extreme in (np.minimum, np.maximum))
    even = (least == most) & (np.abs(rest[some] - least) <= np.finfo(np.float64).eps * (degrees[some] + 1))
    rest[some[even]] = least[even]
    return rest


def require_undirected(A: Matrix, weights: str, instead: str) -> None:
    if abs(A - A.T).nnz:
        raise ValueError(
            f"{weights} needs an undirected graph, got one with one-way edges; use {instead} or an undirected topology"
        )


def _balance(B: Matrix) -> Vector:
    """x > 0 (n,) with x_i B_ij x_j of unit row sums, for a symmetric B >= 0 with a positive diagonal.

    y = log x minimises the strictly convex sum_ij e^(y_i + y_j) B_ij / 2 - sum_i y_i. Newton's method, because
    normalising rows and columns in turn takes n^2 rounds on a path.
    """
    y = -0.5 * np.log(np.asarray(B.sum(axis=1), dtype=np.float64))
    best, best_error = y, np.inf
    for _ in range(_NEWTON_STEPS):
        x = np.exp(y)
        scaled = as_matrix(sparse.diags_array(x) @ B @ sparse.diags_array(x))
        sums = np.asarray(scaled.sum(axis=1))
        error = float(np.abs(sums - 1).max())
        if error >= best_error and best_error < 1e-11:  # rounding: more steps would wander
            break
        if error < best_error:
            best, best_error = y, error
        if error <= _BALANCED:
            break
        step, _ = cg(scaled + sparse.diags_array(sums), 1 - sums, rtol=1e-6, M=sparse.diags_array(0.5 / sums))
        y = y + step / max(1.0, float(np.abs(step).max()))
    return np.exp(best)
