"""How long ranks take from the fork to their first exchange."""

from __future__ import annotations

import time
from statistics import median

import torch

from gossipsim.world import Job, World, watch
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport

RANKS = (8, 16)


def first_exchange(repeats: int) -> dict[str, float]:
    """Seconds from torch imported until the last of P forked ranks has exchanged a row with both ring neighbours."""
    return {f"{ranks}_ranks_s": median(_start(ranks) for _ in range(repeats)) for ranks in RANKS}


def _start(ranks: int) -> float:
    started = time.perf_counter()
    job = Job(ranks, _ring_exchange)
    reached: list[float] = []
    while job.running:
        watch([job], timeout=1.0)
        reached += [time.perf_counter() - started for _ in job.poll()]
    if job.failure is not None or len(reached) != ranks:
        raise RuntimeError(f"bench: {ranks} ranks did not start: {job.failure}")
    return max(reached)


def _ring_exchange(transport: Transport, emit: Emit) -> None:
    world = World(transport.size, transport)
    here = torch.tensor([0])
    peers = sorted({(world.rank - 1) % world.size, (world.rank + 1) % world.size})
    world.exchange(torch.ones(1, 1000), [(p, here) for p in peers], [(p, 1) for p in peers])
    emit({"exchanged": True})
