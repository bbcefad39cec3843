"""Simulated time: closed forms, an event queue of its own as the oracle, and the models of durations."""

import heapq

import networkx as nx
import numpy as np
import pytest

from gossipsim.network import (
    Clock,
    Constant,
    Exponential,
    Links,
    LogNormal,
    MetropolisHastings,
    PerEdge,
    PerNode,
    Push,
    Stragglers,
    Trace,
    exponential,
    ring,
)
from gossipsim.streams import draws

N = 8
EVERYONE = np.ones(N, dtype=bool)
RING = MetropolisHastings()(ring(N))
C, L, BANDWIDTH, BYTES = 0.5, 0.25, 1024.0, 512  # sums of them are exact: a message takes 0.75 s


def clock(nodes=N, seed=0, **params):
    return Links(**params).clock(nodes, seed)


def rounds(timer, count, W=RING, steps=1):
    for _ in range(count):
        for _ in range(steps):
            timer.work(np.ones(len(timer.seconds), dtype=bool))
        timer.exchange(W, BYTES)
    return timer.seconds


def test_nothing_that_takes_time_has_no_clock():
    assert Links(drop=0.5).clock(N, 0) is None
    assert Links(compute=0).clock(N, 0).now == 0


@pytest.mark.parametrize("steps", [1, 4])
def test_equal_nodes(steps):
    """T rounds take T (steps c + l + bytes/r)."""
    found = rounds(clock(compute=C, latency=L, bandwidth=BANDWIDTH), 20, steps=steps)
    np.testing.assert_array_equal(found, 20 * (steps * C + L + BYTES / BANDWIDTH))


def test_only_what_is_given_takes_time():
    assert rounds(clock(compute=C), 5).tolist() == [5 * C] * N
    assert rounds(clock(latency=L), 5).tolist() == [5 * L] * N
    assert rounds(clock(bandwidth=BANDWIDTH), 5).tolist() == [5 * 0.5] * N


def test_a_straggler_delays_those_within_k_hops():
    """A node at distance d is T - d + 1 slow steps, d - 1 others and d messages late from round d on, not before."""
    m, slow = L + BYTES / BANDWIDTH, 10 * C  # more than a message each way and a step: it waits for nobody
    timer = clock(compute=Stragglers(base=C, nodes=[3]), latency=L, bandwidth=BANDWIDTH)
    for T in range(1, 12):
        rounds(timer, 1)
        for node in range(N):
            d = min(abs(node - 3), N - abs(node - 3))
            late = (T - d + 1) * slow + (d - 1) * C + d * m if d else T * slow
            assert timer.seconds[node] == (late if d <= T else T * (C + m))
    assert timer.now == timer.seconds.max()


def by_events(W, compute, delay, count):
    """The same from a queue of events: a node goes on when it has its step and all messages of the round."""
    n = len(compute)
    receivers = [[int(i) for i in np.flatnonzero(W[:, j]) if i != j] for j in range(n)]
    missing = [[1 + int(np.count_nonzero(W[i]) - (W[i, i] != 0)) for _ in range(count)] for i in range(n)]
    queue = [(compute[j], j, 0, "step") for j in range(n)]
    heapq.heapify(queue)
    at, done = [0] * n, np.zeros(n)
    while queue:
        time, j, t, what = heapq.heappop(queue)
        missing[j][t] -= 1
        if what == "step":
            for i in receivers[j]:
                heapq.heappush(queue, (time + delay[j, i], i, t, "message"))
        while at[j] < count and missing[j][at[j]] == 0:
            at[j] += 1
            done[j] = time
            if at[j] < count:
                heapq.heappush(queue, (time + compute[j], j, at[j], "step"))
                break
    return done


@pytest.mark.parametrize("graph", ["directed", "random", "star"])
def test_against_an_event_queue(graph):
    graphs = {
        "directed": Push()(exponential(N)),
        "random": MetropolisHastings()(nx.erdos_renyi_graph(N, 0.4, seed=2)),
        "star": MetropolisHastings()(nx.star_graph(N - 1)),
    }
    rng = np.random.default_rng(3)
    compute, latency = rng.uniform(0.1, 2, N), rng.uniform(0, 3, (N, N))
    bandwidth = rng.uniform(100, 1000, (N, N))
    timer = clock(compute=PerNode(compute), latency=PerEdge(latency), bandwidth=PerEdge(bandwidth))
    found = rounds(timer, 15, graphs[graph])
    expected = by_events(graphs[graph].toarray(), compute, latency + BYTES / bandwidth, 15)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_meetings_wait_for_the_slowest_of_those_who_take_part():
    delay = np.random.default_rng(0).uniform(1, 2, (N, N))
    timer = clock(compute=PerNode(np.arange(N) + 1.0), latency=PerEdge(delay))
    timer.work(EVERYONE)
    members = np.array([0, 2, 5])
    timer.meet(np.isin(np.arange(N), members), BYTES)
    done = max(j + 1 + delay[j, i] for j in members for i in members if i != j)
    expected = np.arange(N) + 1.0
    expected[members] = done
    np.testing.assert_array_equal(timer.seconds, expected)
    alone = clock(compute=C, latency=L)
    alone.work(EVERYONE)
    alone.meet(np.arange(N) == 4, BYTES)
    np.testing.assert_array_equal(alone.seconds, C)


def test_a_server_waits_for_the_slowest_of_those_who_take_part():
    delay = np.random.default_rng(0).uniform(1, 2, (N, N))
    timer = clock(compute=PerNode(np.arange(N) + 1.0), latency=PerEdge(delay))
    timer.work(EVERYONE)
    members = np.array([0, 2, 5])
    timer.to_server(np.isin(np.arange(N), members), BYTES)
    timer.from_server(np.isin(np.arange(N), members), BYTES)
    done = max(j + 1 + delay[j, j] for j in members)
    expected = np.arange(N) + 1.0
    expected[members] = done + delay[members, members]
    np.testing.assert_array_equal(timer.seconds, expected)


def test_everyone_at_a_server_and_back():
    """T (c + 2 (l + bytes/r))"""
    timer = clock(compute=C, latency=L, bandwidth=BANDWIDTH)
    for _ in range(7):
        timer.work(EVERYONE)
        timer.to_server(EVERYONE, BYTES)
        timer.from_server(EVERYONE, BYTES)
    assert timer.now == 7 * (C + 2 * (L + BYTES / BANDWIDTH))


def test_time_passes_for_those_who_are_away():
    timer = clock(compute=PerNode([1.0, 2.0, 3.0, 4.0, 50.0, 1.0, 1.0, 1.0]))
    away = np.isin(np.arange(N), [3, 4])
    timer.work(EVERYONE)
    for _ in range(5):
        timer.work(~away)
        timer.pass_by(away)
    assert timer.seconds.tolist() == [6.0, 12.0, 18.0, 6.0, 50.0, 6.0, 6.0, 6.0]
    timer.pass_by(EVERYONE)
    assert timer.now == 50.0


def test_who_is_next():
    """Node i is done at the multiples of c_i, ties to the lowest id; the others do not wait."""
    pace = np.array([3.0, 2.0, 7.0, 2.5])
    timer = Clock(4, 0, PerNode(pace))
    found = []
    for _ in range(30):
        node = timer.next_to_finish(np.ones(4, dtype=bool))
        found.append((timer.seconds[node], node))
        timer.begin(node)
    assert found == sorted((k * c, i) for i, c in enumerate(pace) for k in range(1, 40))[:30]


def test_nobody_who_is_away_is_next():
    timer = Clock(3, 0, PerNode([1.0, 2.0, 3.0]))
    for _ in range(4):
        node = timer.next_to_finish(np.array([False, True, True]))
        assert node != 0
        timer.begin(node)
    assert timer.now == 6.0


def test_a_trace_goes_by_the_steps_of_each_node(tmp_path):
    table = np.arange(1.0, 7.0).reshape(3, 2)
    np.save(tmp_path / "t.npy", table)
    np.savetxt(tmp_path / "t.csv", table, delimiter=",")
    for name in ("t.npy", "t.csv"):
        timer = Clock(2, 0, Trace(str(tmp_path / name)))
        timer.work(np.array([True, False]))
        for _ in range(3):
            timer.work(np.array([True, True]))
        assert timer.seconds.tolist() == [1 + 3 + 5 + 1, 2 + 4 + 6]  # 4 steps and 3


def test_a_trace_of_messages_goes_by_the_exchanges_and_senders(tmp_path):
    np.save(tmp_path / "t.npy", np.array([[1.0, 10.0], [2.0, 20.0]]))
    timer = clock(2, latency=Trace(str(tmp_path / "t.npy")))
    W = MetropolisHastings()(nx.path_graph(2))
    timer.exchange(W, 0)
    assert timer.seconds.tolist() == [10, 1]
    timer.exchange(W, 0)
    assert timer.seconds.tolist() == [max(10, 1 + 20), max(1, 10 + 2)]


STEPS, RNG = np.zeros(1000, dtype=np.int64), draws(0, "test", 0)
ENDS = np.zeros(1000, dtype=np.int64)


@pytest.mark.parametrize(
    ("model", "median", "mean"),
    [
        (Constant(3.0), 3.0, 3.0),
        (LogNormal(2.0, 0.8), 2.0, 2.0 * np.exp(0.32)),
        (LogNormal(2.0, 0.0), 2.0, 2.0),
        (Exponential(2.0), 2.0 * np.log(2), 2.0),
    ],
)
def test_distributions(model, median, mean):
    for draw in (lambda: model.of_nodes(STEPS, RNG), lambda: model.of_edges(ENDS, ENDS, 0, RNG)):
        values = np.concatenate([draw() for _ in range(40)])
        assert np.median(values) == pytest.approx(median, rel=0.04)
        assert values.mean() == pytest.approx(mean, rel=0.03)
        assert values.min() > 0


def test_stragglers():
    nodes = len(STEPS)
    always = Stragglers(base=2.0, fraction=0.125, slowdown=5).of_nodes(STEPS, RNG)
    assert np.count_nonzero(always == 10) == 125
    assert np.count_nonzero(always == 2) == nodes - 125
    np.testing.assert_array_equal(Stragglers(base=2.0, fraction=0.125, slowdown=5).of_nodes(STEPS, RNG), always)
    assert (Stragglers(base=2.0, fraction=0.125, slowdown=5, seed=1).of_nodes(STEPS, RNG) != always).any()
    named = Stragglers(nodes=[7, 9], slowdown=4).of_nodes(STEPS, RNG)
    assert np.flatnonzero(named == 4).tolist() == [7, 9]
    model = Stragglers(base=LogNormal(1.0, 0.0), slowdown=3, probability=0.2)
    now_and_then = np.array([model.of_nodes(STEPS, RNG) for _ in range(50)])
    assert (now_and_then == 3).mean() == pytest.approx(0.2, abs=4 * 0.4 / np.sqrt(now_and_then.size))
    assert set(np.unique(now_and_then)) == {1.0, 3.0}
    assert np.ptp((now_and_then == 3).mean(0)) < 0.6  # no node always, none never
    assert (Stragglers(fraction=0.0).of_nodes(STEPS, RNG) == 1).all()


def test_draws_are_those_of_the_seed():
    found = {seed: rounds(clock(seed=seed, compute=Exponential(1.0), latency=Exponential(1.0)), 4) for seed in (0, 1)}
    assert (found[0] != found[1]).all()
    again = rounds(clock(seed=0, compute=Exponential(1.0), latency=Exponential(1.0)), 4)
    np.testing.assert_array_equal(again, found[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(-1.0), "value must be a number >= 0, got -1.0"),
        (lambda: Constant(float("inf")), "value must"),
        (lambda: LogNormal(0.0, 1.0), "median must be above 0, got 0"),
        (lambda: LogNormal(1.0, -1.0), "sigma must"),
        (lambda: Exponential(-1.0), "mean must"),
        (lambda: PerNode([1.0, -1.0]), "values must be a number >= 0, got -1.0"),
        (lambda: PerNode(["a"]), "values must"),
        (PerEdge, "PerEdge takes one of matrix and path"),
        (lambda: PerEdge([[1.0]], "a.npy"), "PerEdge takes one of matrix and path"),
        (lambda: PerEdge([[1.0, 2.0], [3.0]]), "matrix: rows of equally many numbers"),
        (lambda: PerEdge([[1.0, -2.0], [3.0, 1.0]]), "matrix: row 0, column 1 is -2.0; numbers >= 0"),
        (lambda: PerEdge([1.0, 2.0]), r"matrix: a table with two dimensions is needed, got shape \(2,\)"),
        (lambda: PerEdge(path="links.txt"), "path must end in .npy or .csv, got 'links.txt'"),
        (lambda: Trace("nowhere.csv"), "path: no table of numbers in nowhere.csv"),
        (lambda: Stragglers(nodes=[0], fraction=0.5), "Stragglers takes one of nodes and fraction"),
        (lambda: Stragglers(fraction=1.5), r"fraction must lie in \[0, 1\], got 1.5"),
        (lambda: Stragglers(probability=1.5), r"probability must lie in \[0, 1\]"),
        (lambda: Stragglers(slowdown=0), "slowdown must be above 0"),
        (lambda: Stragglers(base=PerEdge([[1.0]])), "base must be a number or a model of steps .* got PerEdge"),
        (lambda: Links(latency=Stragglers()), "latency must be a number or a model of messages .* got Stragglers"),
    ],
)
def test_values_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_sizes(tmp_path):
    np.save(tmp_path / "t.npy", np.ones((5, 3)))
    trace = Trace(str(tmp_path / "t.npy"))
    links = Links(compute=Stragglers(base=PerNode([1.0])), latency=PerEdge(np.ones((3, 4)).tolist()), bandwidth=trace)
    assert list(links.problems(4)) == [
        ("compute", "PerNode has 1 values for 4 nodes; give one per node"),
        ("latency", "PerEdge has a matrix of shape (3, 4) for 4 nodes; give a row and a column per node"),
        ("bandwidth", "Trace has 3 columns for 4 nodes; give one per node"),
    ]
    assert list(Links(compute=Stragglers(nodes=[0, 4])).problems(4)) == [
        ("compute", "Stragglers has nodes [0, 4], but they are 0 ... 3")
    ]
    assert not list(Links(compute=LogNormal(1.0, 1.0), bandwidth=trace).problems(3))


def test_what_models_give_is_checked():
    class Mine:
        def __init__(self, values):
            self.values = values

        def of_nodes(self, steps, rng):
            return self.values

        def of_edges(self, senders, receivers, exchange, rng):
            return np.resize(self.values, len(senders))

    with pytest.raises(ValueError, match=r"compute: the model gave values of shape \(3,\) for 8 nodes"):
        clock(compute=Mine(np.ones(3))).work(EVERYONE)
    with pytest.raises(ValueError, match=r"compute: the model gave -1.0, and numbers >= 0 are needed"):
        clock(compute=Mine(-np.ones(N))).work(EVERYONE)
    with pytest.raises(ValueError, match=r"latency: the model gave nan"):
        clock(latency=Mine(np.full(N, np.nan))).exchange(RING, BYTES)
    with pytest.raises(ValueError, match=r"bandwidth: the model gave 0.0, and numbers above 0 are needed"):
        clock(bandwidth=Mine(np.array([1.0, 0.0]))).exchange(RING, BYTES)
