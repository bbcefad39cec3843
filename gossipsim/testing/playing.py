"""Rounds of a strategy without a trainer around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gossipsim.execution import one_thread
from gossipsim.mixing import Mix
from gossipsim.network import Delivery, Links, Mask, Matrix, Network, as_matrix
from gossipsim.nodes import Nodes
from gossipsim.parts import Parts
from gossipsim.rounds import connect, play
from gossipsim.world import World


def trajectory(
    parts: Parts, rounds: int, *, change: int | None = None, permutation: np.ndarray[Any, Any] | None = None
) -> list[np.ndarray[Any, Any]]:
    """The rows (N, d) after each round, hosted in this process, without a trainer around them.

    Args:
        change: a node that starts 1 away from the others, in every entry.
        permutation: nodes in another order, with their streams and shards.
    """
    return [rows for rows, _ in exchanges(parts, rounds, change=change, permutation=permutation)]


def exchanges(
    parts: Parts, rounds: int, *, change: int | None = None, permutation: np.ndarray[Any, Any] | None = None
) -> list[tuple[np.ndarray[Any, Any], int | None]]:
    """After each round: the rows, and the exchanges so far (None once all nodes have been averaged)."""
    played = states(parts, rounds, change=change, permutation=permutation)
    return [(nodes.X.numpy().copy(), None if mix.averaged else mix.exchanges) for nodes, mix in played]


def states(
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
