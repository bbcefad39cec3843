"""The network of a run: a topology, checked and normalised, and the mixing matrix of every round.

A topology is a networkx graph, or any object with ``graph(round) -> networkx graph``; a ``period``
attribute says that its graphs repeat, and ``matrix(round)`` is the W that it brings for the weights ``Own``.
A random one may say what graph its rounds are part of (``support``) and how fast it is (``expected_slem``).
Graphs are normalised: labels 0..n-1 in networkx order, self-loops dropped, multi-edges once, attributes
ignored, direction kept. With one node W = [[1.]] and nothing is exchanged.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import networkx as nx
import numpy as np
from scipy.sparse.csgraph import connected_components

from gossipsim.network.ours import ours_for
from gossipsim.network.rates import exact_after
from gossipsim.network.spectrum import (
    TOLERANCE,
    Matrix,
    Properties,
    Spectrum,
    as_matrix,
    contraction,
    properties,
    spectrum,
)
from gossipsim.network.topologies import Graph
from gossipsim.network.weights import MetropolisHastings, Own, Weights, adjacency

NEEDS = frozenset(
    {"connected", "doubly_stochastic", "row_stochastic", "column_stochastic", "symmetric", "static", "tree"}
)

_EXAMINED_ROUNDS = 16  # of a topology that does not say when it repeats
_KEPT_ROUNDS = 4
MOST_NODES_EXACT = 1500  # for which products of rounds are formed to see whether they are the exact mean
_ROOM = "gossipsim.network."

_T = TypeVar("_T")


class Network:
    """`nodes` participants, their graph and their mixing matrix per round.

    Args:
        nodes: the number of participants.
        topology: a networkx graph, or an object with ``graph(round)``.
        weights: callable from a normalised graph to W (nodes, nodes).
        name: how the topology is called in messages, normally its class path.

    >>> from gossipsim.network import ring
    >>> Network(4, ring(4)).matrix(0).toarray()[0].round(3).tolist()
    [0.333, 0.333, 0.0, 0.333]

    Raises:
        ValueError: when the topology is neither, or the graph of round 0 does not have exactly `nodes` nodes.
    """

    def __init__(self, nodes: int, topology: Any, weights: Weights | None = None, name: str | None = None) -> None:
        if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1:
            raise ValueError(f"network.nodes: must be a positive integer, got {nodes!r}")
        static = isinstance(topology, nx.Graph)
        if not static and not callable(getattr(topology, "graph", None)):
            raise ValueError(
                "network.topology: must be a networkx graph or an object with graph(round), "
                f"got {type(topology).__name__}"
            )
        self.nodes = nodes
        self.topology = topology
        self.weights: Weights = MetropolisHastings() if weights is None else weights
        self.name = name or (topology.name if static else "") or _class_path(topology)
        self.period: int | None = 1 if static else _period(topology)
        self._graphs: OrderedDict[int, Graph] = OrderedDict()
        self._matrices: OrderedDict[int, Matrix] = OrderedDict()
        self.graph(0)

    def graph(self, round: int) -> Graph:  # noqa: A002  the protocol's name
        """The normalised graph of one round; the same object again for a round that repeats.

        Raises:
            ValueError: when it does not have exactly `nodes` nodes.
        """
        return self._cached(self._graphs, round, self._build_graph)

    def matrix(self, round: int) -> Matrix:  # noqa: A002
        """W (nodes, nodes) of one round, float64 CSR, sorted indices, no stored zeros.

        Raises:
            ValueError: when the weights give another shape, NaN, or weight to what was not received.
        """
        return self._cached(self._matrices, round, self._build_matrix)

    def messages(self, round: int) -> int:  # noqa: A002
        """Rows that go over directed edges in one exchange of this round."""
        return messages(self.matrix(round))

    def certificate(self) -> dict[str, Any]:
        """What is known about this network, ready for JSON.

        `edges` counts those of all rounds together (of a directed graph: arcs), `max_degree` is the largest
        of one round (the larger of in and out). `connected` means strongly connected where directed, over a
        whole period where the graph changes. Of a time-varying network `slem` is the per-round mean
        ``slem_period ** (1 / rounds)`` of the product over one period, `slem_rounds` the single rounds',
        `exact_after` the rounds that give the exact mean or null (absent for thousands of nodes), and `lambda_2`,
        `lambda_min` are null. `rounds_examined` appears where the period is unknown, `expected_slem` for random rounds
        of which it is known: sqrt(||E[W^T W] - J||).
        """
        varying = self.period != 1
        static = None if varying else self._spectrum
        certificate: dict[str, Any] = {
            "name": self.name,
            "weights": _class_path(self.weights),
            "nodes": self.nodes,
            "edges": self._union.number_of_edges(),
            "directed": self.graph(0).is_directed(),
            "connected": len(self._component_sizes) == 1,
            "max_degree": max(_max_degree(self.graph(r)) for r in self._rounds),
            "time_varying": varying,
            "period": self.period,
            **{key: self._holds(key) for key in ("doubly_stochastic", "row_stochastic", "column_stochastic")},
            "symmetric": self._holds("symmetric"),
            "nonnegative": self._holds("nonnegative"),
            "lambda_2": None if static is None else static.lambda_2,
            "lambda_min": None if static is None else static.lambda_min,
            "slem": self._slem,
            "spectral_gap": 1 - self._slem,
        }
        if varying:
            certificate["slem_period"] = self._slem_period
            certificate["slem_rounds"] = self._slem_rounds
            if self.nodes <= MOST_NODES_EXACT:
                certificate["exact_after"] = self._exact_after
        if self.period is None:
            certificate["rounds_examined"] = len(self._rounds)
        if self._expected_slem is not None:
            certificate["expected_slem"] = self._expected_slem
        return certificate

    def problems(self, needs: frozenset[str]) -> tuple[list[str], list[str]]:
        """What a strategy that needs these properties should know: errors (needed and missing) and warnings.

        A strategy that asks for row or column sums only is not warned that W is not doubly stochastic, and
        symmetry is mentioned only where it is needed.
        """
        unknown = needs - NEEDS
        assert not unknown, f"unknown needs {sorted(unknown)}; known: {sorted(NEEDS)}"
        errors: list[str] = []
        warnings: list[str] = []
        if len(self._component_sizes) > 1:
            (errors if "connected" in needs else warnings).append(self._disconnected())
        sums = needs & {"row_stochastic", "column_stochastic", "doubly_stochastic"}
        for wanted in sorted(sums):
            if not self._holds(wanted):
                errors.append(self._not_stochastic(wanted))
        if not sums and not self._holds("doubly_stochastic"):
            warnings.append(self._not_stochastic("doubly_stochastic"))
        if "symmetric" in needs and not self._holds("symmetric"):
            errors.append(
                f"{self._where('weights')} is not symmetric (W[i, j] differs from W[j, i]); "
                f"use an undirected topology with {_ROOM}MetropolisHastings"
            )
        if "static" in needs and self.period != 1:
            errors.append(f"{self._where('topology')} changes from round to round; use one that stays, as {_ROOM}ring")
        if "tree" in needs and not nx.is_tree(self.graph(0).to_undirected(as_view=True)):
            errors.append(
                f"{self._where('topology')} is not a tree: it has cycles; use {_ROOM}path, {_ROOM}star or "
                f"{_ROOM}binary_tree"
            )
        if self._brings_weights and not isinstance(self.weights, Own):
            warnings.append(
                f"{self._where('weights')} replaces the weights that this topology brings and that its "
                f"convergence rests on; use {_ROOM}Own"
            )
        if not errors and len(self._component_sizes) == 1 and self._holds("doubly_stochastic"):
            warnings.extend(self._not_contracting())
        return errors, warnings

    # --- what the certificate and the problems are made of ---

    @property
    def _rounds(self) -> range:
        return range(_EXAMINED_ROUNDS if self.period is None else self.period)

    @cached_property
    def _properties(self) -> list[Properties]:
        return [properties(self.matrix(r)) for r in self._rounds]

    @cached_property
    def _spectrum(self) -> Spectrum:
        return spectrum(self.matrix(0))

    @cached_property
    def _slem_rounds(self) -> list[float]:
        return [contraction([self.matrix(r)]) for r in self._rounds]

    @cached_property
    def _slem_period(self) -> float:
        if self.period == 1:
            return self._spectrum.slem
        product = contraction([self.matrix(r) for r in self._rounds])
        return 0.0 if product < TOLERANCE else product

    @property
    def _exact_after(self) -> int | None:
        return exact_after([self.matrix(r) for r in self._rounds]) if self._slem_period == 0 else None

    @property
    def _slem(self) -> float:
        return math.pow(self._slem_period, 1 / len(self._rounds))

    @property
    def _expected_slem(self) -> float | None:
        """Said by the topology of the weights that it brings, or else of Metropolis-Hastings weights."""
        meant = isinstance(self.weights, Own if self._brings_weights else MetropolisHastings)
        return getattr(self.topology, "expected_slem", None) if meant else None

    def _holds(self, key: str) -> bool:
        return all(getattr(known, key) for known in self._properties)

    @cached_property
    def _union(self) -> Graph:
        if self.period == 1:
            return self.graph(0)
        if isinstance(support := getattr(self.topology, "support", None), nx.Graph):
            return _normalise(support)
        graphs = [self.graph(r) for r in self._rounds]
        directed = any(g.is_directed() for g in graphs)
        union: Graph = nx.DiGraph() if directed else nx.Graph()
        union.add_nodes_from(range(self.nodes))
        for graph in graphs:
            union.add_edges_from((graph.to_directed(as_view=True) if directed else graph).edges())
        return union

    @property
    def _brings_weights(self) -> bool:
        return callable(getattr(self.topology, "matrix", None))

    @cached_property
    def _component_sizes(self) -> list[int]:
        _, labels = connected_components(adjacency(self._union), directed=True, connection="strong")
        return sorted(np.bincount(labels).tolist(), reverse=True)

    # --- messages ---

    def _where(self, field: str) -> str:
        if field == "topology":
            return f"network.topology: {self.name} with {self.nodes} nodes"
        return f"network.weights: {_class_path(self.weights)} on {self.name} with {self.nodes} nodes"

    def _disconnected(self) -> str:
        sizes = self._component_sizes
        shown = ", ".join(map(str, sizes[:5])) + (", ..." if len(sizes) > 5 else "")
        strongly = "strongly " if self._union.is_directed() else ""
        when = {1: "", None: f" over the first {_EXAMINED_ROUNDS} rounds"}.get(
            self.period, f" over its period of {self.period} rounds"
        )
        return (
            f"{self._where('topology')} is not {strongly}connected{when}: {len(sizes)} components of "
            f"{shown} nodes cannot reach one common average; add edges (of a random graph: raise its density or "
            f"take another seed), or use a topology that is connected, such as {_ROOM}ring"
        )

    def _not_stochastic(self, wanted: str) -> str:
        axes = {"row_stochastic": (1,), "column_stochastic": (0,)}.get(wanted, (0, 1))
        names = {1: "rows", 0: "columns"}
        details = []
        for axis in axes:
            sums = np.concatenate([np.asarray(self.matrix(r).sum(axis=axis)) for r in self._rounds])
            if np.abs(sums - 1).max() > TOLERANCE:
                details.append(f"{names[axis]} sum to {sums.min():.4g} ... {sums.max():.4g}")
        if wanted == "column_stochastic":
            remedy = f"use {_ROOM}Push"
        elif not self._union.is_directed():
            remedy = f"use {_ROOM}MetropolisHastings"
        else:
            remedy = (
                f"use an undirected topology, or one where every node sends and receives equally much "
                f"({_ROOM}exponential), with {_ROOM}MetropolisHastings"
            )
        return (
            f"{self._where('weights')} is not {wanted.replace('_', ' ')} ({', '.join(details)}), "
            f"so that mixing does not keep the mean of the nodes; {remedy}"
        )

    def _not_contracting(self) -> list[str]:
        if self._is_primitive() or min(self._slem_period, self._expected_slem or 1) < 1 - 1e-12:
            return []
        lazy = f"use {_ROOM}Lazy, or weights with a positive diagonal such as {_ROOM}MetropolisHastings"
        if self._holds("nonnegative"):
            cause = "the graph is bipartite or periodic and nodes that keep no own share oscillate"
        else:
            cause = "negative weights make differences grow"
        return [f"{self._where('weights')} does not contract (slem = {self._slem:.6g} >= 1): {cause}; {lazy}"]

    def _is_primitive(self) -> bool:
        """Whether products contract in the end although one period does not: so with a positive diagonal."""
        return self._holds("nonnegative") and all(bool((self.matrix(r).diagonal() > 0).all()) for r in self._rounds)

    # --- building and keeping ---

    def _cached(self, kept: OrderedDict[int, _T], round: int, build: Callable[[int], _T]) -> _T:  # noqa: A002
        place = round if self.period is None else round % self.period
        if place not in kept:
            kept[place] = build(place)
            while self.period is None and len(kept) > _KEPT_ROUNDS:
                kept.popitem(last=False)
        return kept[place]

    def _build_graph(self, round: int) -> Graph:  # noqa: A002
        graph = self.topology if isinstance(self.topology, nx.Graph) else self.topology.graph(round)
        if not isinstance(graph, nx.Graph):
            raise ValueError(
                f"network.topology: {self.name}: graph({round}) must be a networkx graph, got {type(graph).__name__}"
            )
        if graph.number_of_nodes() != self.nodes:
            raise ValueError(self._wrong_size(graph))
        return _normalise(graph)

    def _wrong_size(self, graph: Graph) -> str:
        count = graph.number_of_nodes()
        last = self.name.rpartition(".")[2]
        ours = None if self.name.startswith(_ROOM) else ours_for(last, graph, self.nodes)
        message = f"network.topology: {self.name} has {count} nodes but network.nodes is {self.nodes}"
        if ours is None:
            return f"{message}; set network.nodes to {count}, or use a topology that takes the number of nodes"
        return f"{message}; use {_ROOM}{ours}, which has exactly as many nodes as asked for"

    def _build_matrix(self, round: int) -> Matrix:  # noqa: A002
        graph = self.graph(round)
        try:
            own = isinstance(self.weights, Own) and self._brings_weights
            W = as_matrix(self.topology.matrix(round) if own else self.weights(graph))
        except ValueError as error:
            raise ValueError(f"{self._where('weights')}: {error}") from error
        if W.shape != (self.nodes, self.nodes):
            raise ValueError(f"{self._where('weights')}: W must have shape ({self.nodes}, {self.nodes}), got {W.shape}")
        stray = abs(W) - abs(W).multiply(adjacency(graph))
        stray.setdiag(0)
        stray.eliminate_zeros()
        if stray.nnz:
            i, j = (int(ends[0]) for ends in stray.nonzero())
            raise ValueError(
                f"{self._where('weights')}: W[{i}, {j}] is not zero, but node {j} does not send to node {i} "
                f"in round {round}; give weight to neighbours only"
            )
        return W


def messages(W: Matrix) -> int:
    """Directed edges that carry a row in an exchange: entries of W off the diagonal."""
    return int(W.nnz - np.count_nonzero(W.diagonal()))


def _normalise(graph: Graph) -> Graph:
    index = {node: position for position, node in enumerate(graph)}
    simple: Graph = nx.DiGraph() if graph.is_directed() else nx.Graph()
    simple.add_nodes_from(range(len(index)))
    simple.add_edges_from((index[u], index[v]) for u, v in graph.edges() if u != v)
    return simple


def _max_degree(graph: Graph) -> int:
    A = adjacency(graph)
    return int(max(A.sum(axis=0).max(), A.sum(axis=1).max()))


def _period(topology: Any) -> int | None:
    period = getattr(topology, "period", None)
    if period is not None and (isinstance(period, bool) or not isinstance(period, int) or period < 1):
        raise ValueError(
            f"network.topology: {_class_path(topology)}.period must be a positive integer or None, got {period!r}"
        )
    return period


def _class_path(thing: Any) -> str:
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    module = str(kind.__module__)
    package = _ROOM.rstrip(".")
    return f"{package if module.startswith(package) else module}.{kind.__qualname__}"
