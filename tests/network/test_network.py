"""Network: normalising, refusing, certifying, and what strategies are told."""

import json

import networkx as nx
import numpy as np
import pytest

from gossipsim import network
from gossipsim.network import BestConstant, Lazy, Network, OnePeerExponential, Uniform

DOUBLY = frozenset({"connected", "doubly_stochastic"})


class Alternating:
    """Edges 0-1, 2-3 in even rounds, 1-2, 3-0 in odd ones: connected over a period only."""

    period = 2

    def graph(self, round_number):
        graph = nx.empty_graph(4)
        graph.add_edges_from([(0, 1), (2, 3)] if round_number % 2 == 0 else [(1, 2), (3, 0)])
        return graph


class Aperiodic:
    """A ring whose direction nobody can foresee; counts how often it is asked."""

    def __init__(self):
        self.asked = []

    def graph(self, round_number):
        self.asked.append(round_number)
        return nx.cycle_graph(5)


class MaxDegreeWithoutOwnShare:
    """W = A / d: the textbook weights that never mix on a bipartite graph."""

    def __call__(self, graph):
        A = nx.to_numpy_array(graph, weight=None)
        return A / A.sum(axis=1, keepdims=True)


def test_labels_follow_networkx_order():
    graph = nx.grid_2d_graph(2, 3)
    net = Network(6, graph)
    assert list(net.graph(0)) == list(range(6))
    expected = nx.to_numpy_array(graph, weight=None)
    assert np.array_equal(nx.to_numpy_array(net.graph(0)), expected)
    named = Network(3, nx.Graph([("c", "a"), ("a", "b")]))
    assert set(named.graph(0).edges) == {(0, 1), (1, 2)}


def test_normalised_graph_is_simple_and_bare():
    messy = nx.MultiDiGraph()
    messy.add_weighted_edges_from([(0, 1, 5.0), (0, 1, 7.0), (1, 1, 1.0), (1, 2, 2.0), (2, 0, 1.0)])
    graph = Network(3, messy).graph(0)
    assert type(graph) is nx.DiGraph
    assert set(graph.edges) == {(0, 1), (1, 2), (2, 0)}
    assert all(not data for _, _, data in graph.edges(data=True))


def test_matrix_is_kept_and_clean():
    net = Network(16, network.torus(16))
    assert net.matrix(0) is net.matrix(7)
    assert net.matrix(0).has_sorted_indices
    assert net.matrix(0).dtype == np.float64
    assert np.all(Network(4, network.complete(4)).matrix(0).data == 0.25)


@pytest.mark.parametrize(
    ("nodes", "graph", "name", "says"),
    [
        (8, nx.star_graph(8), "networkx.star_graph", "use gossipsim.network.star"),
        (8, nx.star_graph(8), None, "use gossipsim.network.star"),
        (3, nx.hypercube_graph(3), "networkx.hypercube_graph", "use gossipsim.network.hypercube"),
        (4, nx.hypercube_graph(4), None, "use gossipsim.network.hypercube"),
        (4, nx.grid_2d_graph(4, 4), "networkx.grid_2d_graph", "use gossipsim.network.grid"),
        (
            8,
            nx.karate_club_graph(),
            "gossipsim.network.karate",
            "has 34 nodes but network.nodes is 8; set network.nodes to 34",
        ),
    ],
)
def test_wrong_node_count_names_the_way_out(nodes, graph, name, says):
    with pytest.raises(ValueError) as error:
        Network(nodes, graph, name=name)
    assert says in str(error.value)


def test_wrong_count_in_a_later_round():
    class Growing:
        def graph(self, round_number):
            return nx.path_graph(3 + round_number)

    net = Network(3, Growing())
    with pytest.raises(ValueError, match=r"4 nodes but network\.nodes is 3"):
        net.graph(1)


@pytest.mark.parametrize("topology", [None, 3, object(), np.eye(3)])
def test_what_is_no_topology(topology):
    with pytest.raises(ValueError, match="networkx graph or an object with graph"):
        Network(3, topology)


@pytest.mark.parametrize("nodes", [0, -1, True, 2.5])
def test_what_is_no_number_of_nodes(nodes):
    with pytest.raises(ValueError, match=r"network\.nodes"):
        Network(nodes, network.ring(3))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (lambda graph: np.eye(3), r"shape \(4, 4\), got \(3, 3\)"),
        (lambda graph: np.full((4, 4), np.nan), "finite"),
        (lambda graph: np.full((4, 4), 0.25), r"W\[0, 2\] is not zero, but node 2 does not send to node 0"),
    ],
)
def test_weights_that_cannot_be(weights, says):
    with pytest.raises(ValueError, match=says):
        Network(4, network.ring(4), weights).matrix(0)


def test_one_node():
    net = Network(1, network.complete(1))
    assert net.matrix(0).toarray().tolist() == [[1.0]]
    assert net.certificate()["slem"] == 0
    assert net.problems(DOUBLY) == ([], [])


def test_certificate_is_json_with_the_promised_keys():
    for topology in (network.karate(), network.exponential(34), OnePeerExponential(34)):
        certificate = json.loads(json.dumps(Network(34, topology, name="some.graph").certificate(), allow_nan=False))
        promised = {
            "name", "nodes", "edges", "connected", "directed", "time_varying", "doubly_stochastic", "symmetric",
            "lambda_2", "lambda_min", "slem", "spectral_gap", "max_degree",
        }  # fmt: skip
        assert promised <= certificate.keys()
        assert certificate["name"] == "some.graph"
    net = Network(8, OnePeerExponential(8))
    assert net.name == "gossipsim.network.OnePeerExponential"
    assert net.certificate()["weights"] == "gossipsim.network.MetropolisHastings"
    assert net.certificate()["edges"] == 24
    assert net.certificate()["max_degree"] == 1


def test_a_period_is_built_once():
    net = Network(8, OnePeerExponential(8))
    assert net.period == 3
    assert net.graph(1) is net.graph(4)
    assert net.matrix(2) is net.matrix(302)
    assert not np.array_equal(net.matrix(0).toarray(), net.matrix(1).toarray())


def test_connected_over_a_period():
    certificate = Network(4, Alternating()).certificate()
    assert certificate["connected"]
    assert certificate["slem_rounds"] == pytest.approx([1, 1])
    assert certificate["slem_period"] == certificate["slem"] == 0
    assert certificate["edges"] == 4
    assert Network(4, Alternating()).problems(DOUBLY) == ([], [])


def test_unknown_period_examines_some_rounds():
    topology = Aperiodic()
    net = Network(5, topology)
    certificate = net.certificate()
    assert certificate["time_varying"]
    assert certificate["period"] is None
    assert certificate["rounds_examined"] == 16
    assert certificate["slem"] == pytest.approx(1 / 3 + 2 / 3 * np.cos(2 * np.pi / 5))
    net.matrix(40)
    asked = len(topology.asked)
    net.graph(40)
    net.matrix(40)
    assert len(topology.asked) == asked


def test_a_bad_period_is_refused():
    topology = Alternating()
    topology.period = 0
    with pytest.raises(ValueError, match="period must be a positive integer or None, got 0"):
        Network(4, topology)


def test_disconnected():
    net = Network(7, nx.disjoint_union(nx.path_graph(5), nx.path_graph(2)), name="my.graph")
    errors, warnings = net.problems(DOUBLY)
    assert warnings == []
    assert len(errors) == 1
    assert "my.graph with 7 nodes is not connected: 2 components of 5, 2 nodes" in errors[0]
    assert "gossipsim.network.ring" in errors[0]
    errors, warnings = net.problems(frozenset({"doubly_stochastic"}))
    assert errors == []
    assert len(warnings) == 1


def test_one_way_street_is_not_strongly_connected():
    errors, _ = Network(3, nx.path_graph(3, create_using=nx.DiGraph)).problems(frozenset({"connected"}))
    assert "not strongly connected: 3 components" in errors[0]


def test_row_stochastic_only():
    net = Network(5, network.star(5), Uniform(), name="gossipsim.network.star")
    errors, warnings = net.problems(DOUBLY)
    assert warnings == []
    assert len(errors) == 1
    assert "gossipsim.network.Uniform on gossipsim.network.star" in errors[0]
    assert "is not doubly stochastic (columns sum to 0.7 ... 2.2)" in errors[0]
    assert "use gossipsim.network.MetropolisHastings" in errors[0]
    assert net.problems(frozenset({"row_stochastic"})) == ([], [])
    assert len(net.problems(frozenset({"column_stochastic"}))[0]) == 1
    assert len(net.problems(frozenset())[1]) == 1


def test_irregular_digraph_points_to_another_topology():
    net = Network(3, nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)]))
    errors, _ = net.problems(DOUBLY)
    assert "use an undirected topology" in errors[0]
    assert (
        "symmetric" in Network(4, network.exponential(5).subgraph(range(4))).problems(frozenset({"symmetric"}))[0][-1]
    )


def test_bipartite_without_own_share_oscillates():
    net = Network(6, network.ring(6), MaxDegreeWithoutOwnShare())
    assert net.certificate()["slem"] == pytest.approx(1)
    errors, warnings = net.problems(DOUBLY)
    assert errors == []
    assert len(warnings) == 1
    assert "does not contract (slem = 1 >= 1)" in warnings[0]
    assert "gossipsim.network.Lazy" in warnings[0]
    assert Network(6, network.ring(6), Lazy(MaxDegreeWithoutOwnShare())).problems(DOUBLY) == ([], [])
    assert Network(5, network.ring(5), MaxDegreeWithoutOwnShare()).problems(DOUBLY) == ([], [])


def test_growing_differences_are_named():
    net = Network(2, network.ring(2), lambda graph: np.array([[1.5, -0.5], [-0.5, 1.5]]))
    assert "negative weights make differences grow" in net.problems(DOUBLY)[1][0]


def test_a_period_that_contracts_only_later_is_no_problem():
    """One of three edges per round: ||product - J|| may stay at one over a short window, yet the powers contract."""

    class Turning:
        period = 2

        def graph(self, round_number):
            graph = nx.empty_graph(3)
            graph.add_edge(*((0, 1) if round_number % 2 == 0 else (1, 2)))
            return graph

    net = Network(3, Turning())
    assert net.certificate()["slem_rounds"] == pytest.approx([1, 1])
    assert net.certificate()["slem_period"] < 1
    assert net.problems(DOUBLY) == ([], [])


def test_directed_cycle_without_own_share_is_named():
    def forward(graph):
        return nx.to_numpy_array(graph).T

    errors, warnings = Network(4, nx.cycle_graph(4, create_using=nx.DiGraph), forward).problems(DOUBLY)
    assert errors == []
    assert "oscillate" in warnings[0]


@pytest.mark.parametrize("make", [network.ring, network.star, network.torus, network.exponential])
def test_good_networks_have_no_problems(make):
    assert Network(9, make(9)).problems(DOUBLY) == ([], [])
    if make is not network.exponential:
        assert Network(9, make(9), BestConstant()).problems(DOUBLY | {"symmetric"}) == ([], [])
