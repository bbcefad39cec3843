"""Mixing: X <- W_t X for the hosted rows, by one kernel for local and remote rows.

Node i's new row is the sum over its closed neighbourhood in ascending node id, started from the first term:

    acc = W[i, j0] * X[j0];  acc = acc + W[i, j1] * X[j1];  ...

The order is part of the definition. A dense matmul, `add_(x, alpha=w)` or a sum that starts from zeros gives other
bits; with this one the bits depend neither on the number of processes nor on where a neighbour is hosted. One node has
W = [[1]] and gets its own row back, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from gossipsim.network import Network, messages
from gossipsim.world import World

CACHE_ELEMENTS = 1 << 17
"""Rows are mixed in blocks of columns of about this many elements, which stay in the second-level cache."""


@dataclass
class Traffic:
    """What the algorithm has sent so far, over all nodes: independent of the number of processes.

    Attributes:
        messages: rows sent over directed edges.
        bytes_sent: their size in bytes.
    """

    messages: int = 0
    bytes_sent: int = 0

    def count(self, edges: int, row: torch.Tensor) -> None:
        """One row like `row` has gone over each of `edges` directed edges."""
        self.messages += edges
        self.bytes_sent += edges * row.shape[-1] * row.element_size()


@dataclass(frozen=True)
class Term:
    """The k-th neighbour of every hosted node that has one.

    Attributes:
        rows: hosted rows that have a k-th neighbour, or None for all of them.
        sources: for each, the position of that neighbour among [hosted rows, received rows].
        weights: (len(sources), 1) float64.
    """

    rows: torch.Tensor | None
    sources: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class MixingPlan:
    """What one process has to do for one W.

    Attributes:
        terms: k-th terms of the sums, k ascending.
        sends, receives: what :meth:`World.exchange` takes; a row goes once to each process that needs it.
        edges: directed edges of the whole graph that carry a row, for the traffic count.
        identity: every hosted node keeps its own row, with weight 1.
    """

    terms: list[Term]
    sends: list[tuple[int, torch.Tensor]]
    receives: list[tuple[int, int]]
    edges: int
    identity: bool


def mixing_plan(W: sp.csr_array, world: World) -> MixingPlan:
    """Splits W (N, N) by the blocks of `world`."""
    mine = world.hosted
    own = W[mine.start : mine.stop]
    needed = np.setdiff1d(np.unique(own.indices), np.arange(mine.start, mine.stop))
    receives, halo = [], [np.arange(mine.start, mine.stop)]
    sends = []
    for peer, block in enumerate(world.blocks):
        if peer == world.rank:
            continue
        arriving = needed[(needed >= block.start) & (needed < block.stop)]
        if len(arriving):
            receives.append((peer, len(arriving)))
            halo.append(arriving)
        wanted = np.unique(W[block.start : block.stop].indices)
        leaving = wanted[(wanted >= mine.start) & (wanted < mine.stop)]
        if len(leaving):
            sends.append((peer, torch.from_numpy(leaving.astype(np.int64) - mine.start)))
    terms = _terms(own, np.concatenate(halo), world.device)
    diagonal = np.array_equal(own.indices, np.arange(mine.start, mine.stop))
    identity = diagonal and not sends and bool((own.data == 1.0).all())
    return MixingPlan(terms, sends, receives, messages(W), identity)


def _terms(own: sp.csr_array, table: np.ndarray[Any, Any], device: torch.device) -> list[Term]:
    """Groups the entries of the hosted rows of W by their place in the row; `table` lists the available node ids."""
    position = np.zeros(own.shape[1], dtype=np.int64)
    position[table] = np.arange(len(table))
    degrees = np.diff(own.indptr)
    assert degrees.all(), "a row of W without entries: Network.problems reports it"
    terms = []
    for k in range(int(degrees.max(initial=0))):
        rows = np.flatnonzero(degrees > k)
        entries = own.indptr[rows] + k
        terms.append(
            Term(
                None if len(rows) == own.shape[0] else torch.from_numpy(rows).to(device),
                torch.from_numpy(position[own.indices[entries]]).to(device),
                torch.from_numpy(own.data[entries]).unsqueeze(1).to(device),
            )
        )
    return terms


def combine(available: torch.Tensor, terms: list[Term], rows: int) -> torch.Tensor:
    """The mixing kernel: (available rows, d) -> (rows, d); see the module's docstring for the order of the sum."""
    d = available.shape[1]
    mixed = available.new_empty(rows, d)
    weights = [term.weights.to(available.dtype) for term in terms]
    width = max(256, CACHE_ELEMENTS // max(rows, 1))
    for start in range(0, d, width):
        source, target = available[:, start : start + width], mixed[:, start : start + width]
        for k, (term, w) in enumerate(zip(terms, weights, strict=True)):
            addend = source.index_select(0, term.sources).mul_(w)
            if k == 0:
                target.copy_(addend)
            elif term.rows is None:
                target.add_(addend)
            else:
                target.index_add_(0, term.rows, addend)
    return mixed


@dataclass
class Mix:
    """`mix(X)`: what a strategy calls to average with its neighbours, on the graph of the current round.

    Attributes:
        round: t of W_t; the trainer counts it up after each round.
        exchanges: calls of `mix` so far. averaged: whether :meth:`average` has been used.
    """

    world: World
    network: Network
    traffic: Traffic = field(default_factory=Traffic)
    round: int = 0
    exchanges: int = 0
    averaged: bool = False
    _plans: dict[int, MixingPlan] = field(default_factory=dict, repr=False)

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """W_t X for the hosted rows: (n, d) -> a new (n, d)."""
        plan = self._plan()
        self.exchanges += 1
        self.traffic.count(plan.edges, X)
        if plan.identity:
            return X.clone()
        X = X.contiguous()
        received = self.world.exchange(X, plan.sends, plan.receives)
        available = torch.cat([X, received]) if len(received) else X
        return combine(available, plan.terms, len(X))

    def update(self, X: torch.Tensor) -> None:
        """X <- W_t X in place: as `X[:] = mix(X)`, without work for a single node, whose row stays what it is."""
        plan = self._plan()
        if plan.identity:
            self.exchanges += 1
            self.traffic.count(plan.edges, X)
        else:
            X.copy_(self(X))

    def average(self, G: torch.Tensor) -> torch.Tensor:
        """The mean of all N rows, for every hosted node: (n, d) -> (n, d). Traffic of the complete graph."""
        self.averaged = True
        self.traffic.count(self.world.nodes * (self.world.nodes - 1), G)
        return self.world.mean(G).expand_as(G)

    def _plan(self) -> MixingPlan:
        period = self.network.period
        place = self.round if period is None else self.round % period
        if place not in self._plans:
            if period is None:
                self._plans.clear()
            self._plans[place] = mixing_plan(self.network.matrix(self.round), self.world)
        return self._plans[place]
