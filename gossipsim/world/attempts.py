"""How the ranks of a torchrun job find each other, also when torchrun has started them again.

torchrun keeps its store, and in it the addresses of ranks that have died. TORCHELASTIC_RESTART_COUNT does not tell one
attempt from the next: on a machine that begins again because another one does, it stays as it was.
"""

from __future__ import annotations

import secrets
import time
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

PAUSE = 0.005
"""Seconds between two looks at who has come."""


def met(store: Store, rank: int, size: int, patience: timedelta) -> tuple[Store, int]:
    """The part of a store that belongs to this attempt of a job, and the attempt's number, from 1, on every rank.

    Each rank says hello with a word of its own, so that rank 0 answers those who live: what ranks that have died have
    left in the store is answered as well, and read by nobody.

    Raises:
        TimeoutError: on rank 0, naming a rank that has not come.
    """
    if rank == 0:
        attempt = store.add("gossipsim/attempts", 1)
        _welcome(store, attempt, set(range(1, size)), patience)
    else:
        word = secrets.token_hex(16)
        store.set(f"gossipsim/hello/{rank}", word)
        attempt = int(store.get(f"gossipsim/welcome/{word}"))
        store.set(f"gossipsim/{attempt}/there/{rank}", "")
    return dist.PrefixStore(f"gossipsim/{attempt}", store), attempt  # type: ignore[attr-defined]


def _welcome(store: Store, attempt: int, missing: set[int], patience: timedelta) -> None:
    """Tells all other ranks the attempt, until each has heard."""
    deadline = time.monotonic() + patience.total_seconds()
    while missing:
        for rank in sorted(missing):
            if store.check([f"gossipsim/{attempt}/there/{rank}"]):
                missing.remove(rank)
            elif store.check([f"gossipsim/hello/{rank}"]):
                store.set(f"gossipsim/welcome/{store.get(f'gossipsim/hello/{rank}').decode()}", str(attempt))
        if missing and time.monotonic() > deadline:
            raise TimeoutError(f"rank {min(missing)} has not come within {patience.total_seconds():g} s")
        time.sleep(PAUSE)
