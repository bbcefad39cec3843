"""Topologies: exactly n nodes, the right edges, and refusals that say what would do."""

import networkx as nx
import pytest

from gossipsim import network
from gossipsim.network import NAMES, Network, OnePeerExponential, resolve

SIZED = [name for name in NAMES if name not in ("karate", "davis", "florentine", "les_miserables")]
REFERENCES = {
    "ring": (7, nx.cycle_graph(7)),
    "path": (7, nx.path_graph(7)),
    "star": (7, nx.star_graph(6)),
    "complete": (7, nx.complete_graph(7)),
    "grid": (12, nx.grid_2d_graph(3, 4)),
    "torus": (12, nx.grid_2d_graph(3, 4, periodic=True)),
    "hypercube": (16, nx.hypercube_graph(4)),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_same_graph_as_networkx(name):
    n, reference = REFERENCES[name]
    ours = NAMES[name](n)
    assert list(ours) == list(range(n))
    assert nx.is_isomorphic(ours, reference)


@pytest.mark.parametrize("name", SIZED)
def test_exactly_n_nodes_in_order(name):
    topology = resolve(name)(16)
    graph = topology if isinstance(topology, nx.Graph) else topology.graph(3)
    assert list(graph) == list(range(16))
    assert Network(16, topology).nodes == 16


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "name",
    ["ring", "path", "star", "complete", "grid", "hypercube", "erdos_renyi", "exponential", "one_peer_exponential"],
)
def test_one_and_two_nodes(name, n):
    certificate = Network(n, resolve(name)(n)).certificate()
    assert certificate["connected"]
    assert certificate["slem"] == pytest.approx(0, abs=1e-15)
    assert certificate["edges"] == {1: 0, 2: 2 if "exponential" in name else 1}[n]


def test_exponential_sends_forward_by_powers_of_two():
    assert sorted(network.exponential(10).successors(4)) == sorted([5, 6, 8, (4 + 8) % 10])
    assert network.exponential(8).out_degree(0) == 3
    topology = OnePeerExponential(10)
    assert topology.period == 4
    assert [next(iter(topology.graph(r).successors(4))) for r in range(5)] == [5, 6, 8, 2, 5]


@pytest.mark.parametrize(
    ("name", "nodes", "edges"),
    [("karate", 34, 78), ("davis", 32, 89), ("florentine", 15, 20), ("les_miserables", 77, 254)],
)
def test_social_graphs(name, nodes, edges):
    certificate = Network(nodes, resolve(name)()).certificate()
    assert (certificate["nodes"], certificate["edges"], certificate["connected"]) == (nodes, edges, True)


@pytest.mark.parametrize("name", ["erdos_renyi", "random_regular", "small_world"])
def test_random_graphs_depend_on_the_seed_alone(name):
    make = resolve(name)
    assert set(make(30).edges) == set(make(30, seed=0).edges)
    assert set(make(30, seed=1).edges) == set(make(30, seed=1).edges)
    assert set(make(30, seed=1).edges) != set(make(30, seed=2).edges)


def test_random_regular_is_regular():
    assert set(dict(network.random_regular(15, degree=6).degree).values()) == {6}
    assert network.random_regular(1, degree=0).number_of_nodes() == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: network.hypercube(12), "got 12; the nearest allowed: 8 or 16"),
        (lambda: network.torus(13), "got 13; the nearest allowed: 12 or 15"),
        (lambda: network.torus(4), "the nearest allowed: 9"),
        (lambda: network.ring(0), "ring: n must be a positive integer, got 0"),
        (lambda: network.star(True), "got True"),
        (lambda: network.path(2.0), "got 2.0"),
        (lambda: network.random_regular(4), "degree must be an integer from 0 to n - 1 = 3, got 4"),
        (lambda: network.random_regular(9, degree=3), "take degree 2 or 4, or n = 10"),
        (lambda: network.small_world(4), "take k = 2"),
        (lambda: network.small_world(9, k=3), "even number"),
        (lambda: network.erdos_renyi(4, p=1.5), "probability from 0 to 1, got 1.5"),
        (lambda: network.erdos_renyi(4, p=float("nan")), "got nan"),
        (lambda: resolve("rnig"), "did you mean 'ring'"),
        (lambda: resolve("one-peer-exponential"), "did you mean 'one_peer_exponential'"),
    ],
)
def test_refusals_name_what_is_allowed(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)


@pytest.mark.parametrize("n", [9, 12, 15, 16, 24, 36, 100])
def test_torus_is_the_most_square(n):
    graph = network.torus(n)
    assert set(dict(graph.degree).values()) == {4}
    rows = max(a for a in range(3, n) if n % a == 0 and a * a <= n)
    assert nx.diameter(graph) == rows // 2 + (n // rows) // 2
