"""What one process has to do for one mixing matrix: which rows it sends and receives, and the sums that it forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gossipsim.network import Matrix
from gossipsim.world import Chosen, World

Integers = npt.NDArray[np.int64]

_WORTH_COPYING = 4  # terms of a sum from which on its result is rather copied than formed again


def address(array: npt.NDArray[Any]) -> int:
    """Where an array begins in memory; `array.ctypes.data` takes five times as long."""
    first: int = array.__array_interface__["data"][0]
    return first


@dataclass(frozen=True)
class Sums:
    """Sums over rows: sum i has the terms from starts[i] to starts[i + 1] - 1 and goes to row targets[i].

    Attributes:
        starts: (sums + 1). places: (terms), the row of each term. weights: (terms), in the type of the rows.
        targets: (sums).
    """

    starts: Integers
    places: Integers
    weights: npt.NDArray[Any]
    targets: Integers

    @property
    def count(self) -> int:
        """How many sums there are."""
        return len(self.targets)

    @cached_property
    def reach(self) -> int:
        """How many rows lie between the first and the last term of a sum, of nine sums in ten; 0: none is read twice.

        So many rows in the cache let every row be read from memory once, though several sums have it.
        """
        if len(np.unique(self.places)) == len(self.places):
            return 0
        begin = self.starts[:-1][np.diff(self.starts) > 0]
        spans = np.maximum.reduceat(self.places, begin) - np.minimum.reduceat(self.places, begin)
        return int(np.quantile(spans, 0.9)) + 1

    @cached_property
    def addresses(self) -> tuple[int, int, int, int]:
        """Where the four arrays are."""
        return address(self.starts), address(self.places), address(self.weights), address(self.targets)


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
        rows: the number of hosted rows.
        starts, places, weights: the hosted rows of W, as :class:`Sums` over [hosted rows, received rows]; float64.
        sends, receives: what :meth:`World.begin` takes; a row goes once to each process that needs it.
        identity: every hosted node keeps its own row, with weight 1.
    """

    rows: int
    starts: Integers
    places: Integers
    weights: npt.NDArray[np.float64]
    sends: list[tuple[int, Chosen]]
    receives: list[tuple[int, int]]
    identity: bool
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _sums: dict[torch.dtype, tuple[Sums, Sums]] = field(default_factory=dict, repr=False)

    def sums(self, dtype: torch.dtype) -> tuple[Sums, Sums]:
        """The sums over [hosted rows, received rows], and then those over the results: copies of equal sums.

        Sums are equal where a row of W has the same entries as the row before, as in a complete graph.
        """
        if dtype not in self._sums:
            self._sums[dtype] = self._distinct(self.weights.astype(str(dtype).removeprefix("torch.")))
        return self._sums[dtype]

    def _distinct(self, weights: npt.NDArray[Any]) -> tuple[Sums, Sums]:
        repeats = _repeats(self.starts, self.places, weights)
        rows = np.arange(self.rows)
        first = np.maximum.accumulate(np.where(repeats, 0, rows))  # of each run of equal rows
        degrees = np.diff(self.starts)
        formed, kept = rows[~repeats], np.repeat(~repeats, degrees)
        sums = Sums(_running(degrees[formed]), self.places[kept], weights[kept], formed)
        copies = rows[repeats]
        ones = np.ones(len(copies), dtype=weights.dtype)
        return sums, Sums(np.arange(len(copies) + 1), first[copies], ones, copies)

    @cached_property
    def terms(self) -> list[Term]:
        """The same sums, k-th terms of all rows together, k ascending."""
        degrees = np.diff(self.starts)
        terms = []
        for k in range(int(degrees.max(initial=0))):
            rows = np.flatnonzero(degrees > k)
            entries = self.starts[rows] + k
            terms.append(
                Term(
                    None if len(rows) == self.rows else torch.from_numpy(rows).to(self.device),
                    torch.from_numpy(self.places[entries]).to(self.device),
                    torch.from_numpy(self.weights[entries]).unsqueeze(1).to(self.device),
                )
            )
        return terms


def mixing_plan(W: Matrix, world: World) -> MixingPlan:
    """Splits W (N, N) by the blocks of `world`; a row without entries gives zeros."""
    mine = world.hosted
    stops = np.array([block.stop for block in world.blocks])
    starts = W.indptr[mine.start : mine.stop + 1].astype(np.int64)
    entries = slice(int(starts[0]), int(starts[-1]))
    sources, weights = W.indices[entries].astype(np.int64), W.data[entries]
    starts -= starts[0]

    at_home = (sources >= mine.start) & (sources < mine.stop)
    halo = np.unique(sources[~at_home])
    places = np.where(at_home, sources - mine.start, len(mine) + np.searchsorted(halo, sources))
    peers, counts = np.unique(np.searchsorted(stops, halo, side="right"), return_counts=True)
    sends = _sends(W, mine, entries, stops) if world.size > 1 else []

    identity = np.array_equal(sources, np.arange(mine.start, mine.stop)) and len(sources) == len(mine)
    return MixingPlan(
        rows=len(mine),
        starts=starts,
        places=places,
        weights=weights,
        sends=sends,
        receives=list(zip(peers.tolist(), counts.tolist(), strict=True)),
        identity=identity and not sends and bool((np.diff(starts) == 1).all()) and bool((weights == 1.0).all()),
        device=world.device,
    )


def _sends(W: Matrix, mine: range, own: slice, stops: Integers) -> list[tuple[int, Chosen]]:
    """(peer, hosted rows that it needs) for each peer that needs any; `own` are the entries of the hosted rows."""
    wanted = (W.indices >= mine.start) & (W.indices < mine.stop)
    wanted[own] = False
    entries = np.flatnonzero(wanted)
    receivers = np.searchsorted(W.indptr, entries, side="right") - 1
    peers = np.searchsorted(stops, receivers, side="right")
    pairs = np.unique(np.stack([peers, W.indices[entries] - mine.start], axis=1), axis=0).astype(np.int64)
    bounds = np.flatnonzero(np.diff(pairs[:, 0])) + 1
    return [(int(group[0, 0]), _chosen(group[:, 1])) for group in np.split(pairs, bounds) if len(group)]


def _chosen(rows: Integers) -> Chosen:
    """A single row is a slice, which costs a tenth of an index."""
    return slice(int(rows[0]), int(rows[0]) + 1) if len(rows) == 1 else torch.from_numpy(rows.copy())


def _repeats(starts: Integers, places: Integers, weights: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which sums (long enough to matter) have the same terms as the sum before."""
    degrees = np.diff(starts)
    candidates = np.zeros(len(degrees), dtype=bool)
    candidates[1:] = (degrees[1:] == degrees[:-1]) & (degrees[1:] >= _WORTH_COPYING)
    entries = np.flatnonzero(np.repeat(candidates, degrees))
    before = entries - np.repeat(degrees[candidates], degrees[candidates])
    same = (places[entries] == places[before]) & (weights[entries] == weights[before])
    candidates[candidates] = np.logical_and.reduceat(same, _running(degrees[candidates])[:-1]) if len(same) else False
    return candidates


def _running(counts: Integers) -> Integers:
    """0, and the running sums."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
