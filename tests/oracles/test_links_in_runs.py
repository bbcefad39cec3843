"""Whole runs on imperfect networks: what an absent node keeps, which invariants survive, and simulated time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gossipsim
from gossipsim import testing
from gossipsim.config import plan
from gossipsim.parts import Parts

Array = np.ndarray[Any, Any]
N, D, ETA = 5, 3, 0.2
RNG = np.random.default_rng(11)
A = np.concatenate([np.tile(np.eye(D), (N, 1, 1)), 0.3 * RNG.normal(size=(N, 2, D))], axis=1)
B = 3 * RNG.normal(size=(N, D + 2))
OPTIMUM = np.linalg.solve(np.einsum("nmi,nmj->ij", A, A), np.einsum("nmi,nm->i", A, B))

AWAY = [{"nodes": [1, 4], "leave": 5, "back": 15}, {"nodes": [2], "leave": 9, "back": 25}, {"nodes": [3], "back": 12}]
"""Two leave and return, one too, one joins late; all are there from round 25 on."""


def gradients(X: Array) -> Array:
    """The gradients of all nodes, each at its row."""
    return np.einsum("nmi,nm->ni", A, np.einsum("nmi,ni->nm", A, X) - B)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("problem") / "quadratic.npz"
    np.savez(path, A=A, b=B)
    return str(path)


def config(
    problem: str,
    strategy: str | dict[str, Any] = "LocalThenGossip",
    links: dict[str, Any] | None = None,
    *,
    steps: int = 80,
    topology: str = "ring",
    weights: str = "MetropolisHastings",
    **optimizer: Any,
) -> dict[str, Any]:
    kind = {"class": strategy} if isinstance(strategy, str) else strategy
    network: dict[str, Any] = {"nodes": N, "topology": f"gossipsim.network.{topology}"}
    network["weights"] = f"gossipsim.network.{weights}"
    if links is not None:
        network["links"] = {"class": "gossipsim.network.Links", "params": links}
    return {
        "name": "links",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"path": problem}},
                "models": ["gossipsim.models.Vector"],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": ETA} | optimizer}],
            }
        ],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": steps, "batch_size": None, "dtype": "float64", "log_every": 5, "eval_every": 5},
        },
        "network": network,
        "strategy": kind | {"class": f"gossipsim.strategies.{kind['class']}"},
    }


def run(experiment: dict[str, Any], workflow: Path) -> Any:
    (one,) = gossipsim.run(experiment, workflow=workflow).runs
    assert one.status == "complete", one.error
    return one


def states(experiment: dict[str, Any], rounds: int) -> Any:
    return testing.states(Parts(plan(experiment).runs[0]), rounds)


def arriving(experiment: dict[str, Any], rounds: int) -> list[tuple[Array, Array]]:
    """W as it arrives, and who is there, per round."""
    parts = Parts(plan(experiment).runs[0])
    links, seed = parts.links, parts.run.seed
    assert links is not None
    found = []
    for t in range(rounds):
        there = links.present(t, N, seed)
        W = links.deliver(parts.network.matrix(t), t, seed).W.toarray()
        found.append((W, np.ones(N, dtype=bool) if there is None else there))
    return found


CHURN = {"drop": 0.2, "symmetric": False, "absences": AWAY, "churn": {"leave": 0.05, "back": 0.3}}


def test_gossip_with_absences_is_its_recursion(problem: str) -> None:
    """X_i <- X_i - eta G_i for those present, then X <- W_t X."""
    experiment, X = config(problem, links=CHURN), np.zeros((N, D))
    for (nodes, _), (W, there) in zip(states(experiment, 40), arriving(experiment, 40), strict=True):
        X = W @ (X - ETA * np.where(there[:, None], gradients(X), 0))
        np.testing.assert_allclose(nodes.X.numpy(), X, rtol=0, atol=1e-12)


def test_tracking_with_absences_is_its_recursion(problem: str) -> None:
    """Those who are away keep X, Y and G_old."""
    experiment = config(problem, "GradientTracking", CHURN)
    X, Y, old = np.zeros((N, D)), np.zeros((N, D)), np.zeros((N, D))
    for t, ((nodes, _), (W, there)) in enumerate(zip(states(experiment, 40), arriving(experiment, 40), strict=True)):
        of = there[:, None]
        new = np.where(of, gradients(X), old)
        Y = np.where(of, new if t == 0 else W @ (Y - old + new), Y)
        X, old = W @ (X - ETA * np.where(of, Y, 0)), new
        for name, expected in (("Y", Y), ("G_old", old)):
            np.testing.assert_allclose(nodes.rows(name).numpy(), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(nodes.X.numpy(), X, rtol=0, atol=1e-12)


def test_all_reduce_averages_those_who_are_there(problem: str) -> None:
    experiment = config(problem, "AllReduce", {"absences": AWAY})
    X = np.zeros((N, D))
    for (nodes, _), (_, there) in zip(states(experiment, 40), arriving(experiment, 40), strict=True):
        X[there] -= ETA * gradients(X)[there].mean(0)
        np.testing.assert_allclose(nodes.X.numpy(), X, rtol=0, atol=1e-12)


def test_who_is_away_keeps_everything(problem: str) -> None:
    """Rows, state of the algorithm and of the optimizer, order of the data and random numbers, to the bit."""
    links = {"drop": 0.3, "absences": AWAY}
    experiment = config(problem, {"class": "GradientTracking", "params": {"momentum": 0.5}}, links, momentum=0.9)
    experiment["trainer"]["params"]["batch_size"] = 1

    def kept(nodes: Any, i: int) -> list[bytes]:
        node = list(nodes)[i]
        rows = [nodes.X, *(nodes._state[name] for name in sorted(nodes._state))]
        momentum = [node.optimizer.state[p].get("momentum_buffer") for p in node.parameters]
        streams = [nodes.streams.of(purpose, i).get_state() for purpose in ("noise", "model")]
        order = torch.tensor([nodes.batches.passes[i], nodes.batches.positions[i]])
        tensors = [*(matrix[i] for matrix in rows), *(m for m in momentum if m is not None), *streams, order]
        return [tensor.numpy().tobytes() for tensor in tensors]

    before: dict[int, list[bytes]] = {}
    changed = np.zeros((N, 2), dtype=int)
    for (nodes, _), (_, there) in zip(states(experiment, 30), arriving(experiment, 30), strict=True):
        now = {i: kept(nodes, i) for i in range(N)}
        for i in range(N) if before else ():
            assert (now[i] == before[i]) == (not there[i])
            changed[i, int(there[i])] += 1
        before = now
    assert (changed[:, 1] > 0).all()
    assert changed[:, 0].tolist() == [0, 10, 16, 11, 10]  # the first round has no predecessor


def test_a_joining_node_has_its_initial_row_until_then(problem: str) -> None:
    experiment = config(problem, links={"absences": [{"nodes": [3], "back": 12}]})
    experiment["trainer"]["params"]["init"] = "independent"
    rows = [nodes.X[3].clone() for nodes, _ in states(experiment, 13)]
    assert all(torch.equal(row, rows[0]) for row in rows[:12])
    assert not torch.equal(rows[12], rows[0])


VARIANTS = [{"class": "GradientTracking", "params": {"variant": v}} for v in ("diging", "semi", "atc")]
TRACKED = [*VARIANTS, {"class": "GradientTracking", "params": {"momentum": 0.5}}]


@pytest.mark.parametrize("strategy", TRACKED, ids=str)
def test_the_mean_of_y_is_that_of_the_gradients(problem: str, strategy: dict[str, Any]) -> None:
    links = {"drop": 0.3, "absences": AWAY, "churn": {"leave": 0.1, "back": 0.3}}
    for nodes, _ in states(config(problem, strategy, links), 40):
        drift = (nodes.rows("Y") - nodes.rows("G_old")).mean(0).abs().max()
        assert drift < 1e-12


def test_one_sided_losses_break_it_and_push_diging_keeps_the_sum(problem: str) -> None:
    links = {"drop": 0.3, "symmetric": False, "absences": AWAY}
    drifts = {}
    for name, experiment in {
        "receiver": config(problem, VARIANTS[2], links),
        "push": config(problem, "PushDIGing", ONE_SIDED, topology="exponential", weights="Push"),
    }.items():
        nodes = [nodes for nodes, _ in states(experiment, 40)][-1]
        drifts[name] = float((nodes.rows("Y") - nodes.rows("G_old")).sum(0).abs().max())
    assert drifts["push"] < 1e-12
    assert drifts["receiver"] > 1e-3


BACK = {"absences": AWAY}
LOSSY = {"drop": 0.2, "absences": AWAY}
PUSH = {"topology": "exponential", "weights": "Push"}
ONE_SIDED = {"drop": 0.2, "symmetric": False, "renormalise": "sender", "absences": AWAY[1:]}
"""Those who are there are strongly connected, so that each has weight left."""


@pytest.mark.parametrize(
    ("strategy", "links", "network"),
    [
        *((strategy, LOSSY, {}) for strategy in VARIANTS),
        ("EXTRA", LOSSY, {"weights": "Lazy"}),
        ("ExactDiffusion", LOSSY, {}),
        ("D2", BACK, {}),
        ("D2", LOSSY, {"weights": "Lazy"}),
        ("PushDIGing", ONE_SIDED, PUSH),
    ],
    ids=lambda value: str(value)[:60],
)
def test_exact_methods_find_the_optimum_once_all_are_back(
    problem: str, strategy: Any, links: dict[str, Any], network: dict[str, str]
) -> None:
    """Also where messages go on being lost: the optimum is a fixed point for every W."""
    *_, (nodes, _) = states(config(problem, strategy, links, **network), 220)
    np.testing.assert_allclose(nodes.X.numpy(), np.tile(OPTIMUM, (N, 1)), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "strategy",
    ["LocalAndGossip", "GossipThenLocal", "DmSGD", "DecentLaM", "QGDSGDm", "PushSum", "MultiGossip", "Chebyshev"],
)
def test_the_others_survive(problem: str, strategy: str) -> None:
    """They settle where they do without absences."""
    kind: dict[str, Any] = {"class": strategy}
    if strategy == "Chebyshev":
        kind = {"class": "MultiGossip", "params": {"exchanges": 3, "chebyshev": True}}
    if strategy in ("DmSGD", "DecentLaM", "QGDSGDm"):
        kind["params"] = {"momentum": 0.5}
    ends = []
    for links in (BACK, None):
        *_, (nodes, _) = states(config(problem, kind, links), 110)
        ends.append(nodes.X.numpy().copy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-6)


def test_links_that_lose_nothing_change_nothing(problem: str, tmp_path: Path) -> None:
    """To the bit; a clock adds a field."""
    plain = testing.fingerprint(run(config(problem, "GradientTracking"), tmp_path / "plain"))
    still = testing.fingerprint(run(config(problem, "GradientTracking", {"drop": 0.0}), tmp_path / "still"))
    assert still == plain
    timed = run(config(problem, "GradientTracking", {"latency": 1.0, "churn": {"leave": 0, "back": 1}}), tmp_path / "t")
    assert testing.fingerprint(timed)["params_sha256"] == plain["params_sha256"]
    assert testing.fingerprint(timed)["steps.jsonl"] == plain["steps.jsonl"]
    assert all("sim_time" in record for record in timed.history)
    (one,) = gossipsim.load(tmp_path / "plain").runs
    assert [{k: v for k, v in record.items() if k != "sim_time"} for record in timed.history] == one.history


C, L, BANDWIDTH = 0.5, 0.25, 48.0
M = L + D * 8 / BANDWIDTH
"""A message of a row takes 0.75 s; all sums are exact."""
TIMED = {"compute": C, "latency": L, "bandwidth": BANDWIDTH}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("LocalThenGossip", lambda step, t: step * C + t * M),
        ({"class": "LocalThenGossip", "params": {"local_steps": 4}}, lambda step, t: step * C + t * M),
        ("LocalAndGossip", lambda step, t: step * C + t * M),
        ("AllReduce", lambda step, t: step * C + t * M),
        (VARIANTS[0], lambda step, t: step * C + max(0, 2 * t - 1) * M),  # the first Y is not mixed
        (VARIANTS[2], lambda step, t: step * C + max(0, 2 * t - 1) * M),
        ({"class": "MultiGossip", "params": {"exchanges": 3}}, lambda step, t: step * C + 3 * t * M),
        ("PushSum", lambda step, t: step * C + t * (M + L + 8 / BANDWIDTH)),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
def test_simulated_time_of_equal_nodes(problem: str, strategy: Any, expected: Any, tmp_path: Path) -> None:
    history = run(config(problem, strategy, TIMED, steps=31), tmp_path).history
    found = [record["sim_time"] for record in history]
    wanted = [expected(record["step"], record["round"]) for record in history]
    if isinstance(strategy, dict) and "local_steps" in strategy["params"]:
        # evaluated within a round: its exchange is still to come
        assert [record["round"] for record in history] == [record["step"] // 4 for record in history]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 if strategy == "PushSum" else 0)


def test_there_is_no_simulated_time_without_durations(problem: str, tmp_path: Path) -> None:
    assert all("sim_time" not in record for record in run(config(problem, links={"drop": 0.1}), tmp_path).history)


def test_all_reduce_waits_for_the_straggler_and_gossip_later(problem: str, tmp_path: Path) -> None:
    """Everyone from the first round on; on a ring those at distance k from round k on, and in the end all."""
    links = {"compute": {"class": "gossipsim.network.Stragglers", "params": {"base": C, "nodes": [0]}}, "latency": L}
    for strategy, per_round in (("AllReduce", 10 * C + L), ("LocalThenGossip", 10 * C)):
        record = run(config(problem, strategy, links, steps=20), tmp_path / strategy).history[-1]
        last = 0.0 if strategy == "AllReduce" else L  # neighbours have its last message
        assert record["sim_time"] == 20 * per_round + last


def test_a_round_without_anyone_passes(problem: str, tmp_path: Path) -> None:
    """Steps are counted when they are taken; the clock stands."""
    links = {"churn": {"leave": 0.9, "back": 0.1}, "compute": 1.0}
    experiment = config(problem, "GradientTracking", links, steps=30)
    one = run(experiment, tmp_path)
    empty = sum(not there.any() for _, there in arriving(experiment, one.last["round"]))
    assert empty > 5
    assert one.last["round"] == one.last["step"] + empty
    assert one.last["sim_time"] <= 30


@pytest.mark.parametrize(
    ("links", "network", "strategy", "text"),
    [
        ({"drop": 0.1, "symmetric": False}, {}, "LocalThenGossip", "the mean of the nodes moves; a symmetric W and"),
        ({"drop": 0.1}, {}, "LocalThenGossip", None),
        ({"drop": 0.1}, PUSH, "PushSum", 'set renormalise to "sender"'),
        (ONE_SIDED, PUSH, "PushSum", None),
        ({"drop": 0.1}, {}, "AllReduce", "drop has no effect"),
        ({"absences": AWAY}, {}, "AllReduce", "is back with its old parameters"),
    ],
)
def test_warnings(
    problem: str, links: dict[str, Any], network: dict[str, str], strategy: str, text: str | None, tmp_path: Path
) -> None:
    warnings = run(config(problem, strategy, links, steps=2, **network), tmp_path).summary["warnings"]
    found = [line for line in warnings if "network.links" in line]
    assert len(found) == (0 if text is None else 1)
    assert text is None or text in found[0]
