"""StaleGossip and AD-PSGD against loops in numpy, which take from the package only the numbers that are drawn."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from gossipsim.config import plan
from gossipsim.mixing import Mix
from gossipsim.network import Links
from gossipsim.nodes import Nodes
from gossipsim.parts import Parts
from gossipsim.rounds import connect, play
from gossipsim.strategies import ADPSGD, LocalThenGossip, StaleGossip, Strategy, ad_psgd
from gossipsim.streams import draws
from gossipsim.world import World
from tests.oracles.quadratics import D, gradient, metropolis_hastings, problem

Array = np.ndarray[Any, Any]
N, ETA = 6, 0.1
GRAPHS = {"ring": nx.cycle_graph(N), "star": nx.star_graph(N - 1)}


def _start() -> Array:
    return np.random.default_rng(1).normal(size=(N, D))


@pytest.fixture
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> Parts:
    """The quadratics, on the ring unless another graph is asked for."""
    A, b = problem(N)
    np.savez(tmp_path / "problem.npz", A=A, b=b)
    quadratic = {"class": "gossipsim.tasks.QuadraticTask", "params": {"path": str(tmp_path / "problem.npz")}}
    config = {
        "name": "asynchronous",
        "tasks": [
            {
                "task": quadratic,
                "models": [{"class": "gossipsim.models.Vector", "params": {"dim": D}}],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": ETA}}],
            }
        ],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": 1, "batch_size": None, "dtype": "float64"},
        },
        "network": {"nodes": N, "topology": f"gossipsim.network.{getattr(request, 'param', 'ring')}"},
    }
    return Parts(plan(config).runs[0])


on_every_graph = pytest.mark.parametrize("parts", GRAPHS, indirect=True)


def _graph(parts: Parts) -> nx.Graph:
    return GRAPHS[parts.run.network["topology"]["class"].rpartition(".")[2]]


def _rounds(parts: Parts, strategy: Strategy, rounds: int, *, lr: float = ETA, links: Links | None = None) -> Any:
    """The nodes and the mix after so many rounds from `_start`."""
    *_, last = _states(parts, strategy, rounds, lr=lr, links=links)
    return last


def _states(
    parts: Parts, strategy: Strategy, rounds: int, *, lr: float = ETA, links: Links | None = None
) -> Iterator[tuple[Nodes, Mix]]:
    world = World(N)
    train, _ = parts.tensors(world.device, torch.float64)
    nodes = Nodes(world, parts.task, replace(parts.recipe(), engine="loop"), parts.shards, train)
    for node in nodes:
        node.optimizer.param_groups[0]["lr"] = lr
    mix = connect(nodes, parts.network, links, None)
    nodes.X[:] = torch.from_numpy(_start())
    strategy.init(nodes, mix)
    for _ in range(rounds):
        play(strategy, nodes, mix)
        yield nodes, mix


# --- StaleGossip ---


def _stale(W: Array, rounds: int, largest: int, lr: float = ETA) -> Array:
    """Entry by entry, from all half steps that there have been."""
    X, halves = _start(), []
    for t in range(rounds):
        receiver, sender = (draws(0, f"delay, {end}", t).random(N) for end in ("receiver", "sender"))
        halves.append(X - lr * gradient(X))
        X = np.zeros_like(X)
        for i in range(N):
            for j in range(N):
                delay = 0 if i == j else int((largest + 1) * ((receiver[i] + sender[j]) % 1))
                X[i] += W[i, j] * (halves[t - delay][j] if delay <= t else _start()[j])
    return X


@on_every_graph
def test_stale_gossip_trajectory(parts: Parts) -> None:
    nodes, _ = _rounds(parts, StaleGossip(3), 101)
    expected = _stale(metropolis_hastings(_graph(parts)), 101, largest=3)
    assert np.abs(nodes.X.numpy() - expected).max() <= 1e-12


def test_delays_are_uniform_and_any_two_independent() -> None:
    """Of 4,000 rounds: both directions of an edge, and two edges that share an end."""
    D1, count = 4, 4_000
    a, b = (np.stack([draws(0, f"delay, {end}", t).random(3) for t in range(count)]) for end in ("receiver", "sender"))
    delays = {(i, j): ((a[:, i] + b[:, j]) % 1 * D1).astype(int) for i, j in [(0, 1), (1, 0), (0, 2), (2, 1)]}
    for other in [(1, 0), (0, 2), (2, 1)]:
        table, *_ = np.histogram2d(delays[0, 1], delays[other], bins=D1)
        chi_squared = ((table - count / D1**2) ** 2 / (count / D1**2)).sum()
        assert chi_squared < 37.7  # 0.999 of chi squared with 15 degrees of freedom


@on_every_graph
def test_without_delay_it_is_local_then_gossip_to_the_bit(parts: Parts) -> None:
    links = Links(compute=1.0, latency=0.5, bandwidth=48.0)
    found, stale = _rounds(parts, StaleGossip(0), 7, links=links)
    expected, mix = _rounds(parts, LocalThenGossip(), 7, links=links)
    assert torch.equal(found.X, expected.X)
    assert stale.traffic == mix.traffic
    assert (stale.exchanges, stale.clock.now) == (mix.exchanges, mix.clock.now) == (7, 7 * 2.0)


@on_every_graph
def test_late_rows_are_sent_once(parts: Parts) -> None:
    _, mix = _rounds(parts, StaleGossip(2), 7)
    assert mix.exchanges == 7
    assert mix.traffic.messages == 7 * 2 * _graph(parts).number_of_edges()
    assert mix.traffic.bytes_sent == mix.traffic.messages * D * 8


@on_every_graph
def test_delays_do_not_move_the_fixed_point(parts: Parts) -> None:
    """(I - W (I - eta H))^-1 eta W H b, that of D-SGD, whatever the delays."""
    A, b = problem(N)
    W = np.kron(metropolis_hastings(_graph(parts)), np.eye(D))
    H = np.zeros((N * D, N * D))
    for i in range(N):
        H[i * D : (i + 1) * D, i * D : (i + 1) * D] = A[i].T @ A[i]
    lr = 0.5
    expected = np.linalg.solve(
        np.eye(N * D) - W @ (np.eye(N * D) - lr * H), lr * W @ np.einsum("nmd,nm->nd", A, b).reshape(-1)
    )
    nodes, _ = _rounds(parts, StaleGossip(4), 100, lr=lr)
    assert np.abs(nodes.X.numpy().reshape(-1) - expected).max() <= 1e-10
    optimum = np.linalg.solve(np.einsum("nmd,nme->de", A, A), np.einsum("nmd,nm->d", A, b))
    assert np.abs(nodes.X.numpy() - optimum).max() > 1e-2


def test_delays_move_the_mean(parts: Parts) -> None:
    """Without gradients the nodes agree, on another average of the start than the mean; without delay on the mean."""
    mean = _start().mean(0)
    for largest, low, high in [(0, 0.0, 1e-14), (2, 1e-3, np.inf)]:
        X = _rounds(parts, StaleGossip(largest), 120, lr=0.0)[0].X.numpy()
        assert np.abs(X - X[0]).max() <= 1e-10
        assert low <= np.abs(X[0] - mean).max() <= high


# --- AD-PSGD ---


def _by_chance(graph: nx.Graph, rounds: int) -> Iterator[tuple[int, int]]:
    """Each event is that of the node with the smallest of N numbers, with the neighbour that has the smallest."""
    for k in range(rounds * N):
        numbers = draws(0, "event", k).random(N)
        i = int(numbers.argmin())
        yield i, min(graph.neighbors(i), key=lambda j: numbers[j])


def _by_clock(graph: nx.Graph, rounds: int, seconds: Array, latency: float, times: list[float]) -> Any:
    """Steps of node i take seconds[i]; whoever meets has both rows a latency after both are there."""
    at, queue = np.zeros(N), [(seconds[i], i) for i in range(N)]
    heapq.heapify(queue)
    for k in range(rounds * N):
        finished, i = heapq.heappop(queue)
        numbers = draws(0, "event", k).random(N)
        j = min(graph.neighbors(i), key=lambda j: numbers[j])
        at[i] = at[j] = max(finished, at[i], at[j]) + latency
        heapq.heappush(queue, (at[i] + seconds[i], i))
        yield i, j
    times.append(at.max())


def _ad_psgd(events: Iterator[tuple[int, int]], lr: float = ETA) -> tuple[Array, int]:
    """One event after the other; also how many gradients were stale when they were applied."""
    X, stale = _start(), 0
    read = X.copy()
    for i, j in events:
        stale += int((X[i] != read[i]).any())
        G = gradient(read)[i]
        X[i] = X[j] = (X[i] + X[j]) / 2
        X[i] -= lr * G
        read[i] = X[i]
    return X, stale


@on_every_graph
def test_ad_psgd_trajectory(parts: Parts) -> None:
    nodes, _ = _rounds(parts, ADPSGD(), 101)
    expected, stale = _ad_psgd(_by_chance(_graph(parts), 101))
    assert np.abs(nodes.X.numpy() - expected).max() <= 1e-12
    assert stale > 100
    assert (nodes.step, nodes.gradient_evals) == (101, 101 * N)


@on_every_graph
def test_ad_psgd_trajectory_by_the_clock(parts: Parts) -> None:
    seconds, latency, times = np.array([1.0, 1.13, 0.87, 10.0, 1.01, 0.92]), 0.3, []
    links = Links(compute=_PerNode(seconds), latency=latency)
    nodes, mix = _rounds(parts, ADPSGD(), 101, links=links)
    expected, _ = _ad_psgd(_by_clock(_graph(parts), 101, seconds, latency, times))
    assert np.abs(nodes.X.numpy() - expected).max() <= 1e-12
    assert mix.clock.now == pytest.approx(times[0], rel=1e-12)


class _PerNode:
    def __init__(self, seconds: Array) -> None:
        self.seconds = seconds

    def of_nodes(self, steps: Array, rng: np.random.Generator) -> Array:
        return self.seconds


@on_every_graph
def test_events_that_do_not_wait_for_each_other_commute(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one they give the same bits."""
    links = Links(drop=0.3, absences=[{"nodes": [2], "leave": 3, "back": 9}])
    together, mix = _rounds(parts, ADPSGD(), 30, links=links)
    monkeypatch.setattr(ad_psgd, "batches", lambda events, _: [[event] for event in events])
    one_by_one, serial = _rounds(parts, ADPSGD(), 30, links=links)
    assert torch.equal(together.X, one_by_one.X)
    assert torch.equal(together.rows("read"), one_by_one.rows("read"))
    assert (mix.traffic, together.step) == (serial.traffic, one_by_one.step)
    assert mix.exchanges < serial.exchanges or _graph(parts) is GRAPHS["star"]  # there the hub is in all of them


@on_every_graph
def test_an_event_is_two_messages(parts: Parts) -> None:
    _, mix = _rounds(parts, ADPSGD(), 7)
    assert mix.traffic.messages == 7 * 2 * N == 7 * ADPSGD.claims.messages_per_exchange(N, 2 * N)
    assert mix.traffic.bytes_sent == mix.traffic.messages * D * 8


@on_every_graph
def test_averaging_in_pairs_keeps_the_mean(parts: Parts) -> None:
    nodes, _ = _rounds(parts, ADPSGD(), 50, lr=0.0)
    X = nodes.X.numpy()
    assert np.abs(X.mean(0) - _start().mean(0)).max() <= 1e-14
    assert np.abs(X - X[0]).max() <= 1e-4


def test_who_is_away_or_cut_off_meets_nobody(parts: Parts) -> None:
    """Node 2 is away for six rounds: five events per round, one step; its row waits. Without messages all are alone."""
    away = Links(absences=[{"nodes": [2], "leave": 3, "back": 9}])
    states = [(nodes.X.numpy().copy(), nodes.step) for nodes, _ in _states(parts, ADPSGD(), 12, links=away)]
    for t in range(3, 9):
        assert (states[t][0][2] == states[2][0][2]).all()
    assert [step for _, step in states] == list(range(1, 13))
    nodes, mix = _rounds(parts, ADPSGD(), 40, links=Links(drop=1 - 1e-12))
    assert (mix.traffic.messages, mix.exchanges) == (0, 0)
    A, b = problem(N)
    taken = np.bincount([i for i, _ in _by_chance(nx.complete_graph(N), 40)], minlength=N)
    for i in range(N):  # gradient descent, as many steps as it has had events
        x = _start()[i]
        for _ in range(taken[i]):
            x = x - ETA * A[i].T @ (A[i] @ x - b[i])
        assert np.abs(nodes.X.numpy()[i] - x).max() <= 1e-13


def test_who_comes_back_does_not_catch_up(parts: Parts) -> None:
    """Away from second 3 to 9, steps of one second: it ends the one that was under way, not one for each second."""
    links = Links(compute=1.0, absences=[{"nodes": [2], "leave": 3, "back": 9}])
    steps = [mix.clock._steps.copy() for _, mix in _states(parts, ADPSGD(), 12, links=links)]
    assert [int(s[2]) for s in steps] == [1, 2, 3, 3, 3, 3, 3, 3, 3, 5, 6, 7]
    assert steps[-1].sum() == 12 * N - 6


def test_a_straggler_delays_nobody_else(parts: Parts) -> None:
    """One of six nodes takes 10 s a step, the others 1 s: 10 s a step where all wait for it, 6/5.1 s where nobody."""
    links = Links(compute=_PerNode(np.array([1.0, 1.0, 1.0, 10.0, 1.0, 1.0])), latency=0.001)
    waiting = _rounds(parts, LocalThenGossip(), 10, links=links)[1].clock.now / 10
    nobody = _rounds(parts, ADPSGD(), 40, links=links)[1].clock.now / 40
    assert waiting == pytest.approx(10, rel=0.01)
    assert nobody == pytest.approx(6 / 5.1, rel=0.03)


def test_unequal_speeds_weigh_the_functions(parts: Parts) -> None:
    """With node 3 ten times as slow the rows stay closer to the optimum of sum_i p_i f_i than to that of the mean."""
    A, b = problem(N)
    speed = np.array([1.0, 1.0, 1.0, 0.1, 1.0, 1.0])
    links = Links(compute=_PerNode(1 / speed))
    late = [nodes.X.numpy().mean(0) for nodes, _ in _states(parts, ADPSGD(), 120, lr=0.05, links=links)][60:]
    optimum = {
        name: np.linalg.solve(np.einsum("n,nmd,nme->de", p, A, A), np.einsum("n,nmd,nm->d", p, A, b))
        for name, p in {"mean": np.ones(N), "weighted": speed}.items()
    }
    distance = {name: np.linalg.norm(np.mean(late, axis=0) - x) for name, x in optimum.items()}
    assert distance["weighted"] < 0.1
    assert distance["mean"] > 0.7
