"""The laws: what must hold for every strategy, optimizer and topology, yours too.

    from gossipsim import testing

    def test_my_strategy_obeys_the_laws():
        testing.check("my_experiment.json")          # or one law at a time: testing.layout(config)

Each law takes an experiment (a path or a dict, as :func:`gossipsim.run`), of which the first run is examined, and
raises :class:`LawBroken` with what was expected and what was found.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch

from gossipsim.config import plan
from gossipsim.data.batches import BatchStream
from gossipsim.execution import one_thread
from gossipsim.mixing import Mix
from gossipsim.network import Delivery, Links, Mask, Matrix, Network, as_matrix, spectrum
from gossipsim.nodes import Nodes, needs_closure, trainable
from gossipsim.parts import Parts, Tensors
from gossipsim.results import Run
from gossipsim.rounds import connect, play
from gossipsim.runner import run
from gossipsim.strategies.strategy import Alone, Outer
from gossipsim.streams import generator, global_stream
from gossipsim.world import World

Config = str | Path | Mapping[str, Any]


class LawBroken(AssertionError):
    """A law of the simulator does not hold for the given experiment."""


def layout(config: Config, processes: Sequence[int] = (1, 2, 4)) -> None:
    """Law 1: history, steps, frames and final parameters are byte-identical for every number of processes."""
    with tempfile.TemporaryDirectory(prefix="gossipsim-law-") as folder:
        fingerprints = {count: fingerprint(_only_run(config, count, Path(folder) / str(count))) for count in processes}
    reference = fingerprints[processes[0]]
    for count, found in fingerprints.items():
        for name, value in found.items():
            _hold(
                value == reference[name],
                f"layout: {name} differs between {processes[0]} and {count} processes",
            )


def fingerprint(result: Run) -> dict[str, Any]:
    """What must not depend on how a run is hosted: the bytes of its records, and the parameters' digest."""
    paths = {name: result.directory / name for name in ("history.jsonl", "steps.jsonl", "nodes.jsonl")}
    files = {name: path.read_bytes() if path.exists() else b"" for name, path in paths.items()}
    return files | {"params_sha256": result.summary["params_sha256"]}


def degenerate(config: Config, steps: int = 12) -> None:
    """Law 2: one node equals a hand-written PyTorch loop, bit for bit."""
    alone = {"network": {"nodes": 1, "topology": "gossipsim.network.complete"}, "trainer.params.steps": steps}
    with tempfile.TemporaryDirectory(prefix="gossipsim-law-") as folder:
        found = _only_run(config, 1, Path(folder), alone).parameters()[0]
    with one_thread():
        expected = plain_loop(_parts(config, alone), steps)
    difference = float(np.abs(found - expected).max())
    _hold(bool(np.array_equal(found, expected)), f"degenerate: one node differs from a plain loop by {difference}")


def plain_loop(parts: Parts, steps: int) -> np.ndarray[Any, Any]:
    """Ordinary supervised training, written as anyone would: the final parameters (d,)."""
    trainer, seed = parts.trainer, parts.run.seed
    (inputs, targets), _ = parts.tensors(torch.device("cpu"), trainer.dtype)
    with global_stream(generator(seed, 0, "init")):
        model = parts.model()
    optimizer, scheduler = parts.optimizer(model)
    batches = BatchStream(parts.shards[0], trainer.batch_size, generator(seed, 0, "data"))
    epoch = trainer.epoch_length(len(parts.shards[0]), 1)
    alone, kept = parts.claims.alone, [torch.zeros_like(p) for p in trainable(model)]
    outer, rounds = parts.claims.outer, [(p.detach().clone(), torch.zeros_like(p)) for p in trainable(model)]
    with global_stream(generator(seed, 0, "model")):
        for step in range(1, steps + 1):
            batch = batches.next()
            backward = partial(_backward, parts, model, optimizer, (inputs[batch], targets[batch]))
            backward()
            if alone is not None:
                _replace_gradients(model, alone, kept)
            _clip(parts, model)
            if needs_closure(optimizer):
                optimizer.step(backward)  # type: ignore[arg-type]  # torch's closures return tensors
            else:
                optimizer.step()
            if outer is not None and step % outer.every == 0:
                _outer_step(model, outer, rounds)
            if scheduler is not None and (parts.schedule_every == "step" or step % epoch == 0):
                scheduler.step()
    return torch.cat([p.detach().reshape(-1) for p in trainable(model)]).numpy()


def _replace_gradients(model: torch.nn.Module, alone: Alone, kept: list[torch.Tensor]) -> None:
    """What the method makes of a gradient on a node by itself, with the state that it keeps for it."""
    for k, p in enumerate(trainable(model)):
        assert p.grad is not None
        direction, kept[k] = alone(kept[k], p.grad)
        p.grad = direction.clone()  # clipping must not reach what is kept


def _outer_step(model: torch.nn.Module, outer: Outer, rounds: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """What the method makes of the parameters after a round of steps; `rounds`: they before it, and kept state."""
    for k, p in enumerate(trainable(model)):
        old, state = rounds[k]
        new, state = outer(old, p.detach(), state)
        p.data.copy_(new)
        rounds[k] = new, state


def _backward(parts: Parts, model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Tensors) -> torch.Tensor:
    """The loss of a batch, with its gradients in the parameters."""
    optimizer.zero_grad()
    inputs, targets = batch
    loss = parts.task.loss_fn(model(inputs), targets)
    regularizer = getattr(parts.task, "regularizer", None)
    if regularizer is not None:
        loss = loss + regularizer(model)
    torch.autograd.backward(loss)
    return loss


def _clip(parts: Parts, model: torch.nn.Module) -> None:
    clip = parts.run.optimizer.get("clip_grad_norm")
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)


def mean_preservation(config: Config, rounds: int = 20, tolerance: float = 1e-12) -> None:
    """Law 3: a doubly stochastic mix keeps the average of the rows (float64)."""
    parts = _parts(config)
    mix, X = Mix(World(parts.count), parts.network), _random_rows(parts.count)
    if not parts.network.certificate()["doubly_stochastic"]:
        raise ValueError("mean: W is not doubly stochastic, the law does not apply")
    before = X.mean(0)
    for _ in range(rounds):
        X = mix(X)
        mix.round += 1
    drift = float((X.mean(0) - before).abs().max())
    _hold(drift <= tolerance, f"mean: {rounds} rounds moved the average by {drift:.2e} > {tolerance:.0e}")


def contraction(config: Config, tolerance: float = 1e-8) -> None:
    """Law 4: pure gossip contracts sqrt(consensus) by ||W - J||_2, as `spectrum` predicts, and no direction by less.

    The worst direction is found by iterating the simulator's own mix with its transpose, not by an eigensolver.
    """
    parts = _parts(config)
    W = parts.network.matrix(0)
    predicted = spectrum(W).slem
    mix, X = Mix(World(parts.count), parts.network), _random_rows(parts.count)
    ratio = 0.0
    for _ in range(20_000):
        X = X - X.mean(0)
        X = X / torch.linalg.vector_norm(X, dim=0)
        mixed = mix(X)
        new = float(torch.linalg.vector_norm(mixed - mixed.mean(0), dim=0).max())
        _hold(new <= predicted + tolerance, f"contraction: a direction shrank by {new}, slem is {predicted}")
        if abs(new - ratio) <= tolerance * 1e-4 and abs(new - predicted) <= tolerance:
            return
        ratio, X = new, torch.from_numpy(W.T @ (mixed - mixed.mean(0)).numpy())
    raise LawBroken(f"contraction: measured {ratio}, spectrum predicts {predicted}")


def light_cone(config: Config, node: int = 0, rounds: int = 3) -> None:
    """Law 5: after k exchanges a change at one node has reached the nodes within k hops and no others."""
    parts = _parts(config)
    _pure_cone(parts, node, rounds)
    changed = _exchanges(parts, rounds, change=node)
    reference = _exchanges(parts, rounds)
    for (rows, exchanges), (expected, _) in zip(changed, reference, strict=True):
        reached = set(np.flatnonzero((rows != expected).any(axis=1)).tolist())
        allowed = _within(parts.network, node, exchanges)
        _hold(
            reached <= allowed,
            f"light cone: after {exchanges} exchanges node {node} has reached {sorted(reached - allowed)}",
        )
        _hold(node in reached, f"light cone: a change at node {node} was lost")


def relabelling(config: Config, rounds: int = 5, tolerance: float = 1e-9) -> None:
    """Law 6: permuting node ids, with their streams and shards, permutes the results (to rounding, in float64)."""
    parts = _parts(config, {"trainer.params.dtype": "float64"})
    order = np.random.default_rng(0).permutation(parts.count)
    found = trajectory(parts, rounds, permutation=order)[-1]
    expected = trajectory(parts, rounds)[-1][order]
    difference = float(np.abs(found - expected).max())
    _hold(difference <= tolerance, f"relabelling: rows differ by {difference:.2e} > {tolerance:.0e}")


def streams(seeds: int = 10, nodes: int = 200, purposes: Sequence[str] = ("data", "init", "model")) -> None:
    """Law 8: streams are keyed by (seed, node, purpose), and no two keys collide."""
    seen: dict[bytes, tuple[int, int, str]] = {}
    for seed in range(seeds):
        for node in range(nodes):
            for purpose in purposes:
                words = torch.randint(0, 2**62, (2,), generator=generator(seed, node, purpose)).numpy().tobytes()
                key = (seed, node, purpose)
                _hold(words not in seen, f"streams: {key} and {seen.get(words)} draw the same numbers")
                seen[words] = key


def traffic(config: Config, processes: Sequence[int] = (1, 2), rounds: int = 4) -> None:
    """Law 9: recorded bytes are the sum over directed edges of what the algorithm claims to send, for every P.

    Where chance decides how much a round sends (`claims.chance`), they only have to be the same for every P.
    """
    parts = _parts(config)
    row = trajectory(parts, 1)[-1][0]
    counts = [mix.traffic.bytes_sent for _, mix in _states(parts, rounds)]
    steady = counts[-1] - counts[-2]
    expected = _claimed_bytes(parts, rounds - 1, row)
    _hold(parts.claims.chance or steady == expected, f"traffic: a round sends {steady} bytes, the claim is {expected}")
    with tempfile.TemporaryDirectory(prefix="gossipsim-law-") as folder:
        recorded = {
            count: _only_run(config, count, Path(folder) / str(count)).history[-1]["bytes_sent"] for count in processes
        }
    _hold(len(set(recorded.values())) == 1, f"traffic: recorded bytes depend on the processes: {recorded}")


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


LAWS: dict[str, Callable[[Config], None]] = {
    "layout": layout,
    "degenerate": degenerate,
    "mean": mean_preservation,
    "contraction": contraction,
    "light cone": light_cone,
    "relabelling": relabelling,
    "traffic": traffic,
}
"""The laws that are about an experiment, by name."""


def check(config: Config) -> None:
    """All laws that apply to an experiment.

    Raises:
        LawBroken: for the first that does not hold.
    """
    network = _parts(config).network.certificate()
    for name, law in LAWS.items():
        if name == "mean" and not network["doubly_stochastic"]:
            continue
        if name == "contraction" and network["time_varying"]:
            continue
        law(config)


def trajectory(
    parts: Parts, rounds: int, *, change: int | None = None, permutation: np.ndarray[Any, Any] | None = None
) -> list[np.ndarray[Any, Any]]:
    """The rows (N, d) after each round, hosted in this process, without a trainer around them.

    Args:
        change: a node that starts 1 away from the others, in every entry.
        permutation: nodes in another order, with their streams and shards.
    """
    return [rows for rows, _ in _exchanges(parts, rounds, change=change, permutation=permutation)]


def _exchanges(
    parts: Parts, rounds: int, *, change: int | None = None, permutation: np.ndarray[Any, Any] | None = None
) -> list[tuple[np.ndarray[Any, Any], int | None]]:
    """After each round: the rows, and the exchanges so far (None once all nodes have been averaged)."""
    states = _states(parts, rounds, change=change, permutation=permutation)
    return [(nodes.X.numpy().copy(), None if mix.averaged else mix.exchanges) for nodes, mix in states]


def _states(
    parts: Parts, rounds: int, *, change: int | None = None, permutation: np.ndarray[Any, Any] | None = None
) -> Iterator[tuple[Nodes, Mix]]:
    """Plays `rounds` rounds of the strategy; optionally from a changed row, or with the nodes in another order."""
    order = list(range(parts.count)) if permutation is None else [int(i) for i in permutation]
    network = parts.network if permutation is None else _Relabelled(parts.network, order)
    world = World(parts.count)
    train, _ = parts.tensors(world.device, parts.trainer.dtype)
    with one_thread():
        nodes = Nodes(world, parts.task, parts.recipe(), [parts.shards[i] for i in order], train, streams=order)
        links = parts.links
        if links is not None and permutation is not None:
            links = _RelabelledLinks(links, order)
        mix = connect(nodes, network, links, parts.compressor)
        if change is not None:
            nodes.X[change] += 1.0
        parts.strategy.init(nodes, mix)
        for _ in range(rounds):
            play(parts.strategy, nodes, mix)
            yield nodes, mix


class _Relabelled(Network):
    """A network whose node k is node order[k] of another one."""

    def __init__(self, network: Network, order: list[int]) -> None:
        self._network, self._order = network, order
        self.nodes, self.period = network.nodes, network.period
        self.topology, self.name = network.topology, network.name

    def matrix(self, round: int) -> Any:  # noqa: A002
        W = self._network.matrix(round)[self._order][:, self._order].tocsr()
        W.sort_indices()
        return W


class _RelabelledLinks(Links):
    """Links of which node k is node order[k] of others; the clock is theirs."""

    def __init__(self, links: Links, order: list[int]) -> None:
        self._links, self._order, self._back = links, order, np.argsort(order)
        self.clock = links.clock  # type: ignore[method-assign]

    @property
    def loses(self) -> bool:
        return self._links.loses

    def present(self, round: int, nodes: int, seed: int) -> Mask | None:  # noqa: A002
        there = self._links.present(round, nodes, seed)
        return None if there is None else there[self._order]

    def deliver(self, W: Matrix, round: int, seed: int) -> Delivery:  # noqa: A002
        theirs = self._links.deliver(as_matrix(W[self._back][:, self._back]), round, seed)
        return Delivery(as_matrix(theirs.W[self._order][:, self._order]), theirs.messages)


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
        _hold(reached == expected, f"light cone: {k} mixes reach {sorted(reached)}, expected {sorted(expected)}")


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


def _only_run(config: Config, processes: int, workflow: Path, overrides: Mapping[str, Any] | None = None) -> Run:
    first = plan(config, overrides=overrides or {}).runs[0]
    cell = first.cell if processes <= first.network["nodes"] else {}  # else it is another that can use so many
    alone = {**(overrides or {}), **cell, "seeds": [first.seed]}
    result = run(config, processes=processes, overrides=alone, workflow=workflow).runs[0]
    _hold(
        result.status in ("complete", "diverged"),
        f"the run on {processes} processes {result.status}: {result.error}",
    )
    return result


def _parts(config: Config, overrides: Mapping[str, Any] | None = None) -> Parts:
    return Parts(plan(config, overrides=overrides or {}).runs[0])


def _random_rows(nodes: int) -> torch.Tensor:
    return torch.randn(nodes, 4, dtype=torch.float64, generator=generator(0, None, "law"))


def _hold(condition: bool, message: str) -> None:
    if not condition:
        raise LawBroken(message)
