"""`mix(X)`: an exchange with the neighbours on the graph of the round, what it costs, and averages over all nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from gossipsim.mixing.conservation import Conservation
from gossipsim.mixing.kernel import combine
from gossipsim.mixing.plan import MixingPlan, mixing_plan
from gossipsim.network import Clock, Delivery, Links, Mask, Matrix, Network, as_matrix, messages
from gossipsim.world import Arriving, World


@dataclass
class Traffic:
    """What the algorithm has sent so far, over all nodes: independent of the number of processes.

    Attributes:
        messages: rows sent over directed edges.
        bytes_sent: their size in bytes.
    """

    messages: int = 0
    bytes_sent: int = 0

    def count(self, edges: int, nbytes: int) -> None:
        """A message of `nbytes` has gone over each of `edges` directed edges."""
        self.messages += edges
        self.bytes_sent += edges * nbytes


@dataclass(frozen=True)
class Compressed:
    """Messages that are smaller than a row: what the receivers make of them, and the size of each.

    Attributes:
        rows: (n, d), decoded. nbytes: of one message, on the wire.
    """

    rows: torch.Tensor
    nbytes: int


def row_bytes(X: torch.Tensor) -> int:
    """The size of one row of X (n, d) in bytes."""
    return X.shape[-1] * X.element_size()


@dataclass(frozen=True)
class Exchange:
    """An exchange that has begun; see :meth:`Mix.begin`.

    Attributes:
        rows: (n, d), what is mixed. onto: (n, d), what the sums are added to, or None.
        count: puts the exchange on record. watch: sees the rows before and the sums, or None.
    """

    plan: MixingPlan
    rows: torch.Tensor
    arriving: Arriving
    onto: torch.Tensor | None
    count: Callable[[], None]
    watch: Callable[[torch.Tensor], None] | None = None

    def finish(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """The mixed rows (n, d), once all messages are there: new ones, or `out`, which may be the rows themselves."""
        self.count()
        mixed = torch.empty_like(self.rows) if out is None or not self._fits(out) else out
        if not self.plan.identity:
            combine(self.plan, self.rows, self.arriving, mixed)
        elif mixed is not self.rows:
            mixed.copy_(self.rows)
        if self.onto is not None:
            mixed = torch.add(self.onto, mixed, out=mixed)
        if self.watch is not None:
            self.watch(mixed)
        return mixed if out is None or out is mixed else out.copy_(mixed)

    def _fits(self, out: torch.Tensor) -> bool:
        """Whether the sums can be formed where they shall go."""
        alike = out.shape == self.rows.shape and out.dtype == self.rows.dtype and out.device == self.rows.device
        return alike and out.stride(1) == 1 and self.onto is None


@dataclass
class _Round:
    """W of one round, as far as it arrives, and this process's plans for it."""

    delivery: Delivery
    present: Mask | None
    plan: MixingPlan
    differences: MixingPlan | None = None


@dataclass
class Mix:
    """`mix(X)`: what a strategy calls to average with its neighbours, on the graph of the current round.

    Args:
        links: what becomes of messages, and how long things take; None: all arrive, and no time is kept.
        seed: of what the links leave to chance.
        compress: what every exchange of rows goes through, (n, d) -> :class:`Compressed`; None: rows are sent whole.

    Attributes:
        round: t of W_t; the trainer counts it up after each round.
        exchanges: calls of `mix` so far. averaged: whether all nodes have been averaged.
        clock: the simulated time of every node, where the links tell it.
        conservation: watches whether the mean of all rows is kept where it must be.
    """

    world: World
    network: Network
    links: Links | None = None
    seed: int = 0
    compress: Callable[[torch.Tensor], Compressed] | None = None
    traffic: Traffic = field(default_factory=Traffic)
    round: int = 0
    exchanges: int = 0
    averaged: bool = False
    clock: Clock | None = field(init=False)
    conservation: Conservation = field(init=False, repr=False)
    _rounds: dict[int, _Round] = field(default_factory=dict, repr=False)
    _held: tuple[int, _Round] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.clock = None if self.links is None else self.links.clock(self.network.nodes, self.seed)
        self.conservation = Conservation(self.world)

    def tree(self) -> dict[str, Any]:
        """What has to be known between two rounds to go on; see :meth:`restore`."""
        return {
            "round": self.round,
            "exchanges": self.exchanges,
            "averaged": self.averaged,
            "messages": self.traffic.messages,
            "bytes_sent": self.traffic.bytes_sent,
            "clock": None if self.clock is None else self.clock.tree(),
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Goes on from what :meth:`tree` told."""
        self.round, self.exchanges, self.averaged = tree["round"], tree["exchanges"], tree["averaged"]
        self.traffic = Traffic(tree["messages"], tree["bytes_sent"])
        if self.clock is not None:
            self.clock.restore(tree["clock"])

    @property
    def matrix(self) -> Matrix:
        """W of this round (N, N), without what the links lose."""
        return self._now().delivery.W

    @property
    def present(self) -> Mask:
        """Which nodes (N,) are there in this round."""
        there = self._now().present
        return np.ones(self.world.nodes, dtype=bool) if there is None else there

    @property
    def complete(self) -> bool:
        """Whether all nodes are there in this round."""
        there = self._now().present
        return there is None or bool(there.all())

    def __call__(self, X: torch.Tensor | Compressed, out: torch.Tensor | None = None) -> torch.Tensor:
        """W_t X for the hosted rows: (n, d) -> a new (n, d), or `out`, which may be X.

        Where the network compresses messages, X + (W_t - I) Q(X): what is sent is compressed, what a node has itself
        is not, and a W_t that keeps the mean still does.
        """
        return self.begin(X).finish(out)

    def begin(self, X: torch.Tensor | Compressed) -> Exchange:
        """Sends X (n, d), which must not change until the exchange is finished: `mix(X)` is `mix.begin(X).finish()`.

        What is computed between the two costs no time where the messages travel meanwhile.
        """
        now = self._now()
        watched = self.conservation.is_due(self.round, now.delivery.W)
        if isinstance(X, Compressed):
            return self._send(now.plan, X.rows, lambda: self._count(X.nbytes), watched=X.rows if watched else None)
        if self.compress is not None and self.world.nodes > 1:
            Q = self.compress(X)
            if now.differences is None:
                W = now.delivery.W
                now.differences = mixing_plan(as_matrix(W - sp.eye_array(self.world.nodes)), self.world)
            return self._send(now.differences, Q.rows, lambda: self._count(Q.nbytes), X, X if watched else None)
        return self._send(now.plan, X, lambda: self._count(row_bytes(X)), watched=X if watched else None)

    def update(self, X: torch.Tensor) -> None:
        """X <- W_t X in place: as `X[:] = mix(X)`, with fewer copies, and without any for a single node."""
        if self.world.nodes == 1 and self._now().plan.identity:
            self._count(row_bytes(X))
        else:
            self(X, out=X)

    def by(self, M: Matrix, X: torch.Tensor, *, messages: int | None = None) -> torch.Tensor:
        """M X for the hosted rows, for any M (N, N) that is the same on every process: (n, d) -> a new (n, d).

        For algorithms that decide themselves who gets what; :attr:`matrix` has what the network allows.

        Args:
            messages: rows that are counted as sent, the clock is then the caller's; 0 where they are part of an
                exchange already counted. None: a row to every neighbour, and all wait for theirs, as in `mix(X)`.
        """

        def count() -> None:
            if messages is None:
                self._count(row_bytes(X))
            elif messages > 0:
                self.exchanges += 1
                self.traffic.count(messages, row_bytes(X))

        return self._send(mixing_plan(as_matrix(M), self.world), X, count).finish()

    def average(self, G: torch.Tensor) -> torch.Tensor:
        """The mean of the rows of all nodes that are there, for every hosted node: (n, d) -> (n, d).

        Traffic of the complete graph.
        """
        count = int(self.present.sum())
        self.traffic.count(count * (count - 1), row_bytes(G))
        if self.clock is not None:
            self.clock.meet(self.present, row_bytes(G))
        return self._mean(G, self.present).expand_as(G)

    def from_server(self, x: torch.Tensor, taking_part: Mask) -> torch.Tensor:
        """`x` (d,), that a server sends to each of the nodes that take part (N,)."""
        self.traffic.count(int((taking_part & self.present).sum()), row_bytes(x))
        if self.clock is not None:
            self.clock.from_server(taking_part & self.present, row_bytes(x))
        return x

    def to_server(self, X: torch.Tensor, taking_part: Mask) -> torch.Tensor:
        """The mean of the rows that the nodes that take part (N,) send to a server: (n, d) -> (d,); 0 of nobody's."""
        taking_part = taking_part & self.present
        self.traffic.count(int(taking_part.sum()), row_bytes(X))
        if self.clock is not None:
            self.clock.to_server(taking_part, row_bytes(X))
        return self._mean(X, taking_part)

    def through_server(self, X: torch.Tensor, taking_part: Mask) -> torch.Tensor:
        """:meth:`to_server` and back to the same nodes: (n, d) -> the mean (d,)."""
        return self.from_server(self.to_server(X, taking_part), taking_part)

    def _mean(self, X: torch.Tensor, of: Mask) -> torch.Tensor:
        self.averaged = True
        if of.all():
            return self.world.mean(X)
        counted = self.world.hosting(of)
        return self.world.sum(torch.where(counted, X, torch.zeros_like(X))) / max(int(of.sum()), 1)

    def _send(
        self,
        plan: MixingPlan,
        X: torch.Tensor,
        count: Callable[[], None],
        onto: torch.Tensor | None = None,
        watched: torch.Tensor | None = None,
    ) -> Exchange:
        watch = None if watched is None else self.conservation.watch(watched, X)
        X = X if X.stride(1) == 1 else X.contiguous()
        return Exchange(plan, X, self.world.begin(X, plan.sends, plan.receives), onto, count, watch)

    def _count(self, nbytes: int) -> None:
        """An exchange along W_t, with messages of this size."""
        delivery = self._now().delivery
        self.exchanges += 1
        self.traffic.count(delivery.messages, nbytes)
        if self.clock is not None:
            self.clock.exchange(delivery.W, nbytes)

    def _now(self) -> _Round:
        """What holds in the present round; asked for several times in each."""
        if self._held is None or self._held[0] != self.round:
            self._held = (self.round, self._of_round())
        return self._held[1]

    def _of_round(self) -> _Round:
        period = None if self.links is not None and self.links.loses else self.network.period
        place = self.round if period is None else self.round % period
        if place not in self._rounds:
            if period is None:
                self._rounds.clear()
            self._rounds[place] = self._prepare()
        return self._rounds[place]

    def _prepare(self) -> _Round:
        W, present = self.network.matrix(self.round), None
        delivery = Delivery(W, messages(W))
        if self.links is not None and self.links.loses:
            delivery = self.links.deliver(W, self.round, self.seed)
            present = self.links.present(self.round, self.world.nodes, self.seed)
        return _Round(delivery, present, mixing_plan(delivery.W, self.world))
