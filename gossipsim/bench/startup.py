"""How long ranks take to their first exchange: from the fork, and when they are warm."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch

from gossipsim.world import Ranks, World, watch
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport

RANKS = (8, 16)


def first_exchange(repeats: int) -> dict[str, float]:
    """Seconds until the last of P ranks has exchanged a row with both ring neighbours.

    Of forked ranks from torch imported, of warm ranks, as the next run of a sweep finds them, from the order.
    """
    figures: dict[str, float] = {}
    for size in RANKS:
        cold, warm = zip(*[_start(size) for _ in range(repeats)], strict=True)
        figures |= {f"{size}_ranks_s": median(cold), f"{size}_warm_ranks_s": median(warm)}
    return figures


def _start(size: int) -> tuple[float, float]:
    started = time.perf_counter()
    ranks = Ranks(size, _ring_exchange)
    try:
        cold = _exchanged(ranks, started)
        return cold, _exchanged(ranks, time.perf_counter())
    finally:
        ranks.stop()


def _exchanged(ranks: Ranks, since: float) -> float:
    ranks.begin(None)
    reached: list[float] = []
    while ranks.busy:
        watch([ranks], timeout=1.0)
        reached += [time.perf_counter() - since for _ in ranks.poll()]
    if ranks.failure is not None or len(reached) != ranks.size:
        raise RuntimeError(f"bench: {ranks.size} ranks did not start: {ranks.failure}")
    return max(reached)


def _ring_exchange(transport: Transport, emit: Emit, _: Any) -> None:
    world = World(transport.size, transport)
    here = torch.tensor([0])
    peers = sorted({(world.rank - 1) % world.size, (world.rank + 1) % world.size})
    world.exchange(torch.ones(1, 1000), [(p, here) for p in peers], [(p, 1) for p in peers])
    emit({"exchanged": True})
