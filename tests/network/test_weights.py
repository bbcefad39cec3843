"""Mixing matrices: every claim of every class, measured on drawn graphs."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipsim import network
from gossipsim.network import BestConstant, Lazy, MaxDegree, MetropolisHastings, Uniform, spectrum
from gossipsim.network.weights import adjacency

WEIGHTS = [MetropolisHastings(), Uniform(), MaxDegree(), BestConstant(), Lazy(), Lazy(Uniform()), Lazy(BestConstant())]


@st.composite
def graphs(draw, directed=False):
    n = draw(st.integers(1, 9))
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j and (directed or i < j)]
    kept = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(kept)
    return graph


def claimed_hold(weights, graph):
    kind = "directed" if graph.is_directed() else "undirected"
    measured = spectrum(weights(graph))
    return {claim for claim in weights.claims[kind] if not getattr(measured, claim)} == set()


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda w: type(w).__name__)
@settings(max_examples=40, deadline=None)
@given(graph=graphs())
def test_claims_on_undirected_graphs(weights, graph):
    W = weights(graph)
    assert claimed_hold(weights, graph)
    np.testing.assert_allclose(W.toarray().sum(axis=1), 1, atol=1e-14)
    off_diagonal = W.toarray() * (1 - np.eye(len(graph)))
    assert np.array_equal(off_diagonal != 0, nx.to_numpy_array(graph, weight=None) != 0)
    assert W.dtype == np.float64
    assert W.has_sorted_indices
    assert np.all(W.data != 0)
    if "doubly_stochastic" in weights.claims["undirected"]:
        X = np.random.default_rng(0).standard_normal((len(graph), 3))
        np.testing.assert_allclose((W @ X).mean(axis=0), X.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("weights", [MetropolisHastings(), Uniform(), MaxDegree(), Lazy()])
@settings(max_examples=40, deadline=None)
@given(graph=graphs(directed=True))
def test_claims_on_directed_graphs(weights, graph):
    W = weights(graph).toarray()
    assert claimed_hold(weights, graph)
    # u -> v: v gives weight to what it receives from u.
    assert np.array_equal((W * (1 - np.eye(len(graph)))).T != 0, nx.to_numpy_array(graph) != 0)
    assert np.all(np.diag(W) > 0)


@settings(max_examples=40, deadline=None)
@given(graph=graphs())
def test_metropolis_hastings_is_its_formula(graph):
    W, degree = MetropolisHastings()(graph).toarray(), dict(graph.degree)
    for u, v in graph.edges:
        assert W[u, v] == W[v, u] == 1 / (1 + max(degree[u], degree[v]))
    both_ways = MetropolisHastings()(graph.to_directed())
    assert np.array_equal(W, both_ways.toarray())


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_regular_digraphs_are_doubly_stochastic(n):
    for weights in (MetropolisHastings(), MaxDegree(), Uniform()):
        measured = spectrum(weights(network.exponential(n)))
        assert measured.doubly_stochastic
        assert measured.nonnegative


def test_balanced_digraph_under_max_degree():
    balanced = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 3), (3, 0)])
    assert spectrum(MaxDegree()(balanced)).doubly_stochastic
    assert not spectrum(Uniform()(balanced)).doubly_stochastic


def test_uniform_agrees_on_the_degree_weighted_average():
    graph = network.star(5)
    W = Uniform()(graph).toarray()
    assert not spectrum(W).column_stochastic
    limit = np.linalg.matrix_power(W, 200) @ np.array([1.0, 0, 0, 0, 0])
    np.testing.assert_allclose(limit, 5 / (5 + 4 * 2))


@pytest.mark.parametrize("name", ["karate", "les_miserables", "davis", "florentine"])
def test_edge_attribute_weight_is_ignored(name):
    graph = getattr(network, name)()
    bare = nx.Graph()
    bare.add_nodes_from(graph)
    bare.add_edges_from(graph.edges())
    for weights in WEIGHTS:
        assert np.array_equal(weights(graph).toarray(), weights(bare).toarray())
    heaviest = max(dict(graph.degree()).values())
    assert MaxDegree()(graph).diagonal().min() == pytest.approx(1 / (1 + heaviest))


def test_self_loops_and_multi_edges_do_not_count():
    messy = nx.MultiGraph([("a", "b"), ("a", "b"), ("b", "c"), ("c", "c")])
    assert np.array_equal(adjacency(messy).toarray(), [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert np.array_equal(MetropolisHastings()(messy).toarray(), MetropolisHastings()(nx.path_graph(3)).toarray())


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda w: type(w).__name__)
def test_one_node(weights):
    assert weights(network.ring(1)).toarray().tolist() == [[1.0]]


@pytest.mark.parametrize("name", ["ring", "path", "star", "complete", "karate"])
def test_best_constant_is_best(name):
    graph = network.karate() if name == "karate" else getattr(network, name)(9)
    L = nx.laplacian_matrix(graph, weight=None).toarray().astype(float)
    eigenvalues = np.linalg.eigvalsh(L)
    best = spectrum(BestConstant()(graph)).slem
    smallest, largest = eigenvalues[1], eigenvalues[-1]
    assert best == pytest.approx((largest - smallest) / (largest + smallest), abs=1e-12)
    step = 2 / (smallest + largest)
    assert all(spectrum(np.eye(len(L)) - factor * step * L).slem >= best for factor in (0.98, 1.02))


def test_lazy_halves_and_lifts():
    base = spectrum(MetropolisHastings()(network.hypercube(8)))
    lazy = spectrum(Lazy()(network.hypercube(8)))
    assert lazy.lambda_min == pytest.approx((1 + base.lambda_min) / 2)
    assert lazy.lambda_2 == pytest.approx((1 + base.lambda_2) / 2)


def test_refusals():
    with pytest.raises(ValueError, match=r"BestConstant needs an undirected graph.*MetropolisHastings"):
        BestConstant()(network.exponential(5))
    assert "directed" not in BestConstant().claims
    with pytest.raises(ValueError, match="base must be weights, got 'Uniform'"):
        Lazy("Uniform")
