"""Closed forms of Metropolis-Hastings spectra, by dense and by sparse solvers."""

import importlib
import time

import networkx as nx
import numpy as np
import pytest

from gossipsim import network
from gossipsim.network import Lazy, MetropolisHastings, Network, OnePeerExponential, Push, Uniform, spectrum

module = importlib.import_module("gossipsim.network.spectrum")


@pytest.fixture(params=["dense", "sparse"])
def solver(request, monkeypatch):
    """The second time all but the smallest matrices go through ARPACK."""
    if request.param == "sparse":
        monkeypatch.setattr(module, "DENSE_LIMIT", 45)
        monkeypatch.setattr(module, "DENSE_GENERAL_LIMIT", 45)


def metropolis(graph):
    return spectrum(MetropolisHastings()(graph))


def without_the_constant(eigenvalues):
    rest = sorted(eigenvalues)
    assert rest[-1] == pytest.approx(1)
    return rest[-2], rest[0]


def check(graph, eigenvalues, tolerance=1e-12):
    measured = metropolis(graph)
    lambda_2, lambda_min = without_the_constant(eigenvalues)
    assert measured.lambda_2 == pytest.approx(lambda_2, abs=tolerance)
    assert measured.lambda_min == pytest.approx(lambda_min, abs=tolerance)
    assert measured.slem == max(abs(measured.lambda_2), abs(measured.lambda_min))
    assert measured.spectral_gap == 1 - measured.slem
    assert measured.symmetric
    assert measured.doubly_stochastic


@pytest.mark.parametrize("n", [3, 4, 7, 16, 64, 101])
def test_ring(n, solver):
    check(network.ring(n), [1 / 3 + 2 / 3 * np.cos(2 * np.pi * k / n) for k in range(n)])


@pytest.mark.parametrize("n", [3, 4, 7, 64])
def test_path(n, solver):
    check(network.path(n), [1 / 3 + 2 / 3 * np.cos(np.pi * k / n) for k in range(n)])


@pytest.mark.parametrize("n", [3, 8, 60])
def test_star(n, solver):
    assert metropolis(network.star(n)).lambda_2 == pytest.approx(1 - 1 / n, abs=1e-12)
    assert metropolis(network.star(n)).lambda_min == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (3, 4), (4, 4), (5, 6), (7, 8)])
def test_torus(rows, columns, solver):
    cosines = [
        (1 + 2 * np.cos(2 * np.pi * i / rows) + 2 * np.cos(2 * np.pi * j / columns)) / 5
        for i in range(rows)
        for j in range(columns)
    ]
    check(network.torus(rows * columns), cosines)


@pytest.mark.parametrize("dimension", [2, 3, 4, 6])
def test_hypercube(dimension, solver):
    eigenvalues = [1 - 2 * k / (dimension + 1) for k in range(dimension + 1)]
    check(network.hypercube(2**dimension), eigenvalues)


def test_sparse_solvers_agree_with_dense_ones(monkeypatch):
    for graph in (
        network.erdos_renyi(120, p=0.2),
        network.small_world(120),
        nx.disjoint_union(nx.karate_club_graph(), nx.complete_graph(90)),
    ):
        dense = [metropolis(graph), spectrum(Uniform()(graph)), spectrum(Push()(graph))]
        with monkeypatch.context() as patch:
            patch.setattr(module, "DENSE_LIMIT", 45)
            patch.setattr(module, "DENSE_GENERAL_LIMIT", 45)
            sparse = [metropolis(graph), spectrum(Uniform()(graph)), spectrum(Push()(graph))]
        for a, b in zip(dense, sparse, strict=True):
            assert b.slem == pytest.approx(a.slem, abs=1e-9)
            assert b.lambda_2 == pytest.approx(a.lambda_2, abs=1e-7)
            assert b.lambda_min == pytest.approx(a.lambda_min, abs=1e-7)


@pytest.mark.parametrize("n", [2, 4, 6, 10, 16, 30, 48, 100])
def test_exponential_even(n, solver):
    tau = int(np.ceil(np.log2(n)))
    measured = metropolis(network.exponential(n))
    assert measured.slem == pytest.approx((tau - 1) / (tau + 1), abs=1e-9)
    assert measured.doubly_stochastic
    assert measured.symmetric == (n == 2)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 8, 12, 16, 31, 32, 33, 64, 100])
def test_one_peer_is_exact_iff_power_of_two(n, solver):
    net = Network(n, OnePeerExponential(n))
    certificate = net.certificate()
    product = np.eye(n)
    for round_number in range(net.period):
        product = net.matrix(round_number).toarray() @ product
    exact = bool(n & (n - 1) == 0)
    assert (np.abs(product - 1 / n).max() < 1e-14) == exact
    assert (certificate["slem"] == 0) == exact
    measured = np.linalg.norm(product - 1 / n, 2)
    assert certificate["slem_period"] == pytest.approx(measured, abs=1e-9)
    assert certificate["slem"] == pytest.approx(certificate["slem_period"] ** (1 / net.period))
    # (1 + e^(i t)) / 2 has modulus |cos(t / 2)|.
    expected = max(abs(np.cos(np.pi * k / n)) for k in range(1, n))
    assert certificate["slem_rounds"][0] == pytest.approx(expected, abs=1e-9)


def test_one_node():
    measured = spectrum([[1.0]])
    assert (measured.slem, measured.spectral_gap, measured.lambda_2) == (0, 1, 0)
    assert measured.doubly_stochastic


def test_contraction_is_the_slem():
    rng = np.random.default_rng(0)
    for graph, weights in ((network.karate(), MetropolisHastings()), (network.ring(9), Lazy())):
        W = weights(graph)
        X = rng.standard_normal((len(graph), 2))
        X -= X.mean(axis=0)
        for _ in range(2000):
            X = W @ (X / np.linalg.norm(X))
            X, size = X - X.mean(axis=0), np.linalg.norm(X)
        assert size == pytest.approx(spectrum(W).slem, rel=1e-6)


def test_negative_weights_are_not_called_unstochastic():
    measured = spectrum([[1.25, -0.25], [-0.25, 1.25]])
    assert measured.doubly_stochastic
    assert not measured.nonnegative
    assert measured.lambda_2 == pytest.approx(1.5)


@pytest.mark.parametrize("W", [np.ones((2, 3)), [1.0, 2.0], [[np.nan]], np.zeros((0, 0))])
def test_refuses_what_is_no_mixing_matrix(W):
    with pytest.raises(ValueError, match="a mixing matrix"):
        spectrum(W)


def test_hundred_thousand_nodes():
    start = time.process_time()
    net = Network(100_000, network.ring(100_000))
    W = net.matrix(0)
    seconds = time.process_time() - start
    assert W.nnz == 300_000
    assert seconds < 3
    gap = 2 / 3 * (1 - np.cos(2 * np.pi / 100_000))
    assert net.certificate()["spectral_gap"] == pytest.approx(gap, rel=1e-5)


def test_large_expander():
    """Too wide for shift-and-invert: a hypercube of 8192 nodes."""
    dimension = 13
    measured = metropolis(network.hypercube(2**dimension))
    assert measured.lambda_2 == pytest.approx(1 - 2 / (dimension + 1), abs=1e-12)
    assert measured.lambda_min == pytest.approx(-1 + 2 / (dimension + 1), abs=1e-12)


def test_large_exact_mean():
    """A complete graph above the dense limit: the operator is zero off the constants."""
    measured = metropolis(network.complete(module.DENSE_LIMIT + 1))
    assert measured.slem == pytest.approx(0, abs=1e-10)
