"""The order in which a node sees its samples: an endless stream of index batches over its shard."""

from __future__ import annotations

import torch


class BatchStream:
    """Reshuffles a shard each time it is used up and wraps around, so that every batch is full.

    Args:
        shard: indices of the node's samples into the task's training set, (m,).
        batch_size: the batch is min(batch_size, m); None is the whole shard in its own order, unshuffled.
        generator: the node's stream for the data order.

    >>> stream = BatchStream(torch.tensor([4, 5, 6]), 2, torch.Generator().manual_seed(0))
    >>> sorted(torch.cat([stream.next() for _ in range(3)]).tolist())
    [4, 4, 5, 5, 6, 6]
    """

    def __init__(self, shard: torch.Tensor, batch_size: int | None, generator: torch.Generator) -> None:
        self.shard = shard
        self.size = len(shard) if batch_size is None else min(batch_size, len(shard))
        self._whole = batch_size is None
        self._generator = generator
        self._order = shard[:0]
        self._position = 0

    def next(self) -> torch.Tensor:
        """Indices of the next batch, (size,)."""
        if self._whole:
            return self.shard
        left = len(self._order) - self._position
        if left >= self.size:
            batch = self._order[self._position : self._position + self.size]
            self._position += self.size
            return batch
        rest = self._order[self._position :]
        self._order = self.shard[torch.randperm(len(self.shard), generator=self._generator)]
        self._position = self.size - left
        return torch.cat([rest, self._order[: self._position]])
