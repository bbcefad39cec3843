"""The laws, each a function of an experiment."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch

from gossipsim.execution import one_thread
from gossipsim.mixing import Mix
from gossipsim.network import Network, spectrum
from gossipsim.nodes import trainable
from gossipsim.parts import Parts
from gossipsim.streams import generator, global_stream
from gossipsim.testing.plain import plain_loop
from gossipsim.testing.playing import exchanges, states, trajectory
from gossipsim.testing.resuming import resume
from gossipsim.testing.subject import Config, LawBroken, fingerprint, hold, only_run, parts_of
from gossipsim.world import World


def layout(config: Config, processes: Sequence[int] = (1, 2, 4)) -> None:
    """Law 1: history, steps, frames and final parameters are byte-identical for every number of processes."""
    with tempfile.TemporaryDirectory(prefix="gossipsim-law-") as folder:
        fingerprints = {count: fingerprint(only_run(config, count, Path(folder) / str(count))) for count in processes}
    reference = fingerprints[processes[0]]
    for count, found in fingerprints.items():
        for name, value in found.items():
            hold(
                value == reference[name],
                f"layout: {name} differs between {processes[0]} and {count} processes",
            )


def degenerate(config: Config, steps: int = 12) -> None:
    """Law 2: one node equals a hand-written PyTorch loop, bit for bit."""
    alone = {"network": {"nodes": 1, "topology": "gossipsim.network.complete"}, "trainer.params.steps": steps}
    with tempfile.TemporaryDirectory(prefix="gossipsim-law-") as folder:
        found = only_run(config, 1, Path(folder), alone).parameters()[0]
    with one_thread():
        expected = plain_loop(parts_of(config, alone), steps)
    difference = float(np.abs(found - expected).max())
    hold(bool(np.array_equal(found, expected)), f"degenerate: one node differs from a plain loop by {difference}")


def mean_preservation(config: Config, rounds: int = 20, tolerance: float = 1e-12) -> None:
    """Law 3: a doubly stochastic mix keeps the average of the rows (float64)."""
    parts = parts_of(config)
    mix, X = Mix(World(parts.count), parts.network), _random_rows(parts.count)
    if not parts.network.certificate()["doubly_stochastic"]:
        raise ValueError("mean: W is not doubly stochastic, the law does not apply")
    before = X.mean(0)
    for _ in range(rounds):
        X = mix(X)
        mix.round += 1
    drift = float((X.mean(0) - before).abs().max())
    hold(drift <= tolerance, f"mean: {rounds} rounds moved the average by {drift:.2e} > {tolerance:.0e}")


def contraction(config: Config, tolerance: float = 1e-8) -> None:
    """Law 4: pure gossip contracts sqrt(consensus) by ||W - J||_2, as `spectrum` predicts, and no direction by less.

    The worst direction is found by iterating the simulator's own mix with its transpose, not by an eigensolver.
    """
    parts = parts_of(config)
    W = parts.network.matrix(0)
    predicted = spectrum(W).slem
    mix, X = Mix(World(parts.count), parts.network), _random_rows(parts.count)
    ratio = 0.0
    for _ in range(20_000):
        X = X - X.mean(0)
        X = X / torch.linalg.vector_norm(X, dim=0)
        mixed = mix(X)
        new = float(torch.linalg.vector_norm(mixed - mixed.mean(0), dim=0).max())
        hold(new <= predicted + tolerance, f"contraction: a direction shrank by {new}, slem is {predicted}")
        if abs(new - ratio) <= tolerance * 1e-4 and abs(new - predicted) <= tolerance:
            return
        ratio, X = new, torch.from_numpy(W.T @ (mixed - mixed.mean(0)).numpy())
    raise LawBroken(f"contraction: measured {ratio}, spectrum predicts {predicted}")


def light_cone(config: Config, node: int = 0, rounds: int = 3) -> None:
    """Law 5: after k exchanges a change at one node has reached the nodes within k hops and no others."""
    parts = parts_of(config)
    _pure_cone(parts, node, rounds)
    changed = exchanges(parts, rounds, change=node)
    reference = exchanges(parts, rounds)
    for (rows, count), (expected, _) in zip(changed, reference, strict=True):
        reached = set(np.flatnonzero((rows != expected).any(axis=1)).tolist())
        allowed = _within(parts.network, node, count)
        hold(
            reached <= allowed,
            f"light cone: after {count} exchanges node {node} has reached {sorted(reached - allowed)}",
        )
        hold(node in reached, f"light cone: a change at node {node} was lost")


def relabelling(config: Config, rounds: int = 5, tolerance: float = 1e-9) -> None:
    """Law 6: permuting node ids, with their streams and shards, permutes the results (to rounding, in float64)."""
    parts = parts_of(config, {"trainer.params.dtype": "float64"})
    order = np.random.default_rng(0).permutation(parts.count)
    found = trajectory(parts, rounds, permutation=order)[-1]
    expected = trajectory(parts, rounds)[-1][order]
    difference = float(np.abs(found - expected).max())
    hold(difference <= tolerance, f"relabelling: rows differ by {difference:.2e} > {tolerance:.0e}")


def streams(seeds: int = 10, nodes: int = 200, purposes: Sequence[str] = ("data", "init", "model")) -> None:
    """Law 8: streams are keyed by (seed, node, purpose), and no two keys collide."""
    seen: dict[bytes, tuple[int, int, str]] = {}
    for seed in range(seeds):
        for node in range(nodes):
            for purpose in purposes:
                words = torch.randint(0, 2**62, (2,), generator=generator(seed, node, purpose)).numpy().tobytes()
                key = (seed, node, purpose)
                hold(words not in seen, f"streams: {key} and {seen.get(words)} draw the same numbers")
                seen[words] = key


def traffic(config: Config, processes: Sequence[int] = (1, 2), rounds: int = 4) -> None:
    """Law 9: recorded bytes are the sum over directed edges of what the algorithm claims to send, for every P.

    Where chance decides how much a round sends (`claims.chance`), they only have to be the same for every P.
    """
    parts = parts_of(config)
    row = trajectory(parts, 1)[-1][0]
    counts = [mix.traffic.bytes_sent for _, mix in states(parts, rounds)]
    steady = counts[-1] - counts[-2]
    expected = _claimed_bytes(parts, rounds - 1, row)
    hold(parts.claims.chance or steady == expected, f"traffic: a round sends {steady} bytes, the claim is {expected}")
    with tempfile.TemporaryDirectory(prefix="gossipsim-law-") as folder:
        recorded = {
            count: only_run(config, count, Path(folder) / str(count)).history[-1]["bytes_sent"] for count in processes
        }
    hold(len(set(recorded.values())) == 1, f"traffic: recorded bytes depend on the processes: {recorded}")


def _claimed_bytes(parts: Parts, round_: int, row: np.ndarray[Any, Any]) -> float:
    """What the strategy says that all nodes send in a round."""
    claims, compressor = parts.claims, parts.claims.compressor or parts.compressor
    with global_stream(generator(0, 0, "init")):
        shapes = [p.shape for p in trainable(parts.model())]
    message = row.nbytes if compressor is None else compressor.nbytes(len(row), row.itemsize, shapes)
    there, sent = parts.count, parts.network.messages(round_)
    if parts.links is not None and parts.links.loses:
        present = parts.links.present(round_, parts.count, parts.run.seed)
        there = parts.count if present is None else int(present.sum())
        sent = parts.links.deliver(parts.network.matrix(round_), round_, parts.run.seed).messages
    edges = claims.messages_per_exchange(there, sent)
    return edges * (claims.sends * message + claims.numbers * row.itemsize)


def _pure_cone(parts: Parts, node: int, exchanges: int) -> None:
    """Mixing alone reaches exactly the nodes within k hops, W having no zero on an edge."""
    mix = Mix(World(parts.count), parts.network)
    X = torch.zeros(parts.count, 1, dtype=torch.float64)
    X[node] = 1.0
    for k in range(1, exchanges + 1):
        X = mix(X)
        mix.round += 1
        reached = set(torch.nonzero(X[:, 0]).flatten().tolist())
        expected = _within(parts.network, node, k)
        hold(reached == expected, f"light cone: {k} mixes reach {sorted(reached)}, expected {sorted(expected)}")


def _within(network: Network, node: int, exchanges: int | None) -> set[int]:
    """Nodes that `exchanges` exchanges can reach; on a changing graph, by the edges of those rounds."""
    if exchanges is None:
        return set(range(network.nodes))
    if network.period == 1:
        return set(nx.single_source_shortest_path_length(network.graph(0), node, cutoff=exchanges))
    reached = {node}
    for round_ in range(exchanges):
        graph = network.graph(round_)
        reached |= {v for u in reached for v in graph.neighbors(u)}
    return reached


def _random_rows(nodes: int) -> torch.Tensor:
    return torch.randn(nodes, 4, dtype=torch.float64, generator=generator(0, None, "law"))


LAWS: dict[str, Callable[[Config], object]] = {
    "layout": layout,
    "degenerate": degenerate,
    "mean": mean_preservation,
    "contraction": contraction,
    "light cone": light_cone,
    "relabelling": relabelling,
    "resume": resume,
    "traffic": traffic,
}
"""The laws that are about an experiment, by name."""


def check(config: Config) -> None:
    """All laws that apply to an experiment.

    Raises:
        LawBroken: for the first that does not hold.
    """
    network = parts_of(config).network.certificate()
    for name, law in LAWS.items():
        if name == "mean" and not network["doubly_stochastic"]:
            continue
        if name == "contraction" and network["time_varying"]:
            continue
        law(config)
