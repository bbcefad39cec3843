"""Rows between the ranks of a job on one machine or several: through memory within a machine, by gloo between them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from gossipsim.world.gloo import ProcessGroup
from gossipsim.world.processes import die_with
from gossipsim.world.shared_memory import Shared, SharedMemory
from gossipsim.world.stacks import tell
from gossipsim.world.transport import Loan, Messages, Transfer, Transport, demanded, require_gpus

_open = os.open

BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Names this start of this machine; containers on it see the same."""


def joined_by_torchrun(device: str = "cpu") -> tuple[Transport, int] | None:
    """The transport of a torchrun job, and how often its ranks have met, from 1; None where torchrun has not started
    this process.

    Raises:
        ValueError: for ``device="cuda"`` with fewer GPUs on this machine than ranks, and for a GOSSIPSIM_TRANSPORT
            that cannot be had.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    require_gpus(device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    die_with(os.getppid())  # torchrun's ranks would run on without it
    tell()
    group = ProcessGroup(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        "env://",
        device=device,
        local_rank=int(os.environ["LOCAL_RANK"]),
    )
    return within_machines(group), group.attempt


def within_machines(group: ProcessGroup) -> Transport:
    """The transport of a process group's ranks, with shared memory where ranks of one machine can have it.

    They can where all of them can open the memory that the first has created: not from different containers.

    Raises:
        ValueError: for a GOSSIPSIM_TRANSPORT that there is not, or not here.
    """
    wanted = demanded()
    if group.size == 1 or group.device.type != "cpu":
        return group
    if any(_say(group, wanted == "gloo")):
        return group
    local = _ranks_here(group)
    memory = _opened(group, local)
    usable = _say(group, memory is not None)
    if wanted == "shared" and not all(usable):
        raise ValueError("environment variable GOSSIPSIM_TRANSPORT is 'shared', but not all ranks can share memory")
    if memory is None:
        return group
    if not all(usable[rank] for rank in local):
        memory.close()
        return group
    shared = Shared(memory, local.index(group.rank), local)
    return Machines(group, shared, local, alone=len(local) == group.size)


def _say(group: ProcessGroup, yes: bool) -> list[bool]:
    """What every rank says to a question."""
    return [bool(answer) for answer in group.gather(torch.tensor(yes))]


def _ranks_here(group: ProcessGroup) -> list[int]:
    """The ranks on this machine, of which this is one."""
    name = BOOT.read_bytes().strip()[:36] if BOOT.exists() else secrets.token_bytes(36)
    names = group.gather(torch.tensor(list(name.ljust(36)), dtype=torch.uint8))
    return [rank for rank, other in enumerate(names) if torch.equal(other, names[group.rank])]


def _opened(group: ProcessGroup, local: Sequence[int]) -> SharedMemory | None:
    """The memory of the ranks of this machine, created by the first; None where this rank cannot have it.

    A secret in it tells it from another process's file.
    """
    memory, found = None, torch.zeros(4, dtype=torch.int64)
    if group.rank == local[0]:
        with suppress(OSError):
            memory = SharedMemory(len(local))
            memory.mark = secrets.randbits(62)
            found = torch.tensor([1, os.getpid(), memory.file, memory.mark])
    there, process, file, mark = group.gather(found)[local[0]].tolist()
    if memory is None and there:
        with suppress(OSError):
            opened = _open(f"/proc/{process}/fd/{file}", os.O_RDWR)
            memory = SharedMemory(len(local), opened)
    return memory if memory is not None and memory.mark == mark else None


@dataclass
class _Both:
    """Messages under way on two ways."""

    near: Transfer
    far: Transfer

    def wait(self) -> None:
        self.near.wait()
        self.far.wait()


class Machines:
    """A process group, and the shared memory of those of its ranks that are on this machine.

    Args:
        local: the ranks on this machine.
        alone: whether there is no other machine.
    """

    def __init__(self, group: ProcessGroup, shared: Shared, local: Sequence[int], *, alone: bool) -> None:
        self.rank, self.size, self.device = group.rank, group.size, group.device
        self._group, self._shared = group, shared
        self._places = {rank: place for place, rank in enumerate(local)}
        self._everyone: Transport = shared if alone else group

    def begin(self, sends: Messages, receives: Messages) -> Transfer:
        far = [[(rank, tensor) for rank, tensor in them if rank not in self._places] for them in (sends, receives)]
        near = [
            [(self._places[rank], tensor) for rank, tensor in them if rank in self._places]
            for them in (sends, receives)
        ]
        begun = self._group.begin(*far) if any(far) else None
        if begun is None:
            return self._shared.begin(*near)
        return _Both(self._shared.begin(*near), begun)

    def lend(self, sends: Messages, announced: Sequence[tuple[int, int]]) -> Loan | None:
        if any(rank not in self._places for rank, _ in (*sends, *announced)):
            return None
        near = [(self._places[rank], tensor) for rank, tensor in sends]
        return self._shared.lend(near, [(self._places[rank], nbytes) for rank, nbytes in announced])

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        self._everyone.broadcast(tensor, source)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._everyone.gather(tensor)

    def close(self) -> None:
        self._group.close()
