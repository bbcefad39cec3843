"""The order in which nodes see their samples: for each an endless stream of index batches over its shard.

A shard is reshuffled each time it is used up, and batches wrap around, so that every batch is full. The order of pass
number p over a shard is a function of (seed, node, p): how far each node has come is all there is to remember.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from gossipsim.streams import orders, stream_key


class Batches:
    """The data orders of some nodes.

    Args:
        shards: of each node, the indices of its samples into the task's training set.
        batch_size: a node's batch is min(batch_size, its shard); None is the whole shard in its own order, unshuffled.
        seed: of the run.
        keys: whose data streams the nodes draw from; in general their ids.

    Attributes:
        sizes: the nodes' batch sizes, (n,).
        passes: how often each node's shard has been shuffled so far, (n,).
        positions: how much of the present pass has been used, (n,).

    >>> batches = Batches([torch.tensor([4, 5, 6])], 2, seed=0, keys=[0])
    >>> sorted(torch.cat([batches.next(0) for _ in range(3)]).tolist())
    [4, 4, 5, 5, 6, 6]
    """

    def __init__(self, shards: Sequence[torch.Tensor], batch_size: int | None, seed: int, keys: Sequence[int]) -> None:
        self._seed, self._keys = seed, keys
        self._samples = torch.cat(list(shards)) if shards else torch.empty(0, dtype=torch.int64)
        self._whole = batch_size is None
        self._lengths = np.array([len(shard) for shard in shards], dtype=np.int64)
        self._ends = np.cumsum(self._lengths)
        self._starts = self._ends - self._lengths
        self.sizes = self._lengths if batch_size is None else np.minimum(self._lengths, batch_size)
        self.passes = np.zeros(len(shards), dtype=np.int64)
        self.positions = self._lengths.copy()
        self._order: torch.Tensor | None = None
        self._stream_keys: np.ndarray[Any, np.dtype[np.uint64]] | None = None

    @cached_property
    def _extents(self) -> list[tuple[int, int, int]]:
        """Of each node, where its shard begins, how long it is, and how long its batches are."""
        columns = (self._starts.tolist(), self._lengths.tolist(), self.sizes.tolist())
        return list(zip(*columns, strict=True))

    def go_to(self, passes: Sequence[int], positions: Sequence[int]) -> None:
        """Goes on from where nodes with these :attr:`passes` and :attr:`positions` have come to."""
        self.passes[:], self.positions[:] = passes, positions
        self._order = None

    def next(self, k: int) -> torch.Tensor:
        """Indices of the next batch of the k-th node, (sizes[k],)."""
        begin, length, size = self._extents[k]
        position = int(self.positions[k])
        if self._whole or self._order is None or position + size > length:
            return self.next_of(range(k, k + 1))[0]
        self.positions[k] = position + size
        return self._order[begin + position : begin + position + size].clone()

    def next_of(self, nodes: range) -> torch.Tensor:
        """Indices of the next batches of nodes in a row whose batches are of one size, (len(nodes), size)."""
        rows, size = slice(nodes.start, nodes.stop), int(self.sizes[nodes.start])
        starts, lengths, positions = self._starts[rows], self._lengths[rows], self.positions[rows]
        if self._whole:
            return self._samples[_places(starts, size)]
        order = self._orders()
        left = lengths - positions
        batch = order[_places(starts + positions, size).clamp_(max=len(order) - 1)]
        used_up = np.flatnonzero(left < size)
        if len(used_up):
            self._shuffle(used_up + nodes.start)
            first = _places(starts[used_up] - left[used_up], size)
            behind = torch.arange(size) >= torch.from_numpy(left[used_up]).unsqueeze(1)
            batch[used_up] = torch.where(behind, order[first.clamp_(min=0)], batch[used_up])
            positions[used_up] = -left[used_up]
        positions += size
        return batch

    def _orders(self) -> torch.Tensor:
        """The present orders of all nodes, one behind the other."""
        if self._order is None:
            self._order = torch.empty_like(self._samples)
            begun = np.flatnonzero(self.passes)
            self.passes[begun] -= 1
            self._shuffle(begun)
        return self._order

    def _shuffle(self, nodes: np.ndarray[Any, Any]) -> None:
        """Begins a pass over the shards of some nodes."""
        assert self._order is not None
        if self._stream_keys is None:
            self._stream_keys = np.array([stream_key(self._seed, key, "data") for key in self._keys], dtype=np.uint64)
        keys = self._stream_keys.reshape(-1, 2)
        for m in np.unique(self._lengths[nodes]).tolist():
            alike = nodes[self._lengths[nodes] == m]
            starts = self._starts[alike]
            places = torch.from_numpy(orders(keys[alike], self.passes[alike], m))
            shuffled = self._samples[places.add_(torch.from_numpy(starts).unsqueeze(1))]
            self._order[_places(starts, m)] = shuffled
        self.passes[nodes] += 1


def _places(starts: np.ndarray[Any, Any], count: int) -> torch.Tensor:
    """`count` places from each start on, (len(starts), count)."""
    return torch.from_numpy(starts).unsqueeze(1) + torch.arange(count)
