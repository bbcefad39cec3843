"""More topologies: trees, bottlenecks, random geometric and scale-free graphs, an expander, a file.

The bottlenecks (barbell, lollipop, two cliques) are the graphs on which gossip is slow although most nodes
have many neighbours; the expander is fast with eight. Each function returns a graph of exactly `n` nodes.

Sources: random geometric graphs: Boyd, Ghosh, Prabhakar & Shah, "Randomized Gossip Algorithms", 2006;
preferential attachment: Barabási & Albert, 1999; the expander: Margulis 1973, Gabber & Galil 1981.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import networkx as nx
import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist, squareform

from gossipsim.network.topologies import DiGraph, Graph, check_size, directed, undirected


def directed_ring(n: int) -> DiGraph:
    """Node i sends to i + 1 (mod n) only: the fewest messages that connect everyone.

    >>> sorted(directed_ring(3).edges)
    [(0, 1), (1, 2), (2, 0)]
    """
    check_size("directed_ring", n)
    return directed(n, ((i, (i + 1) % n) for i in range(n) if n > 1))


def binary_tree(n: int) -> Graph:
    """Node i > 0 exchanges with its parent (i - 1) // 2; the last level is filled from the left."""
    check_size("binary_tree", n)
    return undirected(n, (((i - 1) // 2, i) for i in range(1, n)))


def caterpillar(n: int, spine: int | None = None) -> Graph:
    """A path of `spine` nodes, the others hang on it in turn as leaves; None means half the nodes, rounded up.

    Raises:
        ValueError: when `spine` is not from 1 to n.
    """
    check_size("caterpillar", n)
    length = _part("caterpillar", "spine", spine, default=(n + 1) // 2, largest=n)
    leaves = ((leaf % length, leaf) for leaf in range(length, n))
    return undirected(n, itertools.chain(itertools.pairwise(range(length)), leaves))


def two_cliques(n: int) -> Graph:
    """Two halves, each completely connected, and one edge between them; of an odd `n` the first is larger."""
    check_size("two_cliques", n)
    half = (n + 1) // 2
    bridge = [(half - 1, half)] if n > 1 else []
    return undirected(n, [*_clique(0, half), *bridge, *_clique(half, n)])


def barbell(n: int, clique: int | None = None) -> Graph:
    """Two cliques of `clique` nodes joined by a path of the other nodes; None means a third of the nodes.

    One or two nodes give a path. Relaxation takes of the order of n^3 rounds when all three parts grow.

    Raises:
        ValueError: when `clique` is not from 1 to n / 2.
    """
    check_size("barbell", n)
    size = _part("barbell", "clique", clique, default=max(n // 3, 1), largest=max(n // 2, 1))
    if n == 1:
        return undirected(1, ())
    bridge = itertools.pairwise(range(size - 1, n - size + 1))
    return undirected(n, [*_clique(0, size), *bridge, *_clique(n - size, n)])


def lollipop(n: int, clique: int | None = None) -> Graph:
    """A clique of `clique` nodes with a path of the others as its stick; None means half, rounded up.

    Raises:
        ValueError: when `clique` is not from 1 to n.
    """
    check_size("lollipop", n)
    size = _part("lollipop", "clique", clique, default=(n + 1) // 2, largest=n)
    return undirected(n, [*_clique(0, size), *itertools.pairwise(range(size - 1, n))])


def geometric(n: int, radius: float | None = None, seed: int = 0) -> Graph:
    """Nodes at random points of the unit square; those at most `radius` apart exchange. Always connected.

    None means sqrt(2 ln n / n), 2.5 times the radius sqrt(ln n / (pi n)) at which such graphs become connected.

    Raises:
        ValueError: when `radius` is not positive, or the drawn points are not connected at it.
    """
    check_size("geometric", n)
    if radius is None:
        radius = math.sqrt(2 * math.log(max(n, 2)) / n)
    if not radius > 0:
        raise ValueError(f"geometric: radius must be positive, got {radius!r}")
    points = np.random.default_rng(seed).random((n, 2))
    graph = undirected(n, sorted(KDTree(points).query_pairs(radius)))
    if not nx.is_connected(graph):
        needed = float(minimum_spanning_tree(squareform(pdist(points))).max())
        raise ValueError(
            f"geometric: {n} nodes drawn with seed {seed} are not connected at radius {radius:.6g}; "
            f"take a radius of at least {math.ceil(needed * 1e4) / 1e4:.4f}, or another seed"
        )
    return graph


def barabasi_albert(n: int, m: int = 2, seed: int = 0) -> Graph:
    """Nodes join one by one and choose `m` earlier ones, the popular ones more often: hubs. Connected.

    Raises:
        ValueError: when `m` is not from 1 to n - 1; a network of one node has no such graph.
    """
    check_size("barabasi_albert", n)
    if isinstance(m, bool) or not isinstance(m, int) or not 1 <= m < n:
        allowed = (
            f"m must be an integer from 1 to n - 1 = {n - 1}, got {m!r}" if n > 1 else "n must be at least 2, got 1"
        )
        raise ValueError(f"barabasi_albert: {allowed}")
    return undirected(n, nx.barabasi_albert_graph(n, m, seed=seed).edges)


def expander(n: int) -> Graph:
    """Margulis-Gabber-Galil: on a square of sides s = sqrt(n), (x, y) meets (x ± 2y, y), (x ± (2y + 1), y) and the
    same with x and y exchanged, mod s. At most eight neighbours, and a spectral gap that does not close as n grows.

    Raises:
        ValueError: when `n` is not a square number.
    """
    check_size("expander", n)
    side = math.isqrt(n)
    if side * side != n:
        raise ValueError(
            f"expander: n must be a square number, got {n}; the nearest allowed: {side**2} or {(side + 1) ** 2}"
        )

    def neighbours(x: int, y: int) -> list[tuple[int, int]]:
        # With the inverse maps, which the undirected edges give for free.
        return [(x + 2 * y, y), (x + 2 * y + 1, y), (x, y + 2 * x), (x, y + 2 * x + 1)]

    pairs = (
        (x * side + y, other_x % side * side + other_y % side)
        for x, y in itertools.product(range(side), repeat=2)
        for other_x, other_y in neighbours(x, y)
    )
    return undirected(n, (pair for pair in pairs if pair[0] != pair[1]))


def edge_list(path: str, directed_edges: bool = False) -> Graph:
    """The graph of a text file: one edge per line, two node names separated by blanks or a comma.

    ``u v`` reads "u sends to v" where `directed_edges`. A line with one name is a node, which may stay
    without edges; what follows ``#`` is a comment. Names that are all integers are put in their order, others
    in the order of their first appearance. A relative path starts in the working directory.

    Raises:
        ValueError: when the file cannot be read, a line has more than two names, or there is no node at all.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"edge_list: path: cannot read {path}: {error}") from error
    edges: list[list[str]] = []
    for number, line in enumerate(lines, 1):
        names = line.partition("#")[0].replace(",", " ").split()
        if len(names) > 2:
            raise ValueError(f"edge_list: {path}:{number}: a line holds one edge (two names), got {len(names)} names")
        edges.append(names)
    nodes = list(dict.fromkeys(name for names in edges for name in names))
    if not nodes:
        raise ValueError(f"edge_list: {path} names no node; write one edge per line, such as `0 1`")
    if all(name.isdecimal() for name in nodes):
        nodes.sort(key=int)
    index = {name: place for place, name in enumerate(nodes)}
    pairs = ((index[names[0]], index[names[1]]) for names in edges if len(names) == 2)
    return directed(len(nodes), pairs) if directed_edges else undirected(len(nodes), pairs)


def _clique(first: int, stop: int) -> itertools.combinations[tuple[int, int]]:
    return itertools.combinations(range(first, stop), 2)


def _part(family: str, name: str, value: int | None, *, default: int, largest: int) -> int:
    """The size of a part of the graph, checked."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise ValueError(f"{family}: {name} must be an integer from 1 to {largest}, got {value!r}")
    return value
