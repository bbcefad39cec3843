"""Trees, bottlenecks, random graphs, the expander and edge lists, against networkx's own constructions."""

import itertools

import networkx as nx
import numpy as np
import pytest

from gossipsim import network
from gossipsim.network import MetropolisHastings, Network, spectrum


def edges(graph):
    return {frozenset(edge) for edge in graph.edges}


SIZES = [1, 2, 3, 4, 5, 8, 13, 16, 25, 40]


@pytest.mark.parametrize("n", SIZES)
def test_directed_ring_is_a_directed_cycle(n):
    graph = network.directed_ring(n)
    assert set(graph.edges) == ({(i, (i + 1) % n) for i in range(n)} if n > 1 else set())
    measured = spectrum(MetropolisHastings()(graph))
    assert measured.doubly_stochastic
    # Eigenvalues (1 + e^(2 pi i k / n)) / 2 of modulus |cos(pi k / n)|.
    assert measured.slem == pytest.approx(np.cos(np.pi / n) if n > 1 else 0, abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_binary_tree_is_full(n):
    assert set(network.binary_tree(n).edges) == {tuple(sorted(e)) for e in nx.full_rary_tree(2, n).edges}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("spine", [None, 1, 3])
def test_caterpillar_is_a_path_with_leaves(n, spine):
    if spine is not None and spine > n:
        pytest.skip("longer than the graph")
    graph = network.caterpillar(n, spine)
    length = spine or (n + 1) // 2
    assert nx.is_tree(graph)
    assert nx.is_isomorphic(graph.subgraph(range(length)), nx.path_graph(length))
    leaves = [graph.degree(leaf) for leaf in range(length, n)]
    assert leaves == [1] * (n - length)
    hanging = [sum(v >= length for v in graph[s]) for s in range(length)]
    assert max(hanging) - min(hanging) <= 1


@pytest.mark.parametrize("n", [4, 5, 8, 13, 16])
def test_bottlenecks_are_networkx_s(n):
    half, third = n // 2, max(n // 3, 1)
    if n % 2 == 0:
        assert edges(network.two_cliques(n)) == edges(nx.barbell_graph(half, 0))
    if third >= 2:
        assert edges(network.barbell(n)) == edges(nx.barbell_graph(third, n - 2 * third))
    for clique in range(2, half + 1):
        assert edges(network.barbell(n, clique)) == edges(nx.barbell_graph(clique, n - 2 * clique))
    for clique in range(2, n + 1):
        assert edges(network.lollipop(n, clique)) == edges(nx.lollipop_graph(clique, n - clique))
    assert edges(network.lollipop(n)) == edges(network.lollipop(n, (n + 1) // 2))


def test_odd_two_cliques():
    graph = network.two_cliques(7)
    assert graph.number_of_edges() == 6 + 3 + 1
    assert list(nx.bridges(graph)) == [(3, 4)]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "name",
    ["directed_ring", "binary_tree", "caterpillar", "two_cliques", "barbell", "lollipop", "geometric", "base"],
)
def test_one_and_two_nodes(name, n):
    certificate = Network(n, network.resolve(name)(n)).certificate()
    assert certificate["connected"]
    assert certificate["slem"] == pytest.approx(0, abs=1e-15)


def test_geometric_joins_what_is_near():
    n, radius = 60, 0.4
    graph = network.geometric(n, radius, seed=3)
    points = np.random.default_rng(3).random((n, 2))
    near = {(i, j) for i, j in itertools.combinations(range(n), 2) if np.hypot(*(points[i] - points[j])) <= radius}
    assert set(graph.edges) == near
    assert set(network.geometric(n, radius, seed=4).edges) != near


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 50, 200])
def test_geometric_connects_by_default(n):
    assert all(nx.is_connected(network.geometric(n, seed=seed)) for seed in range(10))


def test_geometric_error_names_a_radius_that_does():
    with pytest.raises(ValueError, match=r"30 nodes drawn with seed 0 are not connected at radius 0\.05") as error:
        network.geometric(30, radius=0.05)
    needed = float(str(error.value).split("at least ")[1].split(",")[0])
    assert nx.is_connected(network.geometric(30, radius=needed))
    with pytest.raises(ValueError, match="not connected"):
        network.geometric(30, radius=needed - 2e-4)


def test_barabasi_albert():
    graph = network.barabasi_albert(50, m=3)
    assert nx.is_connected(graph)
    assert graph.number_of_edges() == (50 - 3) * 3
    assert set(graph.edges) == set(network.barabasi_albert(50, m=3, seed=0).edges)
    assert set(graph.edges) != set(network.barabasi_albert(50, m=3, seed=1).edges)
    assert set(network.barabasi_albert(2, m=1).edges) == {(0, 1)}


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 10])
def test_expander_is_margulis_gabber_galil(side):
    reference = nx.margulis_gabber_galil_graph(side)
    expected = {frozenset((x * side + y, u * side + v)) for (x, y), (u, v) in reference.edges()}
    ours = network.expander(side**2)
    assert edges(ours) == {edge for edge in expected if len(edge) == 2}
    assert Network(side**2, ours).certificate()["max_degree"] <= 8


def test_expander_keeps_its_gap():
    """Second eigenvalue of the 8-regular multigraph <= 5 sqrt(2), so the gap of MaxDegree weights stays open."""
    gaps = [spectrum(network.MaxDegree()(network.expander(side**2))).spectral_gap for side in (8, 16, 20)]
    assert min(gaps) > (8 - 5 * np.sqrt(2)) / 9
    assert spectrum(MetropolisHastings()(network.grid(20**2))).spectral_gap < 0.01


def test_edge_list(tmp_path):
    file = tmp_path / "graph.txt"
    file.write_text("# a comment\n2 10\n\n0,2  # another\n7\n10\t2\n")
    graph = network.edge_list(str(file))
    assert list(graph) == [0, 1, 2, 3]  # names 0, 2, 7, 10
    assert edges(graph) == {frozenset((1, 3)), frozenset((0, 1))}
    arcs = network.edge_list(str(file), directed_edges=True)
    assert set(arcs.edges) == {(1, 3), (0, 1), (3, 1)}
    file.write_text("b a\na c\n")
    assert set(network.edge_list(str(file)).edges) == {(0, 1), (1, 2)}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: network.expander(12), "got 12; the nearest allowed: 9 or 16"),
        (lambda: network.barbell(8, clique=5), "clique must be an integer from 1 to 4, got 5"),
        (lambda: network.lollipop(8, clique=0), "clique must be an integer from 1 to 8, got 0"),
        (lambda: network.caterpillar(4, spine=5), "spine must be an integer from 1 to 4, got 5"),
        (lambda: network.caterpillar(4, spine=True), "got True"),
        (lambda: network.barabasi_albert(1), "n must be at least 2, got 1"),
        (lambda: network.barabasi_albert(5, m=5), "m must be an integer from 1 to n - 1 = 4, got 5"),
        (lambda: network.geometric(5, radius=float("nan")), "radius must be positive, got nan"),
        (lambda: network.two_cliques(0), "two_cliques: n must be a positive integer, got 0"),
        (lambda: network.edge_list("no/such/file"), "cannot read no/such/file"),
        (lambda: network.resolve("barbel"), "did you mean 'barbell'"),
    ],
)
def test_refusals_name_what_is_allowed(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)


@pytest.mark.parametrize(("text", "says"), [("0 1\n1 2 3\n", ":2: a line holds one edge"), ("# \n", "names no node")])
def test_edge_list_refusals(tmp_path, text, says):
    file = tmp_path / "graph.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=says):
        network.edge_list(str(file))
