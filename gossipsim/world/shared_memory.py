"""Rows between processes of one machine, through memory that they share.

The memory is an anonymous file, so that nothing of it outlives its processes, however they end. In it every process has
an outbox, where it writes a message once for all who receive it; they copy it from there. Two semaphores for every
directed pair of processes count the messages that have been sent and those that have been copied: whoever waits,
sleeps, as processes may outnumber cores.

Sending never waits. What bounds the outbox is the end of a swap, which waits until the messages of the swap before it
have been copied: no more than any swap waits that hands its messages over directly, so what cannot lock up there does
not here.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from gossipsim.world.processes import Standstill, has_ended
from gossipsim.world.semaphores import BYTES, Semaphores, mapped, unmap
from gossipsim.world.transport import STOPPED, Loan, Messages, PeerLost, Transfer, timeout

PAGE = 1 << 16
"""A multiple of every page size in use."""

LINE = 64
"""Bytes that one core writes at a time; messages begin at a multiple."""

OUTBOX = 1 << 36
"""Address space of one outbox in the file; memory is taken for what is written only."""

UNDER_WAY = 8
"""Messages from one process to another that can wait to be copied."""

SENT, COPIED = 0, BYTES
"""The semaphores of a directed pair, by their place."""


class SharedMemory:
    """The file: its mark, semaphores and messages' places of every pair, process ids, who waits for whom, the outboxes.

    Args:
        size: processes that share it.
        file: descriptor of the file that another process has created; None creates one.

    Raises:
        OSError: where this system has no such memory.
    """

    def __init__(self, size: int, file: int | None = None) -> None:
        self.size = size
        self.semaphores = Semaphores()
        pairs = size * size
        self._letters = LINE + 2 * BYTES * pairs
        self._processes = 2 * UNDER_WAY * pairs
        self._waits = self._processes + size
        words = self._waits + size
        self._length = self._letters + 8 * words
        self._outboxes = -(-self._length // PAGE) * PAGE
        self.file = self._create() if file is None else self._checked(file)
        self._address = mapped(self.file, 0, self._length)
        self._words = memoryview((ctypes.c_uint64 * words).from_address(self._address + self._letters))
        self._words = self._words.cast("B").cast("Q")
        if file is None:
            fresh = self.semaphores.fresh * (2 * pairs)
            ctypes.memmove(self._address + LINE, fresh, len(fresh))

    def _create(self) -> int:
        if not hasattr(os, "memfd_create"):
            raise OSError("this system has no anonymous files in memory")
        file = os.memfd_create("gossipsim")
        try:
            os.truncate(file, self._outboxes + self.size * OUTBOX)
        except OSError:
            os.close(file)
            raise
        return file

    def _checked(self, file: int) -> int:
        """A file of the right size: beyond its end, memory cannot be touched."""
        if os.fstat(file).st_size != self._outboxes + self.size * OUTBOX:
            os.close(file)
            raise OSError("another file")
        return file

    @property
    def mark(self) -> int:
        """A number that processes can leave here, to know the file again; 0 at first."""
        return ctypes.c_uint64.from_address(self._address).value

    @mark.setter
    def mark(self, number: int) -> None:
        ctypes.c_uint64.from_address(self._address).value = number

    def semaphore(self, source: int, target: int, which: int) -> int:
        """The address of the semaphore SENT or COPIED of messages from `source` to `target`."""
        return self._address + LINE + 2 * BYTES * (target * self.size + source) + which

    def write_place(self, source: int, target: int, count: int, start: int, nbytes: int) -> None:
        """Notes where in its outbox `source` has written its message number `count` to `target`."""
        at = 2 * ((target * self.size + source) * UNDER_WAY + count % UNDER_WAY)
        self._words[at], self._words[at + 1] = start, nbytes

    def place(self, source: int, target: int, count: int) -> tuple[int, int]:
        """What :meth:`write_place` has noted: (start, bytes)."""
        at = 2 * ((target * self.size + source) * UNDER_WAY + count % UNDER_WAY)
        return self._words[at], self._words[at + 1]

    def join(self, rank: int) -> None:
        """Lets the others know this process as one that lives."""
        self._words[self._processes + rank] = os.getpid()

    def process(self, rank: int) -> int:
        """The id of a process that has joined; 0 before."""
        return self._words[self._processes + rank]

    def has_ended(self, rank: int) -> bool:
        """Whether a process that has joined is no longer there."""
        process = self.process(rank)
        return process != 0 and has_ended(process)

    def waits(self, rank: int, peer: int | None) -> None:
        """Notes for whom a process waits."""
        self._words[self._waits + rank] = 0 if peer is None else peer + 1

    def culprit(self, rank: int) -> int:
        """Who holds up those that wait for a process: it, or else whom it waits for itself, and so on."""
        seen: set[int] = set()
        while rank not in seen and (waits := self._words[self._waits + rank]) and not self.has_ended(rank):
            seen.add(rank)
            rank = waits - 1
        return rank

    def outbox(self, rank: int) -> Window:
        """A view of the outbox of a process."""
        return Window(self.file, self._outboxes + rank * OUTBOX)

    def close(self) -> None:
        """Gives the memory back; the processes that still use it keep it."""
        self._words.release()
        unmap(self._address, self._length)
        os.close(self.file)


class Window:
    """As much of an outbox as this process has needed so far."""

    def __init__(self, file: int, start: int) -> None:
        self._file, self._start, self._length, self._address = file, start, 0, 0

    def address(self, start: int, stop: int) -> int:
        """Where byte `start` of an outbox is, from which the bytes up to `stop` can be had; until the next call."""
        if stop > self._length:
            if self._length:
                unmap(self._address, self._length)
            self._length = max(PAGE, 1 << (stop - 1).bit_length())
            self._address = mapped(self._file, self._start, self._length)
        return self._address + start


@dataclass
class _Letter:
    """A message in the outbox, and who has not yet copied it, as far as this process knows."""

    number: int
    start: int
    stop: int
    receivers: list[int] = field(default_factory=list)


@dataclass(eq=False)
class _Swap:
    """Messages under way from and to one process."""

    transport: Shared
    receives: Messages
    last: int

    def wait(self) -> None:
        self.transport.finish(self)

    def take(self) -> None:
        """Copies what has come, once it has."""
        for peer, tensor in self.receives:
            assert tensor.is_contiguous(), "messages are contiguous"
            address = self.transport.arrived(peer, tensor.nbytes)
            ctypes.memmove(tensor.data_ptr(), address, tensor.nbytes)
            self.transport.has_read(peer)


@dataclass(eq=False)
class _Loan:
    """Messages that are read where they were written, or copied if those of a later swap are asked for first."""

    transport: Shared
    announced: Sequence[tuple[int, int]]
    last: int
    copies: list[torch.Tensor] | None = None

    def open(self) -> list[int]:
        if self.copies is None and self.transport.is_next(self):
            return [self.transport.arrived(peer, nbytes) for peer, nbytes in self.announced]
        assert self.copies is not None
        return [copy.data_ptr() for copy in self.copies]

    def close(self) -> None:
        if self.copies is None:
            for peer, _ in self.announced:
                self.transport.has_read(peer)
            self.transport.ended(self)

    def take(self) -> None:
        self.copies = [torch.empty(nbytes, dtype=torch.uint8) for _, nbytes in self.announced]
        _Swap(
            self.transport, [(peer, copy) for (peer, _), copy in zip(self.announced, self.copies, strict=True)], 0
        ).take()


class Shared:
    """The transport of one of the processes that share a :class:`SharedMemory`.

    Args:
        place: this process among them.
        names: what errors call the processes; their places unless told otherwise.
    """

    def __init__(self, memory: SharedMemory, place: int, names: Sequence[int] | None = None) -> None:
        self.rank, self.size = place, memory.size
        self.device = torch.device("cpu")
        self._memory, self._semaphores = memory, memory.semaphores
        self._names = range(memory.size) if names is None else names
        self._patience, self._standstill = timeout(), Standstill()
        self._outboxes = [memory.outbox(rank) for rank in range(memory.size)]
        self._sent, self._copied, self._waiting = ([0] * memory.size for _ in range(3))
        self._letters: deque[_Letter] = deque()
        self._swaps: deque[_Swap | _Loan] = deque()
        self._written = self._bound = 0
        memory.join(place)

    def begin(self, sends: Messages, receives: Messages) -> Transfer:
        self._send_all(sends)
        swap = _Swap(self, receives, self._written)
        self._swaps.append(swap)
        return swap

    def lend(self, sends: Messages, announced: Sequence[tuple[int, int]]) -> Loan:
        self._send_all(sends)
        loan = _Loan(self, announced, self._written)
        self._swaps.append(loan)
        return loan

    def _send_all(self, sends: Messages) -> None:
        while self._letters and self._is_copied(self._letters[0]):
            self._letters.popleft()
        written: dict[tuple[int, int], _Letter] = {}
        for peer, tensor in sends:
            key = (tensor.data_ptr(), tensor.nbytes)
            if key not in written:
                written[key] = self._write(tensor)
            self._send(written[key], tensor.nbytes, peer)

    def finish(self, swap: _Swap) -> None:
        """Copies what a swap receives, and before it what earlier ones do."""
        while swap in self._swaps:
            earliest = self._swaps[0]
            earliest.take()
            self.ended(earliest)

    def is_next(self, loan: _Loan) -> bool:
        """Lets earlier swaps end; whether a loan is still open then."""
        while loan in self._swaps and (earliest := self._swaps[0]) is not loan:
            earliest.take()
            self.ended(earliest)
        return loan in self._swaps

    def ended(self, earliest: _Swap | _Loan) -> None:
        """Waits until the messages of the swap before this one have been read everywhere."""
        assert self._swaps.popleft() is earliest
        while self._letters and self._letters[0].number <= self._bound:
            for peer in self._letters.popleft().receivers:
                self._await(self._memory.semaphore(self.rank, peer, COPIED), peer)
                self._waiting[peer] -= 1
        self._bound = earliest.last

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        if self.rank == source:
            self.begin([(peer, tensor) for peer in range(self.size) if peer != source], []).wait()
        else:
            self.begin([], [(source, tensor)]).wait()

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """By way of rank 0: 2 (P - 1) messages, where everyone's to everyone are P (P - 1)."""
        everyone = tensor.new_empty(self.size, *tensor.shape)
        if self.rank == 0:
            everyone[0] = tensor
            self.begin([], list(enumerate(everyone))[1:]).wait()
        else:
            self.begin([(0, tensor)], []).wait()
        self.broadcast(everyone, 0)
        return everyone

    def close(self) -> None:
        self.gather(torch.zeros(1))

    def _is_copied(self, letter: _Letter) -> bool:
        while letter.receivers:
            if not self._semaphores.take(self._memory.semaphore(self.rank, letter.receivers[-1], COPIED)):
                return False
            self._waiting[letter.receivers.pop()] -= 1
        return True

    def _write(self, tensor: torch.Tensor) -> _Letter:
        """Writes a message where the outbox has room first."""
        assert tensor.is_contiguous(), "messages are contiguous"
        start, room = 0, -(-tensor.nbytes // LINE) * LINE
        for letter in sorted(self._letters, key=lambda letter: letter.start):
            if start + room <= letter.start:
                break
            start = max(start, letter.stop)
        if start + room > OUTBOX:
            raise MemoryError(f"a message of {tensor.nbytes} bytes does not fit in {OUTBOX} bytes of shared memory")
        if room:
            address = self._outboxes[self.rank].address(start, start + room)
            ctypes.memmove(address, tensor.data_ptr(), tensor.nbytes)
        self._written += 1
        self._letters.append(_Letter(self._written, start, start + room))
        return self._letters[-1]

    def _send(self, letter: _Letter, nbytes: int, peer: int) -> None:
        assert self._waiting[peer] < UNDER_WAY, f"more than {UNDER_WAY} messages to rank {self._names[peer]} under way"
        self._memory.write_place(self.rank, peer, self._sent[peer], letter.start, nbytes)
        self._sent[peer] += 1
        self._waiting[peer] += 1
        letter.receivers.append(peer)
        self._semaphores.post(self._memory.semaphore(self.rank, peer, SENT))

    def arrived(self, peer: int, nbytes: int) -> int:
        """Where the next message of `peer` can be read, once it is there."""
        self._await(self._memory.semaphore(peer, self.rank, SENT), peer)
        start, sent = self._memory.place(peer, self.rank, self._copied[peer])
        self._copied[peer] += 1
        assert nbytes == sent, f"rank {self._names[peer]} sent {sent} bytes, {nbytes} were expected"
        return self._outboxes[peer].address(start, start + nbytes) if nbytes else 0

    def has_read(self, peer: int) -> None:
        """Lets `peer` overwrite the message that has been read."""
        self._semaphores.post(self._memory.semaphore(peer, self.rank, COPIED))

    def _await(self, semaphore: int, peer: int) -> None:
        if self._semaphores.take(semaphore):
            return
        self._memory.waits(self.rank, peer)
        if not self._semaphores.wait(semaphore, self._patience, lambda: self._loss(peer) is not None):
            reason = self._loss(peer) or f"silent for {self._patience:g} s"
            culprit = self._memory.culprit(peer)
            raise PeerLost(reason, self._names[culprit], self._memory.process(culprit))
        self._memory.waits(self.rank, None)

    def _loss(self, peer: int) -> str | None:
        """Why it is no use to wait for a process."""
        culprit = self._memory.culprit(peer)
        if self._memory.has_ended(culprit):
            return "its process has ended"
        return STOPPED if self._standstill.of(self._memory.process(culprit)) else None
