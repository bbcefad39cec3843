"""Pairwise gossip: in each round some pairs of nodes, drawn at random, average; the others keep what they have.

    RandomMatching    everyone is paired, with anyone (n odd: one rests)
    PairwiseGossip    one random edge of a graph, or random edges until no two neighbours are left alone

W is a projection in every round, so that E[W^T W] = E[W]: the squared error contracts in expectation by
lambda_2(E[W]) per round. For RandomMatching that is (n - 2) / (2 (n - 1)), 1/2 for odd n; for one edge of a
graph with m edges and Laplacian L, E[W] = I - L / (2 m). Metropolis-Hastings gives these weights, 1/2 and 1/2.

A round is a function of the seed and its number: every process can ask for any, and nothing repeats. One node
exchanges nothing.

Source: Boyd, Ghosh, Prabhakar & Shah, "Randomized Gossip Algorithms", IEEE Transactions on Information
Theory, 2006.
"""

from __future__ import annotations

import math
from typing import Any

import networkx as nx

from gossipsim.network.ours import check_growth
from gossipsim.network.spectrum import extremes
from gossipsim.network.topologies import Graph, check_size, undirected
from gossipsim.network.weights import MaxDegree, adjacency


class RandomMatching:
    """A random perfect matching of all nodes in each round; of an odd number one rests.

    Args:
        n: the number of nodes.
        seed: of all draws.

    Attributes:
        expected_slem: sqrt(||E[W^T W] - J||), by which sqrt(consensus) shrinks per round in the mean square.

    >>> RandomMatching(16).graph(5).number_of_edges(), round(RandomMatching(16).expected_slem ** 2, 6)
    (8, 0.466667)
    """

    def __init__(self, n: int, seed: int = 0) -> None:
        check_size("random_matching", n)
        self.n, self.seed = n, seed
        paired = (n - n % 2) / n
        self.expected_slem = math.sqrt(max(0.0, 1 - paired * n / (2 * (n - 1)))) if n > 1 else 0.0

    def graph(self, round: int) -> Graph:  # noqa: A002  the protocol's name
        """The pairs of one round; `round` counts from 0."""
        from gossipsim.streams import draws

        order = draws(self.seed, "random_matching", round).permutation(self.n).tolist()
        return undirected(self.n, zip(order[::2], order[1::2], strict=False))


class PairwiseGossip:
    """Random edges of a graph: one per round, or a maximal matching, to which no edge can be added.

    Args:
        n: the number of nodes.
        graph: the name of a topology, such as "torus", or a graph of n nodes; undirected and connected.
        maximal: whether edges are drawn until none is left between two nodes that are alone.
        seed: of all draws.

    Attributes:
        support: the graph that edges are drawn from.
        expected_slem: sqrt(||E[W^T W] - J||), by which sqrt(consensus) shrinks per round in the mean square;
            None for `maximal`, where no closed form is known.

    >>> PairwiseGossip(16, "torus").graph(0).number_of_edges()
    1

    Raises:
        ValueError: when the graph is directed, not connected, changing, or has another number of nodes.
    """

    def __init__(self, n: int, graph: str | Graph = "complete", maximal: bool = False, seed: int = 0) -> None:
        self.support = base_graph("pairwise", graph, n)
        self.n, self.maximal, self.seed = n, maximal, seed
        self._edges = sorted((min(edge), max(edge)) for edge in self.support.edges)
        self.expected_slem = None if maximal else self._expected_slem()

    def _expected_slem(self) -> float:
        if self.n == 1:
            return 0.0
        # I - L / (1 + d_max), whose second eigenvalue is mapped to that of I - L / (2 m).
        lambda_2, _ = extremes(MaxDegree()(self.support))
        degree = float(adjacency(self.support).sum(axis=1).max())
        return math.sqrt(1 - (1 - lambda_2) * (1 + degree) / (2 * len(self._edges)))

    def graph(self, round: int) -> Graph:  # noqa: A002  the protocol's name
        """The pairs of one round; `round` counts from 0."""
        from gossipsim.streams import draws

        drawn = draws(self.seed, "pairwise", round)
        if not self._edges:
            return undirected(self.n, ())
        if not self.maximal:
            return undirected(self.n, [self._edges[drawn.integers(len(self._edges))]])
        alone = [True] * self.n
        pairs = []
        for place in drawn.permutation(len(self._edges)).tolist():
            i, j = self._edges[place]
            if alone[i] and alone[j]:
                alone[i] = alone[j] = False
                pairs.append((i, j))
        return undirected(self.n, pairs)


def base_graph(family: str, graph: str | Graph, n: int) -> Graph:
    """The graph that a random topology draws from, with nodes 0..n-1: given, or built by its name for `n` nodes.

    Raises:
        ValueError: when it is directed, not connected, changing, or has another number of nodes.
    """
    from gossipsim.network.names import resolve
    from gossipsim.spec import BuildError, build

    check_size(family, n)
    built: Any = graph
    if isinstance(graph, str):
        path = graph if "." in graph else f"gossipsim.network.{resolve(graph).__name__}"
        check_growth(path, n)
        try:
            built = build(path, seed=0, **dict.fromkeys(("n", "nodes", "num_nodes", "n_nodes"), n))
        except BuildError as error:
            raise ValueError(f"{family}: graph: {error}") from error
    problem = None
    if not isinstance(built, nx.Graph):
        problem = f"must be a graph that does not change, got {type(built).__name__}"
    elif built.is_directed():
        problem = "must be undirected"
    elif built.number_of_nodes() != n:
        problem = f"has {built.number_of_nodes()} nodes, but there are {n} in the network"
    elif not nx.is_connected(built):
        problem = "must be connected"
    if problem is not None:
        raise ValueError(f'{family}: graph: {problem}; name one of any size, such as "ring", or give a spec')
    index = {node: place for place, node in enumerate(built)}
    return undirected(n, ((index[u], index[v]) for u, v in built.edges() if u != v))
