"""Effective neighbours, mixing time and exact rounds, against closed forms, brute force and simulation."""

import importlib

import numpy as np
import pytest

from gossipsim import network
from gossipsim.network import (
    BaseGraph,
    HyperHypercube,
    Lazy,
    MetropolisHastings,
    Network,
    OnePeerExponential,
    Own,
    Uniform,
    contraction,
    effective_neighbours,
    exact_after,
    mixing_time,
)

GRAPHS = {name: network.resolve(name)(16) for name in ("ring", "path", "star", "torus", "hypercube", "expander")}
DECAYS = [0.0, 0.5, 0.9, 0.999, 1 - 1e-9]


def period(topology, weights=None):
    net = Network(topology.n, topology, weights)
    return [net.matrix(t) for t in range(net.period)]


def first_by_hand(rounds, accuracy, limit=2000):
    n = rounds[0].shape[0]
    reached = np.eye(n)
    for t in range(limit):
        if np.linalg.norm(reached - 1 / n, 2) <= accuracy:
            return t
        reached = rounds[t % len(rounds)] @ reached
    return None


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("name", GRAPHS)
def test_effective_neighbours_is_its_formula(name, decay):
    W = MetropolisHastings()(GRAPHS[name])
    squares = np.linalg.eigvalsh(W.toarray()) ** 2
    squares[-1] = 1  # the constant vector's, exactly
    alone, together = 1 / (1 - decay), np.mean(squares / (1 - decay * squares))
    assert effective_neighbours(W, decay) == pytest.approx(alone / together, rel=1e-9)


@pytest.mark.parametrize("decay", DECAYS)
def test_effective_neighbours_at_the_ends(decay):
    assert effective_neighbours(MetropolisHastings()(network.complete(12)), decay) == pytest.approx(12, rel=1e-12)
    assert effective_neighbours(np.eye(12), decay) == pytest.approx(1, rel=1e-6)
    assert effective_neighbours([[1.0]], decay) == 1


def test_effective_neighbours_of_a_directed_graph():
    """A circulant W is normal: the moduli of the discrete Fourier transform of its row take the place of lambda."""
    n, decay = 12, 0.9
    W = MetropolisHastings()(network.exponential(n))
    squares = np.abs(np.fft.fft(W.toarray()[0])) ** 2
    expected = 1 / (1 - decay) / np.mean(squares / (1 - decay * squares))
    assert effective_neighbours(W, decay) == pytest.approx(expected, rel=1e-12)


def test_effective_neighbours_in_simulation():
    """The walk itself, on many independent coordinates."""
    n, decay = 8, 0.8
    W = MetropolisHastings()(network.ring(n)).toarray()
    rng = np.random.default_rng(0)
    x = y = np.zeros((n, 40_000))
    for _ in range(80):
        noise = rng.standard_normal(x.shape)
        x, y = W @ (np.sqrt(decay) * x + noise), np.sqrt(decay) * y + noise
    assert effective_neighbours(W, decay) == pytest.approx(y.var() / x.var(), rel=0.02)


def test_effective_neighbours_grow_with_the_decay_up_to_n():
    W = MetropolisHastings()(network.ring(20))
    found = [effective_neighbours(W, decay) for decay in DECAYS]
    assert found == sorted(found)
    assert found[0] == pytest.approx(3)  # one round: 1 / sum of squared weights
    assert 19.9 < found[-1] <= 20


def test_walks_that_explode_have_no_neighbours():
    W = np.array([[2.0, -1.0], [-1.0, 2.0]])
    assert effective_neighbours(W, 0.5) == 0


@pytest.mark.parametrize("accuracy", [0.9, 0.1, 1e-3, 1e-9])
@pytest.mark.parametrize("name", GRAPHS)
def test_mixing_time_by_hand(name, accuracy):
    W = MetropolisHastings()(GRAPHS[name])
    slem = network.spectrum(W).slem
    measured = mixing_time([W], accuracy)
    assert measured == first_by_hand([W], accuracy)
    assert slem**measured <= accuracy * (1 + 1e-6)
    assert slem ** (measured - 1) > accuracy * (1 - 1e-6)


@pytest.mark.parametrize("accuracy", [0.5, 1e-2, 1e-6])
@pytest.mark.parametrize(
    "topology", [OnePeerExponential(8), OnePeerExponential(11), HyperHypercube(12, 2), BaseGraph(7)]
)
def test_mixing_time_of_a_period_by_hand(topology, accuracy):
    rounds = period(topology, Own() if isinstance(topology, BaseGraph) else None)
    assert mixing_time(rounds, accuracy) == first_by_hand(rounds, accuracy)


def test_mixing_time_at_its_limits():
    assert mixing_time([[[1.0]]], 0.5) == mixing_time([[[1.0]], [[1.0]]], 0.5) == 0
    assert mixing_time([np.eye(3)], 0.5) is None
    assert mixing_time([np.array([[0.0, 1.0], [1.0, 0.0]])], 0.5) is None
    assert mixing_time([np.array([[2.0, -1.0], [-1.0, 2.0]])], 0.5) is None
    assert mixing_time([MetropolisHastings()(network.complete(9))], 1e-9) == 1
    n, accuracy = 100, 1e-6
    slem = 1 / 3 + 2 / 3 * np.cos(2 * np.pi / n)
    expected = np.ceil(np.log(accuracy) / np.log(slem))
    assert mixing_time([MetropolisHastings()(network.ring(n))], accuracy) == pytest.approx(expected, abs=1)


def test_mixing_time_of_a_symmetric_matrix_needs_no_dense_algebra():
    """Ten thousand nodes on a ring: 1/3 + 2/3 cos(2 pi / n)."""
    n = 10_000
    expected = np.log(1e-3) / np.log1p(-4 / 3 * np.sin(np.pi / n) ** 2)
    assert mixing_time([MetropolisHastings()(network.ring(n))], 1e-3) == pytest.approx(expected, rel=1e-5)


def test_contraction_of_a_period():
    rounds = period(OnePeerExponential(11))
    product = np.linalg.multi_dot([W.toarray() for W in reversed(rounds)])
    assert contraction(rounds) == pytest.approx(np.linalg.norm(product - 1 / 11, 2), abs=1e-14)


def test_exact_after():
    assert exact_after([[[1.0]]]) == 0
    assert exact_after([MetropolisHastings()(network.complete(6))]) == 1
    assert exact_after([MetropolisHastings()(network.ring(6))]) is None
    assert exact_after(period(OnePeerExponential(16))) == 4
    assert exact_after(period(OnePeerExponential(12))) is None
    assert exact_after(period(BaseGraph(12), Own())) == BaseGraph(12).period
    # Rounds after the exact one do not move it, and are not counted.
    assert exact_after([*period(HyperHypercube(8)), Lazy()(network.ring(8))]) == 3


def test_certificate_says_when_the_mean_is_exact():
    assert Network(16, OnePeerExponential(16)).certificate()["exact_after"] == 4
    assert Network(12, OnePeerExponential(12)).certificate()["exact_after"] is None
    assert "exact_after" not in Network(16, network.ring(16)).certificate()


def test_no_dense_product_for_thousands_of_nodes(monkeypatch):
    monkeypatch.setattr(importlib.import_module("gossipsim.network.network"), "MOST_NODES_EXACT", 15)
    assert "exact_after" not in Network(16, OnePeerExponential(16)).certificate()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: effective_neighbours(np.eye(2), 1.0), "decay must be at least 0 and less than 1, got 1.0"),
        (lambda: effective_neighbours(Uniform()(network.star(5)), 0.5), "columns of matrix 0 go from 0.7 to 2.2"),
        (lambda: mixing_time([np.eye(2)], 0), "accuracy must be between 0 and 1, got 0"),
        (lambda: mixing_time([], 0.1), "rounds is empty"),
        (lambda: mixing_time([np.eye(5), Uniform()(network.star(5))], 0.1), "of matrix 1 go"),
        (lambda: exact_after([]), "rounds is empty"),
    ],
)
def test_refusals(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)
