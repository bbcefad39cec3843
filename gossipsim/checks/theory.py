"""Gates that follow from theory: what a strategy claims and what a graph's spectrum says, measured and compared.

Four nodes with quadratics, full gradients, float64, on a ring (a path where the strategy needs a tree). What is wanted
comes from closed forms and from the strategy's claims, what is found from running it; nothing is judged by the code
that it judges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gossipsim import testing
from gossipsim.config import plan
from gossipsim.execution import one_thread
from gossipsim.mixing import Mix
from gossipsim.network import BaseGraph, Network, OnePeerExponential, Own, Weights, hypercube, path, ring, star, torus
from gossipsim.parts import Parts
from gossipsim.strategies import Claims, convergence_rate, stability_limit
from gossipsim.streams import generator
from gossipsim.world import World

Spec = str | Mapping[str, Any]
Array = np.ndarray[Any, Any]

NODES, ROUNDS = 4, 120

_FRANK_WOLFE = {
    "class": "gossipsim.optim.FrankWolfe",
    "params": {"constraint": {"class": "gossipsim.optim.constraints.Linf", "params": {"radius": 5.0}}},
}


_UNEQUAL = {"dim": 3, "condition": 2.0}
"""Functions that differ in curvature and minimiser."""

_MUON = {"class": "gossipsim.optim.Muon", "params": {"lr": 0.05, "momentum": 0.0, "nesterov": False}}

_ONE_APART = {"centers": [0.0] * (NODES - 1) + [float(NODES)]}
"""One node of `NODES` has its minimum elsewhere, such that the mean is at 1."""


@dataclass(frozen=True)
class Outcome:
    """A gate with what was wanted and what was found; `passed` None: nothing is claimed, the figure is for you."""

    passed: bool | None
    gate: str
    wanted: str
    found: str


def of_networks() -> Iterator[Outcome]:
    """Pure gossip contracts as the closed forms of the spectra say, and finite-time graphs are exact in time."""
    n = 16
    closed_forms: list[tuple[str, Any, float]] = [
        ("ring", ring(n), 1 / 3 + 2 / 3 * math.cos(2 * math.pi / n)),
        ("path", path(n), 1 / 3 + 2 / 3 * math.cos(math.pi / n)),
        ("star", star(n), 1 - 1 / n),
        ("torus", torus(n), (3 + 2 * math.cos(2 * math.pi / 4)) / 5),
        ("hypercube", hypercube(n), 1 - 2 / 5),
    ]
    for name, graph, wanted in closed_forms:
        found = _contraction(Network(n, graph))
        yield Outcome(abs(found - wanted) < 1e-6, f"contraction: {name}({n})", f"{wanted:.6f}", f"{found:.6f}")
    exact: list[tuple[str, int, Any, Weights | None, int]] = [
        ("one-peer exponential", 16, OnePeerExponential(16), None, 4),
        ("Base-3 graph", 25, BaseGraph(25, k=2), Own(), 6),
    ]
    for name, n, topology, weights, rounds in exact:
        left = _left_after(Network(n, topology, weights), rounds)
        wanted_text = f"0 after {rounds} rounds"
        yield Outcome(left < 1e-14, f"exact consensus: {name}({n})", wanted_text, f"{left:.1e}")


def of_oracles() -> Iterator[Outcome]:
    """Muon on the complete graph, (x - c_i)^2/2 with c = 0, 0, 0, 4: at the median, 0, or tracked at the mean, 1."""
    for name, wanted in (("LocalThenGossip", 0.0), ("GradientTracking", 1.0)):
        subject = Subject(f"gossipsim.strategies.{name}", "gossipsim.network.complete", Claims())
        rows = testing.trajectory(_parts(subject, _ONE_APART, init=1.5, optimizer=_MUON, model="Matrix"), ROUNDS)
        found = float(np.mean(rows[-10:]))
        gate = f"Muon behind {name}, complete graph"
        yield Outcome(abs(found - wanted) <= 0.1, gate, f"{wanted:g} +- 0.1", f"{found:.3f}")


def named(text: str) -> Spec:
    """The spec of a strategy as typed: a class path, the name of one of ours, or JSON.

    >>> named("GradientTracking")
    'gossipsim.strategies.GradientTracking'

    Raises:
        ValueError: for JSON that is neither a string nor an object with a class.
    """
    try:
        spec = json.loads(text) if text.lstrip().startswith("{") else text
    except json.JSONDecodeError as error:
        raise ValueError(f"--strategy: {text}: no JSON: {error}") from error
    path = spec["class"] if isinstance(spec, dict) and "class" in spec else spec
    if not isinstance(path, str):
        raise ValueError(f'--strategy: {text}: give a class path, or {{"class": ..., "params": {{...}}}}')
    full = path if "." in path else f"gossipsim.strategies.{path}"
    return {**spec, "class": full} if isinstance(spec, dict) else full


def shipped() -> list[Spec]:
    """Our strategies, in the order in which they are checked."""
    listed = json.loads((Path(__file__).parent / "strategies.json").read_text())
    return [named(entry if isinstance(entry, str) else json.dumps(entry)) for entry in listed]


@dataclass(frozen=True)
class Subject:
    """A strategy, on a graph that it can use."""

    spec: Spec
    topology: str
    claims: Claims


def subject_of(spec: Spec) -> Subject:
    """Builds the strategy.

    Raises:
        ConfigError: for a spec that cannot be built.
    """
    on_a_ring = Subject(spec, "gossipsim.network.ring", Claims())
    claims = _parts(on_a_ring).claims
    topology = "gossipsim.network.path" if "tree" in claims.needs else on_a_ring.topology
    return Subject(spec, topology, claims)


def of_strategy(subject: Subject) -> Iterator[Outcome]:
    """What a strategy claims, measured."""
    for gate in (_one_node, _rate, _stability, _bias, _bias_behind_oracles):
        yield from gate(subject)


def laws(subject: Subject) -> Iterator[Outcome]:
    """The laws of the simulator, for one strategy."""
    config = _config(subject, _UNEQUAL, steps=12, batch_size=2)
    for name, law in testing.LAWS.items():
        if name in ("mean", "contraction", "degenerate"):  # of the network, and a gate above
            continue
        yield _lawful(name, lambda law=law: law(config))  # type: ignore[misc]


def _lawful(name: str, law: Callable[[], None]) -> Outcome:
    try:
        law()
    except testing.LawBroken as broken:
        return Outcome(False, f"law: {name}", "holds", str(broken).removeprefix(f"{name}: "))
    return Outcome(True, f"law: {name}", "holds", "holds")


def _one_node(subject: Subject) -> Iterator[Outcome]:
    config = _config(subject, _UNEQUAL, steps=12)
    yield _lawful("one node is a plain PyTorch loop", lambda: testing.degenerate(config))


def _rate(subject: Subject) -> Iterator[Outcome]:
    """All f_i alike: every eigenspace of W follows the characteristic polynomial, and so the error dies out."""
    a = 0.3
    rows = _error(subject, a)
    found = _rate_of(rows)
    if subject.claims.characteristic is None:
        yield Outcome(found < 1, f"converges, eta h = {a}", "rate < 1", f"{found:.4f}")
        return
    eigenvalues, vectors = _eigen(subject)
    wanted = convergence_rate(subject.claims.characteristic, eigenvalues, a)
    yield Outcome(abs(found - wanted) < 0.03, f"rate per round, eta h = {a}", f"{wanted:.4f}", f"{found:.4f}")
    if subject.claims.over != "graph":
        return
    left = 0.0
    for w, v in zip(eigenvalues, vectors.T, strict=True):
        signal = np.einsum("n,tnd->t", v, rows[:30])
        left = max(left, float(np.abs(np.convolve(signal, subject.claims.characteristic(w, a), mode="valid")).max()))
    yield Outcome(left < 1e-12, "its recursion in every eigenspace of W", "error <= 1e-12", f"{left:.1e}")


def _stability(subject: Subject) -> Iterator[Outcome]:
    """The largest step size: just below it the error dies out, just above it grows."""
    if subject.claims.characteristic is None:
        return
    limit = stability_limit(subject.claims.characteristic, _eigen(subject)[0])
    for factor, side in ((0.9, "<"), (1.1, ">")):
        found = _rate_of(_error(subject, factor * limit))
        passed = found < 1 if side == "<" else found > 1
        yield Outcome(passed, f"{factor} of its limit eta h = {limit:.4f}", f"rate {side} 1", f"{found:.4f}")


def _bias(subject: Subject) -> Iterator[Outcome]:
    """Nodes whose functions and curvatures differ: the optimum, or a point beside it."""
    optimum = _optimum(parts := _parts(subject, _UNEQUAL, lr=0.18))
    found = float(np.abs(testing.trajectory(parts, 5 * ROUNDS // 2)[-1] - optimum).max())
    yield _judged("distance from the optimum, SGD", subject.claims.exact, found, exact=1e-8, biased=1e-3)


def _bias_behind_oracles(subject: Subject) -> Iterator[Outcome]:
    """Frank-Wolfe on (x - c_i)^2/2 with c = 0, 0, 0, 4: the mean is at 1, and the median at 0."""
    parts = _parts(subject, _ONE_APART, optimizer=_FRANK_WOLFE)
    try:
        rows = testing.trajectory(parts, ROUNDS)[-1]
    except ValueError as refused:
        yield Outcome(None, "distance from the mean, Frank-Wolfe", "-", f"not possible: {refused}"[:60])
        return
    found = abs(float(rows.mean()) - 1)
    yield _judged("distance from the mean, Frank-Wolfe", subject.claims.exact_lmo, found, exact=0.1, biased=0.5)


def _judged(gate: str, claim: bool | None, found: float, *, exact: float, biased: float) -> Outcome:
    if claim is None:
        return Outcome(None, gate, "nothing is claimed", f"{found:.1e}")
    wanted = f"exact: <= {exact:g}" if claim else f"biased: >= {biased:g}"
    return Outcome(found <= exact if claim else found >= biased, gate, wanted, f"{found:.1e}")


def _error(subject: Subject, a: float) -> Array:
    """The rows after each round, (rounds, N, d), where all f_i are |x|^2/2 and the nodes begin apart."""
    parts = _parts(subject, {"centers": [[0.0, 0.0]] * NODES}, lr=a, init=1.0)
    return np.stack(testing.trajectory(parts, ROUNDS, change=0 if parts.claims.over == "graph" else None))


def _rate_of(rows: Array) -> float:
    """The factor per round by which the rows approach 0 in the end, before rounding is all that is left."""
    distances = np.sqrt((rows * rows).sum(axis=(1, 2)))
    if not np.isfinite(distances).all():
        return math.inf
    seen = np.flatnonzero(distances > 1e-11 * distances[0])
    seen = seen[len(seen) // 2 :]
    slope, _ = np.polyfit(seen, np.log(distances[seen]), 1)
    return float(np.exp(slope))


def _contraction(network: Network) -> float:
    """The factor by which pure gossip shrinks its slowest direction, by power iteration on the simulator's mix."""
    mix, ratio = Mix(World(network.nodes), network), 0.0
    X = torch.randn(network.nodes, 1, dtype=torch.float64, generator=generator(0, None, "theory"))
    with one_thread():
        for _ in range(600):
            X = X - X.mean(0)
            X = mix(X / X.norm())
            ratio = float((X - X.mean(0)).norm())
    return ratio


def _left_after(network: Network, rounds: int) -> float:
    """The largest distance from the mean after some rounds of pure gossip."""
    mix = Mix(World(network.nodes), network)
    X = torch.randn(network.nodes, 3, dtype=torch.float64, generator=generator(0, None, "theory"))
    for _ in range(rounds):
        X = mix(X)
        mix.round += 1
    return float((X - X.mean(0)).abs().max())


def _eigen(subject: Subject) -> tuple[list[float], Array]:
    """Eigenvalues of W and its eigenvectors, as columns."""
    values, vectors = np.linalg.eigh(_parts(subject).network.matrix(0).toarray())
    return [float(value) for value in values], vectors


def _optimum(parts: Parts) -> Array:
    known = parts.optimum()
    assert known is not None
    x: Array = known.x.numpy()
    return x


def _parts(
    subject: Subject,
    task: Mapping[str, Any] = _UNEQUAL,
    *,
    lr: float = 0.1,
    init: float = 0.0,
    optimizer: Mapping[str, Any] | None = None,
    model: str = "Vector",
) -> Parts:
    return Parts(plan(_config(subject, task, lr=lr, init=init, optimizer=optimizer, model=model)).runs[0])


def _config(
    subject: Subject,
    task: Mapping[str, Any],
    *,
    lr: float = 0.1,
    init: float = 0.0,
    optimizer: Mapping[str, Any] | None = None,
    model: str = "Vector",
    steps: int = 1,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """A small run of the strategy on quadratics."""
    centers = task.get("centers")
    dim = task.get("dim", 1) if centers is None else len(np.atleast_1d(centers[0]))
    shape = {"dim": dim} if model == "Vector" else {"rows": dim, "columns": 1}
    sgd = {"class": "torch.optim.SGD", "params": {"lr": lr}}
    return {
        "name": "theory",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.QuadraticTask", "params": dict(task)},
                "models": [{"class": f"gossipsim.models.{model}", "params": {**shape, "init": init}}],
                "optimizers": [dict(optimizer) if optimizer is not None else sgd],
            }
        ],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": steps, "batch_size": batch_size, "dtype": "float64", "log_every": 5, "eval_every": 5},
        },
        "network": {"nodes": NODES, "topology": subject.topology},
        "strategy": subject.spec if isinstance(subject.spec, str) else dict(subject.spec),
    }
