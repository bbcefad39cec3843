"""Rows between machines, and wherever memory cannot be shared: a torch.distributed process group."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from gossipsim.world.attempts import met
from gossipsim.world.transport import Messages, PeerLost, Transfer, patience_with_machines

T = TypeVar("T")

COMING = 60.0
"""Seconds that ranks may take at least until all are there: they import torch, where cores are few one by one."""


@dataclass
class _Posted:
    """Operations of a process group under way, each with the peer that it needs."""

    works: list[tuple[dist.Work, int | None]]

    def wait(self) -> None:
        for work, peer in self.works:
            try:
                work.wait()
            except RuntimeError as error:
                raise _lost(error, peer) from error


class ProcessGroup:
    """The default torch.distributed process group: gloo for CPU tensors, nccl for rows on GPUs.

    Args:
        init_method: `file://...` for local ranks, `env://` under torchrun.
        device: where the rows live; "cuda" takes the GPU of this process's local rank.

    Attributes:
        attempt: how often the ranks have met, from 1: torchrun may start them again when it has lost one.
    """

    def __init__(self, rank: int, size: int, init_method: str, *, device: str = "cpu", local_rank: int = 0) -> None:
        self.rank, self.size = rank, size
        backend = "gloo"
        self.device = torch.device("cpu")
        if device.startswith("cuda"):
            self.device = torch.device("cuda", local_rank)
            torch.cuda.set_device(self.device)
            backend = "cpu:gloo,cuda:nccl"
        patience = timedelta(seconds=patience_with_machines())
        coming = max(patience, timedelta(seconds=COMING))
        store, _, _ = next(rendezvous(init_method, rank, size, timeout=coming))
        self.attempt = 1
        if init_method == "env://":
            store, self.attempt = met(store, rank, size, coming)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
        group = dist.group.WORLD
        assert group is not None
        self._group = group

    def begin(self, sends: Messages, receives: Messages) -> Transfer:
        """Receives are posted first: a sender that finds one asks no further.

        Without the wrappers of `dist.isend` and `dist.irecv`, which cost as much as sending a small row. nccl alone
        needs them: it joins all operations in one work.
        """
        if any(tensor.is_cuda for _, tensor in (*sends, *receives)):
            operations = [dist.P2POp(dist.irecv, tensor, peer) for peer, tensor in receives]
            operations += [dist.P2POp(dist.isend, tensor, peer) for peer, tensor in sends]
            return _Posted([(work, None) for work in _named(lambda: dist.batch_isend_irecv(operations))])
        works: list[tuple[dist.Work, int | None]] = []
        for post, messages in ((self._group.recv, receives), (self._group.send, sends)):
            for peer, tensor in messages:
                try:
                    works.append((post([tensor], peer, 0), peer))
                except RuntimeError as error:
                    raise _lost(error, peer) from error
        return _Posted(works)

    def lend(self, sends: Messages, announced: Sequence[tuple[int, int]]) -> None:
        return None

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        _named(lambda: dist.broadcast(tensor, source))

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        everyone = tensor.new_empty(self.size, *tensor.shape)
        _named(lambda: dist.all_gather(list(everyone), tensor))
        return everyone

    def close(self) -> None:
        _named(dist.barrier)  # without it 1 run in 8 aborted at exit
        dist.destroy_process_group()


def _named(communicate: Callable[[], T]) -> T:
    """Runs a communication of all processes."""
    try:
        return communicate()
    except RuntimeError as error:
        raise _lost(error) from error


def _lost(error: RuntimeError, peer: int | None = None) -> PeerLost:
    """torch's RuntimeErrors mean that a peer is gone or unreachable."""
    reason = re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0])  # gloo begins with its source line
    return PeerLost(reason.partition(". ")[0], peer, hopeless="imed out" in reason)


def tell_torchrun(error: BaseException) -> None:
    """Leaves the exception where the torchrun agent looks for the cause of a failure."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)


def has_told_torchrun(rank: int) -> bool:
    """Whether another rank of this machine has left an exception of its own there, and not the loss of a peer."""
    ours = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", "missing/0/error.json"))  # .../<local rank>/error.json
    local_rank = rank - int(os.environ["RANK"]) + int(os.environ["LOCAL_RANK"])
    try:
        told = json.loads((ours.parents[1] / str(local_rank) / ours.name).read_text())["message"]["message"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return not str(told).startswith(PeerLost.__name__)
