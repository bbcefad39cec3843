"""Push, Sinkhorn and weights from a file: claims on drawn graphs, and independent constructions."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipsim import network
from gossipsim.network import FromFile, MetropolisHastings, Network, Push, Sinkhorn, spectrum


@st.composite
def graphs(draw, directed=False):
    n = draw(st.integers(1, 9))
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j and (directed or i < j)]
    kept = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(kept)
    return graph


def sinkhorn_knopp(B, rounds):
    """The textbook iteration: rows, then columns, in turn."""
    W = B.copy()
    for _ in range(rounds):
        W /= W.sum(axis=1, keepdims=True)
        W /= W.sum(axis=0, keepdims=True)
    return W


@settings(max_examples=60, deadline=None)
@given(graph=graphs())
def test_sinkhorn_is_the_symmetric_doubly_stochastic_scaling(graph):
    W = Sinkhorn()(graph).toarray()
    B = nx.to_numpy_array(graph) + np.eye(len(graph))
    assert np.array_equal(W, W.T)
    np.testing.assert_allclose(W.sum(axis=1), 1, rtol=0, atol=1e-14)
    assert np.array_equal(W > 0, B > 0)
    # D B D: the diagonal gives D, D gives the rest.
    scale = np.sqrt(np.diag(W))
    np.testing.assert_allclose(W, np.outer(scale, scale) * B, rtol=0, atol=1e-13)
    measured = spectrum(W)
    assert all(getattr(measured, claim) for claim in Sinkhorn.claims["undirected"])


@pytest.mark.parametrize("name", ["path", "star", "lollipop", "binary_tree", "karate", "les_miserables"])
def test_sinkhorn_is_the_limit_of_the_textbook_iteration(name):
    graph = getattr(network, name)() if name in ("karate", "les_miserables") else network.resolve(name)(9)
    reference = sinkhorn_knopp(nx.to_numpy_array(graph, weight=None) + np.eye(len(graph)), 4000)
    np.testing.assert_allclose(Sinkhorn()(graph).toarray(), reference, rtol=0, atol=1e-13)


def test_sinkhorn_of_three_on_a_path():
    """x (x + y) = 1 and y (2 x + y) = 1 with x at the ends: the diagonal is (sqrt 5 - 1) / 2 and sqrt 5 - 2."""
    golden = (np.sqrt(5) - 1) / 2
    W = Sinkhorn()(network.path(3))
    np.testing.assert_allclose(W.diagonal(), [golden, np.sqrt(5) - 2, golden], atol=1e-15)


@pytest.mark.parametrize("name", ["ring", "complete", "hypercube", "torus"])
def test_sinkhorn_of_a_regular_graph_is_metropolis_hastings(name):
    graph = network.resolve(name)(16)
    np.testing.assert_allclose(Sinkhorn()(graph).toarray(), MetropolisHastings()(graph).toarray(), atol=1e-15)


@pytest.mark.parametrize("make", [network.path, network.star, network.barabasi_albert])
def test_sinkhorn_of_a_large_graph(make):
    W = Sinkhorn()(make(2000))
    assert np.abs(W.sum(axis=1) - 1).max() <= 1e-14
    assert abs(W - W.T).nnz == 0
    assert W.data.min() > 0


def test_sinkhorn_refuses_one_way_edges():
    with pytest.raises(ValueError, match="Sinkhorn needs an undirected graph"):
        Sinkhorn()(network.directed_ring(4))


@pytest.mark.parametrize("directed", [False, True])
def test_push_is_its_formula(directed):
    @settings(max_examples=40, deadline=None)
    @given(graph=graphs(directed=directed))
    def check(graph):
        W = Push()(graph).toarray()
        A = nx.to_numpy_array(graph)  # A[j, i]: j sends to i
        expected = ((A + np.eye(len(graph))) / (1 + A.sum(axis=1, keepdims=True))).T
        np.testing.assert_allclose(W, expected, rtol=0, atol=1e-15)
        measured = spectrum(W)
        assert measured.column_stochastic
        assert measured.nonnegative

    check()


def test_push_sum_finds_the_mean_that_push_alone_misses():
    graph = nx.DiGraph([*network.directed_ring(10).edges, (0, 5), (3, 9), (3, 6)])
    W = Push()(graph).toarray()
    x, w = np.arange(10.0), np.ones(10)
    for _ in range(3000):
        x, w = W @ x, W @ w
    np.testing.assert_allclose(x / w, 4.5, rtol=1e-10)
    assert np.abs(x - 4.5).max() > 0.1


def test_what_is_told_where_columns_are_needed():
    needs = frozenset({"connected", "column_stochastic"})
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    errors, _ = Network(3, graph).problems(needs)
    assert "use gossipsim.network.Push" in errors[0]
    assert Network(3, graph, Push()).problems(needs) == ([], [])


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_weights_from_a_file(tmp_path, suffix):
    W = MetropolisHastings()(network.star(5)).toarray()
    file = tmp_path / f"W.{suffix}"
    if suffix == "npy":
        np.save(file, W)
    else:
        np.savetxt(file, W, delimiter=",", fmt="%.17g")
    net = Network(5, network.star(5), FromFile(str(file)))
    assert np.array_equal(net.matrix(0).toarray(), W)
    assert net.problems(frozenset({"doubly_stochastic"})) == ([], [])
    with pytest.raises(ValueError, match=r"shape \(6, 6\), got \(5, 5\)"):
        Network(6, network.star(6), FromFile(str(file))).matrix(0)
    with pytest.raises(ValueError, match="does not send to node"):
        Network(5, network.ring(5), FromFile(str(file))).matrix(0)


def test_one_number_is_a_matrix_for_one_node(tmp_path):
    (tmp_path / "W.csv").write_text("1.0\n")
    assert FromFile(str(tmp_path / "W.csv"))(network.ring(1)).toarray().tolist() == [[1.0]]


@pytest.mark.parametrize("weights", [Push(), Sinkhorn()])
def test_one_node(weights):
    assert weights(network.ring(1)).toarray().tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("W.txt", "1", r"must end in \.npy or \.csv"),
        ("missing.csv", None, "no mixing matrix in"),
        ("W.csv", "1,2\n3\n", "no mixing matrix in"),
        ("W.csv", "1,2\n", "square"),
        ("W.csv", "0.5,nan\n0.5,0.5\n", "finite"),
        ("W.npy", "no array", "no mixing matrix in"),
    ],
)
def test_files_that_hold_no_matrix(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=says):
        FromFile(str(tmp_path / name))


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "W.npy", np.array([[object()]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no mixing matrix in"):
        FromFile(str(tmp_path / "W.npy"))
