"""Ranks of a torchrun job that find each other, whatever ranks that have died have left in the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from gossipsim.world import PeerLost, has_told_torchrun, tell_torchrun
from gossipsim.world.attempts import met

RANKS = 5


def meet(store: dist.Store, ranks: range = range(RANKS), patience: float = 20.0) -> list[tuple[dist.Store, int]]:
    with ThreadPoolExecutor(RANKS) as pool:
        return list(pool.map(lambda rank: met(store, rank, RANKS, timedelta(seconds=patience)), ranks))


def test_each_attempt_has_a_store_of_its_own() -> None:
    store = dist.HashStore()
    stores = []
    for attempt in (1, 2, 3):
        found = meet(store)
        assert [number for _, number in found] == [attempt] * RANKS
        assert not found[0][0].check(["address"])
        found[0][0].set("address", str(attempt))
        assert [ours.get("address").decode() for ours, _ in found] == [str(attempt)] * RANKS
        stores.append(found[0][0])
    assert [ours.get("address").decode() for ours in stores] == ["1", "2", "3"]


def test_who_died_before_it_was_answered_is_not_waited_for() -> None:
    store = dist.HashStore()
    for rank in (1, 3):
        store.set(f"gossipsim/hello/{rank}", "the word of a rank that has died")
    assert [number for _, number in meet(store)] == [1] * RANKS


def test_an_attempt_without_all_ranks_is_not_mistaken_for_the_next() -> None:
    store = dist.HashStore()
    with pytest.raises(TimeoutError, match=r"rank 4 has not come within 0\.2 s"):
        meet(store, range(RANKS - 1), patience=0.2)
    assert [number for _, number in meet(store)] == [2] * RANKS


@pytest.mark.parametrize(("error", "expected"), [(OSError("no room"), True), (PeerLost("silent", 0), False)])
def test_a_culprit_has_told_torchrun_and_a_victim_has_not(
    error: Exception, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 5, the second of its machine, tells; rank 4, the first, looks."""
    for local_rank in ("0", "1"):
        (tmp_path / local_rank).mkdir()
    for name, value in (("RANK", "4"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "1" / "error.json"))
    tell_torchrun(error)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "0" / "error.json"))
    assert has_told_torchrun(5) is expected
    assert not has_told_torchrun(4)
