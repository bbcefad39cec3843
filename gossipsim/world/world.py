"""The World: N nodes live on P processes in contiguous blocks; a row that lives elsewhere comes through here.

With one process every method degenerates to an operation on the hosted rows: nothing is sent.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gossipsim.world.transport import Alone, Loan, Messages, Transfer, Transport

Addresses = np.ndarray[Any, np.dtype[np.int64]]

Chosen = torch.Tensor | slice
"""Some of the hosted rows: their indices, or a slice of one row."""

PIECE = 1 << 24
"""Bytes of rows that a process sends at a time where it sends all of them: the transport holds a copy."""

NARROW = 4096
"""Columns of rows that are added up many at a time: for wider ones, a call for each costs nothing."""


def blocks(items: int, size: int) -> list[range]:
    """Splits `items` into `size` contiguous blocks whose lengths differ by at most one; surplus blocks are empty.

    >>> blocks(5, 2), blocks(1, 3)
    ([range(0, 3), range(3, 5)], [range(0, 1), range(1, 1), range(1, 1)])
    """
    share, extra = divmod(items, size)
    starts = [rank * share + min(rank, extra) for rank in range(size + 1)]
    return [range(a, b) for a, b in itertools.pairwise(starts)]


class Arriving:
    """Rows under way from other processes."""

    def __init__(self, transport: Transport, X: torch.Tensor, sends: Messages, receives: Sequence[tuple[int, int]]):
        self._like, self._receives = X, receives
        self._row = X.shape[1] * X.element_size()
        self._loan: Loan | None = None
        self._transfer: Transfer | None = None
        self._halo: torch.Tensor | None = None
        if (sends or receives) and X.device.type == "cpu":
            self._loan = transport.lend(sends, [(peer, count * self._row) for peer, count in receives])
        if self._loan is None:
            counts = [count for _, count in receives]
            self._halo = halo = X.new_empty(sum(counts), X.shape[1])
            if sends or receives:
                ends = itertools.accumulate(counts)
                expected = [(peer, halo[end - count : end]) for (peer, count), end in zip(receives, ends, strict=True)]
                self._transfer = transport.begin(sends, expected)

    @classmethod
    def there(cls, halo: torch.Tensor) -> Arriving:
        """Rows (h, d) that have arrived already."""
        arrived = cls(Alone(), halo, [], [])
        arrived._halo = halo
        return arrived

    def addresses(self) -> Addresses:
        """Where the received rows can be read, (h,), peer after peer, once they are there; until :meth:`release`."""
        if self._loan is None:
            halo = self.wait()
            first, rows = halo.data_ptr(), halo.shape[0]
            return np.arange(first, first + rows * self._row, self._row) if self._row else np.full(rows, first)
        counts = [count for _, count in self._receives]
        starts: Addresses = np.repeat(np.array(self._loan.open(), dtype=np.int64), counts)
        places: Addresses = np.concatenate([np.arange(count, dtype=np.int64) for count in counts or [0]])
        return starts + places * self._row

    def release(self) -> None:
        """Gives back what :meth:`addresses` has told of."""
        if self._loan is not None:
            self._loan.close()

    def wait(self) -> torch.Tensor:
        """The received rows (h, d), peer after peer, once they are there."""
        if self._halo is None:
            self._halo = self._like.new_empty(sum(count for _, count in self._receives), self._like.shape[1])
            for k, address in enumerate(self.addresses().tolist()):
                ctypes.memmove(self._halo.data_ptr() + k * self._row, address, self._row)
            self.release()
        elif self._transfer is not None:
            self._transfer.wait()
        return self._halo


class World:
    """Which of the `nodes` rows this process hosts, and the exchange of rows and sums between processes.

    Attributes:
        hosted: ids of the nodes whose rows live here, a contiguous range (empty on a surplus rank).
        exchanged_bytes: what :meth:`exchange` really handed to other processes.
    """

    def __init__(self, nodes: int, transport: Transport | None = None) -> None:
        self.nodes = nodes
        self.transport = transport if transport is not None else Alone()
        self.rank, self.size = self.transport.rank, self.transport.size
        self.device = self.transport.device
        self.blocks = blocks(nodes, self.size)
        self.hosted = self.blocks[self.rank]
        self.exchanged_bytes = 0

    def hosting(self, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> torch.Tensor:
        """Which of the hosted nodes are among the chosen (N,): (n, 1) of bool, to stand beside rows."""
        return torch.from_numpy(chosen[self.hosted.start : self.hosted.stop]).unsqueeze(1).to(self.device)

    def begin(
        self, X: torch.Tensor, sends: Sequence[tuple[int, Chosen]], receives: Sequence[tuple[int, int]]
    ) -> Arriving:
        """Starts to swap rows with other processes. Until they have arrived, `X` must not change.

        Args:
            X: hosted rows (n, d), contiguous.
            sends: (peer, hosted rows) pairs; one contiguous message each.
            receives: (peer, number of rows) pairs.
        """
        leaving = [(peer, X[rows]) for peer, rows in sends]
        self.exchanged_bytes += sum([part.nbytes for _, part in leaving])
        return Arriving(self.transport, X, leaving, receives)

    def exchange(
        self, X: torch.Tensor, sends: Sequence[tuple[int, Chosen]], receives: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Swaps rows with other processes: begins, and waits for what comes.

        Returns:
            The received rows (h, d), peer after peer.
        """
        return self.begin(X, sends, receives).wait()

    def sum(self, X: torch.Tensor) -> torch.Tensor:
        """The sum of all N rows, added in node order wherever they are hosted: (n, d) -> (d,) on every process.

        A partial sum passes from block to block, so the bits do not depend on the number of processes.
        """
        last = min(self.nodes, self.size) - 1  # of the ranks that host something: surplus ones come after it
        total = X.new_empty(X.shape[1])
        if self.hosted:
            if self.rank > 0:
                self.transport.begin([], [(self.rank - 1, total)]).wait()
                _add_rows(total, X)
            else:
                total.copy_(X[0])
                _add_rows(total, X[1:])
            if self.rank < last:
                self.transport.begin([(self.rank + 1, total)], []).wait()
        self.transport.broadcast(total, last)
        return total

    def mean(self, X: torch.Tensor) -> torch.Tensor:
        """The mean of all N rows: (n, d) -> (d,) on every process."""
        return self.sum(X).div_(self.nodes)

    def share(self, items: int) -> range:
        """This process's block of `items` pieces of work."""
        return blocks(items, self.size)[self.rank]

    def table(self, values: torch.Tensor, items: int) -> torch.Tensor:
        """Collects one record per item, in item order: (len(share(items)), k) float64 -> (items, k) everywhere."""
        if self.size == 1:
            return values
        share, extra = divmod(items, self.size)
        padded = torch.zeros(share + (extra > 0), values.shape[1], dtype=torch.float64)
        padded[: len(values)] = values
        everyone = self.transport.gather(padded)
        return torch.cat([everyone[:extra].flatten(0, 1), everyone[extra:, :share].flatten(0, 1)])

    def collect(self, X: torch.Tensor) -> torch.Tensor | None:
        """All rows (N, d) on rank 0, None elsewhere."""
        if self.size == 1:
            return X
        rows = X.new_empty(self.nodes, X.shape[1]) if self.rank == 0 else None
        if rows is not None:
            rows[: len(X)] = X
        for mine, elsewhere in self._pieces(X):
            if rows is not None:
                self.transport.begin([], [(rank, rows[at.start : at.stop]) for rank, at in elsewhere]).wait()
            elif mine:
                self.transport.begin([(0, X[mine.start : mine.stop].contiguous())], []).wait()
        return rows

    def deal(self, rows: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """The hosted ones (n, d) of all rows (N, d), which rank 0 has: undoes :meth:`collect`.

        Args:
            like: a tensor of their width and dtype.
        """
        if rows is not None and self.size == 1:
            return rows
        X = like.new_empty(len(self.hosted), like.shape[-1])
        if rows is not None:
            X.copy_(rows[: len(X)])
        for mine, elsewhere in self._pieces(X):
            if rows is not None:
                self.transport.begin([(rank, rows[at.start : at.stop]) for rank, at in elsewhere], []).wait()
            elif mine:
                self.transport.begin([], [(0, X[mine.start : mine.stop])]).wait()
        return X

    def _pieces(self, X: torch.Tensor) -> Iterator[tuple[range, list[tuple[int, range]]]]:
        """How rows like those of X go to or from rank 0, piece by piece: places of rows of this process in X, and
        (rank, ids of nodes) of those of all others."""
        step = max(1, PIECE // max(1, X.shape[1] * X.element_size()))
        for start in range(0, len(self.blocks[0]), step):
            pieces = [(rank, block[start : start + step]) for rank, block in enumerate(self.blocks)]
            elsewhere = [(rank, piece) for rank, piece in pieces[1:] if piece]
            yield range(len(self.hosted))[start : start + step], elsewhere

    def agree(self, *numbers: int) -> list[int]:
        """Rank 0's integers, on every process."""
        if self.size == 1:
            return list(numbers)
        told = torch.tensor(numbers)
        self.transport.broadcast(told, 0)
        return [int(number) for number in told]

    def texts(self, text: str) -> list[str]:
        """The texts of all processes, in the order of their ranks, on every process (no pickle on the wire)."""
        data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = self.transport.gather(torch.tensor([len(data)])).flatten().tolist()
        padded = torch.zeros(max(1, *lengths), dtype=torch.uint8)
        padded[: len(data)] = data
        everyone = self.transport.gather(padded)
        return [bytes(each[:length].numpy()).decode() for each, length in zip(everyone, lengths, strict=True)]

    def say(self, text: str) -> str:
        """Rank 0's text on every process (no pickle on the wire)."""
        length = torch.tensor([len(text.encode())])
        self.transport.broadcast(length, 0)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == 0:
            data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else data
        self.transport.broadcast(data, 0)
        return bytes(data.tolist()).decode()


def _add_rows(total: torch.Tensor, X: torch.Tensor) -> None:
    """Adds the rows of X (n, d) to `total` (d,), one after the other."""
    if X.device.type != "cpu" or X.shape[1] > NARROW:
        for row in X:
            total += row
        return
    for few in torch.split(X, max(1, NARROW * 16 // max(X.shape[1], 1))):
        rows = torch.cat([total.unsqueeze(0), few])
        pair = rows if rows.shape[1] != 1 else rows.expand(-1, 2).contiguous()  # a single column goes pairwise
        # numpy adds up the first axis row by row, as the other branch does
        total.copy_(torch.from_numpy(np.add.reduce(pair.numpy(), axis=0, initial=-0.0))[: len(total)])
