"""How rows travel between processes: a torch.distributed process group, or nothing at all.

A transport knows ranks and tensors; it does not know nodes. :class:`~gossipsim.world.World` translates.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

DEFAULT_TIMEOUT = 120.0
"""Seconds that an exchange may wait for a peer. torch's own default is 30 minutes; GOSSIPSIM_TIMEOUT overrides."""


class PeerLost(RuntimeError):
    """An exchange failed because another process is gone: a consequence of a failure, never its cause.

    Attributes:
        peer: the rank that is gone, where that is known.
    """

    def __init__(self, reason: str, peer: int | None = None) -> None:
        super().__init__(f"{'a peer' if peer is None else f'rank {peer}'} is gone or stuck ({reason})")
        self.peer = peer


class Transport(Protocol):
    """Moves tensors between `size` processes."""

    rank: int
    size: int
    device: torch.device

    def swap(self, sends: Sequence[tuple[int, torch.Tensor]], receives: Sequence[tuple[int, torch.Tensor]]) -> None:
        """Sends and receives (peer, contiguous tensor) pairs, all at once; returns when all are done."""

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        """Overwrites `tensor` on every process with that of rank `source`."""

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The equally shaped tensors of all ranks, in rank order, on every rank."""

    def close(self) -> None:
        """Waits for everyone, then leaves."""


class Alone:
    """The transport of a single process: there is nobody to talk to."""

    rank = 0
    size = 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def swap(self, sends: Sequence[tuple[int, torch.Tensor]], receives: Sequence[tuple[int, torch.Tensor]]) -> None:
        assert not sends, "one process has no peers"
        assert not receives, "one process has no peers"

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        assert source == 0

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        return [tensor]

    def close(self) -> None:
        pass


class ProcessGroup:
    """The default torch.distributed process group: gloo for CPU tensors, nccl for rows on GPUs.

    Args:
        init_method: `file://...` for local ranks, `env://` under torchrun.
        device: where the rows live; "cuda" takes the GPU of this process's local rank.
    """

    def __init__(self, rank: int, size: int, init_method: str, *, device: str = "cpu", local_rank: int = 0) -> None:
        self.rank, self.size = rank, size
        backend = "gloo"
        self.device = torch.device("cpu")
        if device.startswith("cuda"):
            self.device = torch.device("cuda", local_rank)
            torch.cuda.set_device(self.device)
            backend = "cpu:gloo,cuda:nccl"
        timeout = timedelta(seconds=float(os.environ.get("GOSSIPSIM_TIMEOUT", DEFAULT_TIMEOUT)))
        dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=size, timeout=timeout)

    def swap(self, sends: Sequence[tuple[int, torch.Tensor]], receives: Sequence[tuple[int, torch.Tensor]]) -> None:
        operations = [dist.P2POp(dist.irecv, tensor, peer) for peer, tensor in receives]
        operations += [dist.P2POp(dist.isend, tensor, peer) for peer, tensor in sends]
        if not operations:
            return
        works = _named(lambda: dist.batch_isend_irecv(operations))
        peers = [operation.peer for operation in operations] if len(works) == len(operations) else [None] * len(works)
        for work, peer in zip(works, peers, strict=True):  # nccl joins all operations in one work
            _named(work.wait, peer)

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        _named(lambda: dist.broadcast(tensor, source))

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        everyone = [torch.empty_like(tensor) for _ in range(self.size)]
        _named(lambda: dist.all_gather(everyone, tensor))
        return everyone

    def close(self) -> None:
        _named(dist.barrier)  # without it 1 run in 8 aborted at exit
        dist.destroy_process_group()


def _named(communicate: Callable[[], T], peer: int | None = None) -> T:
    """Runs a communication; torch's RuntimeErrors mean that a peer is gone or unreachable."""
    try:
        return communicate()
    except RuntimeError as error:
        reason = re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0])  # gloo begins with its source line
        raise PeerLost(reason.partition(". ")[0], peer) from error


def joined_by_torchrun(device: str = "cpu") -> ProcessGroup | None:
    """The process group of a torchrun job, or None where this process was not started by torchrun.

    Raises:
        ValueError: for ``device="cuda"`` with fewer GPUs on this machine than ranks.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    require_gpus(device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return ProcessGroup(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        "env://",
        device=device,
        local_rank=int(os.environ["LOCAL_RANK"]),
    )


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


def local_store(folder: Path) -> str:
    """The rendezvous of local ranks: a file, so that no port is opened (and 64 ranks meet in 0.7 s, not 6)."""
    return f"file://{folder / 'rendezvous'}"


def tell_torchrun(error: BaseException) -> None:
    """Leaves the exception where the torchrun agent looks for the cause of a failure."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)
