"""How rows travel between processes: what every transport does, and the transport of a process that is alone.

A transport knows ranks and tensors; it does not know nodes. :class:`~gossipsim.world.World` translates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Protocol

import torch

DEFAULT_TIMEOUT = 120.0
"""Seconds that an exchange may wait for a peer. torch's own default is 30 minutes; GOSSIPSIM_TIMEOUT overrides."""

ENDING = 10.0
"""Seconds that a job over several machines may need to end, once it is known that a peer cannot be reached."""

Messages = Sequence[tuple[int, torch.Tensor]]
"""(peer, contiguous tensor) pairs."""


KINDS = ("shared", "gloo")
"""What GOSSIPSIM_TRANSPORT can say: shared memory or an error, and gloo also where memory could be shared."""


def timeout() -> float:
    """Seconds that an exchange may wait for a peer.

    Raises:
        ValueError: where GOSSIPSIM_TIMEOUT is not a positive number.
    """
    said = os.environ.get("GOSSIPSIM_TIMEOUT", str(DEFAULT_TIMEOUT))
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"environment variable GOSSIPSIM_TIMEOUT is {said!r}; it is a number of seconds above 0")
    return seconds


def patience_with_machines() -> float:
    """Seconds that an exchange with another machine waits, so that the job has ended when the timeout is over.

    Raises:
        ValueError: as :func:`timeout`.
    """
    return timeout() - min(ENDING, timeout() / 2)


def demanded() -> str | None:
    """The transport that GOSSIPSIM_TRANSPORT asks for, one of KINDS, or None.

    Raises:
        ValueError: where it asks for another.
    """
    said = os.environ.get("GOSSIPSIM_TRANSPORT") or None
    if said is not None and said not in KINDS:
        raise ValueError(
            f"environment variable GOSSIPSIM_TRANSPORT is {said!r}; it is {' or '.join(KINDS)}, or not set"
        )
    return said


def environment_problems() -> list[str]:
    """What is wrong with the environment variables that transports read."""
    problems = []
    for read in (timeout, demanded):
        try:
            read()
        except ValueError as error:
            problems.append(str(error))
    return problems


STOPPED = "a signal has stopped its process"
"""Why a peer counts as lost that would otherwise never answer nor end."""


class PeerLost(RuntimeError):
    """An exchange failed because another process is gone: a consequence of a failure, never its cause.

    Attributes:
        peer: the rank that is gone, where that is known.
        process: its process, where it is on this machine; else 0.
        hopeless: whether the rank will not say itself what has become of it.
    """

    def __init__(self, reason: str, peer: int | None = None, process: int = 0, *, hopeless: bool = False) -> None:
        super().__init__(f"{'a peer' if peer is None else f'rank {peer}'} is gone or stuck ({reason})")
        self.peer, self.process = peer, process
        self.hopeless = hopeless or process != 0


class Transfer(Protocol):
    """Messages on their way."""

    def wait(self) -> None:
        """Returns when all that this process receives has arrived and what it sends may be overwritten.

        Raises:
            PeerLost: where another process is gone, or has been silent for too long.
        """


class Loan(Protocol):
    """Messages on their way that are read where their senders have written them."""

    def open(self) -> list[int]:
        """The address of each message in the order of its announcement, once all are there; until :meth:`close`.

        Raises:
            PeerLost: where another process is gone, or has been silent for too long.
        """

    def close(self) -> None:
        """Lets the senders overwrite them. What this process sends may be overwritten then, too."""


class Transport(Protocol):
    """Moves tensors between `size` processes."""

    rank: int
    size: int
    device: torch.device

    def begin(self, sends: Messages, receives: Messages) -> Transfer:
        """Starts to send and receive, all at once, and returns without waiting for anybody.

        Until the transfer has been waited for, what is sent must not change and what is received is undefined.
        Transfers are waited for in the order in which they were begun.
        """

    def lend(self, sends: Messages, announced: Sequence[tuple[int, int]]) -> Loan | None:
        """As :meth:`begin`, for messages of so many bytes from each (peer, bytes), without a copy here.

        None, and nothing has begun, where the messages are not written to memory that this process can read.
        """

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        """Overwrites `tensor` on every process with that of rank `source`."""

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The equally shaped tensors of all ranks, in rank order, on every rank: (...) -> (size, ...)."""

    def close(self) -> None:
        """Waits for everyone, then leaves."""


class Done:
    """A transfer of nothing."""

    def wait(self) -> None:
        pass


class Alone:
    """The transport of a single process: there is nobody to talk to."""

    rank = 0
    size = 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def begin(self, sends: Messages, receives: Messages) -> Transfer:
        assert not sends, "one process has no peers"
        assert not receives, "one process has no peers"
        return Done()

    def lend(self, sends: Messages, announced: Sequence[tuple[int, int]]) -> None:
        return None

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        assert source == 0

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unsqueeze(0)

    def close(self) -> None:
        pass


def require_gpus(device: str, processes: int) -> None:
    """nccl needs a GPU of its own for every rank.

    Raises:
        ValueError: where this machine has fewer GPUs than `processes`.
    """
    if device.startswith("cuda") and torch.cuda.device_count() < processes:
        if torch.cuda.device_count() == 0:
            raise ValueError("device: cuda needs a GPU and torch finds none on this machine; use --device cpu")
        raise ValueError(
            f"device: cuda with {processes} processes needs {processes} GPUs, this machine has "
            f"{torch.cuda.device_count()}; use --processes 1 to host all nodes on one GPU, or --device cpu"
        )
