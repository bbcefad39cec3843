"""Messages of every kind, by every transport, and between machines; peers that are silent are named."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gossipsim.world import Addresses, Arriving, Ranks, World, environment_problems, machines, watch
from gossipsim.world.gloo import ProcessGroup
from gossipsim.world.launcher import Emit
from gossipsim.world.shared_memory import UNDER_WAY, Shared, SharedMemory
from gossipsim.world.transport import Transport, demanded, timeout
from tests.world.test_world import on_ranks, results_of

DTYPES = [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]


def _messages(source: int, target: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """What `source` sends to `target`: nothing, a little, and more than a pipe or a socket holds."""
    sizes = (0, 1, 1000 + source, 700_000 + target)
    return [(torch.arange(size) * (source + 2) + target).to(dtype) for size in sizes]


def _everyone_to_everyone(transport: Transport) -> bool:
    right = True
    peers = [rank for rank in range(transport.size) if rank != transport.rank]
    for dtype in DTYPES:
        sends = [(peer, m) for peer in peers for m in _messages(transport.rank, peer, dtype)]
        expected = [(peer, m) for peer in peers for m in _messages(peer, transport.rank, dtype)]
        receives = [(peer, torch.empty_like(m)) for peer, m in expected]
        transport.begin(sends, receives).wait()
        right &= all(torch.equal(a, b) for (_, a), (_, b) in zip(receives, expected, strict=True))
        for source in range(transport.size):
            told = torch.full((5,), source if transport.rank == source else 9).to(dtype)
            transport.broadcast(told, source)
            right &= torch.equal(told, torch.full((5,), source).to(dtype))
        rows = transport.gather(torch.full((2, 3), transport.rank).to(dtype))
        right &= all(torch.equal(row, torch.full((2, 3), rank).to(dtype)) for rank, row in enumerate(rows))
    return right


@pytest.mark.usefixtures("way")
def test_all_types_and_sizes_arrive() -> None:
    assert on_ranks(3, _everyone_to_everyone) == [True] * 3


@pytest.mark.usefixtures("way")
def test_exchanges_can_be_begun_before_the_first_is_waited_for() -> None:
    """Faster senders do not overwrite what slower receivers have not read."""

    def work(transport: Transport) -> bool:
        world, right = World(4, transport), True
        before, after = (world.rank - 1) % 4, (world.rank + 1) % 4
        here = torch.tensor([0])
        for turn in range(30):
            begun = []
            for k in range(3):
                row = torch.full((1, 3000 * (k + 1)), float(10 * turn + k + world.rank))
                begun.append((k, row, world.begin(row, [(after, here)], [(before, 1)])))
            if world.rank == turn % 4:
                time.sleep(0.002)
            for k, _, arriving in begun:
                right &= bool((arriving.wait() == 10 * turn + k + before).all())
        return right

    assert on_ranks(4, work) == [True] * 4


def test_rows_are_read_where_they_were_written_until_they_are_released() -> None:
    """Also where a later exchange is asked for first: the earlier one is copied then."""

    def work(transport: Transport) -> list[list[float]]:
        world, here = World(6, transport), torch.tensor([0, 2])
        other = 1 - world.rank

        def begin(turn: int) -> Arriving:
            rows = torch.arange(12.0).view(3, 4) + 100 * world.rank + 10 * turn
            return world.begin(rows, [(other, here)], [(other, 2)])

        def read(addresses: Addresses) -> list[float]:
            return [number for at in addresses.tolist() for number in (ctypes.c_float * 4).from_address(at)]

        found = []
        for arriving in [begin(0), begin(1)][::-1]:  # the later one first
            found.append(read(arriving.addresses()))
            arriving.release()
        open_ = begin(2)
        addresses = open_.addresses()
        later = [begin(3), begin(4)]  # goes elsewhere: what is open is not overwritten
        time.sleep(0.1)
        found.append(read(addresses))
        open_.release()
        assert [float(arriving.wait()[0, 0]) for arriving in later] == [100 * other + 30.0, 100 * other + 40.0]
        return found

    rows = torch.tensor([0.0, 1, 2, 3, 8, 9, 10, 11])
    for rank, found in enumerate(on_ranks(2, work)):
        assert found == [(rows + 100 * (1 - rank) + 10 * turn).tolist() for turn in (1, 0, 2)]


def test_a_message_that_goes_to_many_is_written_once() -> None:
    """Shared memory holds the rows of two exchanges, not more, however long the run and however slow a receiver."""

    def work(transport: Transport) -> int:
        assert isinstance(transport, Shared)
        row, size = torch.ones(100_000), transport.size
        for turn in range(20):
            if transport.rank == 0:
                transport.begin([(peer, row) for peer in range(1, size)], []).wait()
            else:
                time.sleep(0.001 * (turn % transport.rank))
                transport.begin([], [(0, torch.empty(100_000))]).wait()
        return os.fstat(transport._memory.file).st_blocks * 512

    assert 400_000 < max(on_ranks(4, work)) < 2 * 400_000 + 200_000


def test_waiting_is_bounded_and_names_the_silent_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIPSIM_TIMEOUT", "0.2")
    memory = SharedMemory(2)
    lonely = Shared(memory, 0, names=[4, 7])
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"rank 7 is gone or stuck \(silent for 0.2 s\)"):
        lonely.begin([], [(1, torch.empty(3))]).wait()
    assert 0.15 < time.monotonic() - started < 1
    memory.close()


def test_a_peer_that_has_ended_is_not_waited_for() -> None:
    """Under torchrun nobody ends the others where a rank leaves with code 0; what it had sent still arrives."""
    memory = SharedMemory(2)
    process = os.fork()
    if process == 0:
        Shared(memory, 1).begin([(0, torch.arange(3))], [])
        os._exit(0)
    left, got = Shared(memory, 0), torch.zeros(3, dtype=torch.int64)
    left.begin([], [(1, got)]).wait()
    assert got.tolist() == [0, 1, 2]
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"rank 1 is gone or stuck \(its process has ended\)"):
        left.begin([], [(1, got)]).wait()
    assert time.monotonic() - started < 5
    os.waitpid(process, 0)
    memory.close()


def test_messages_that_do_not_fit_are_noticed() -> None:
    memory = SharedMemory(2)
    one, other = Shared(memory, 0), Shared(memory, 1)
    one.begin([(1, torch.ones(3))], [])
    with pytest.raises(AssertionError, match="rank 0 sent 12 bytes, 8 were expected"):
        other.begin([], [(0, torch.ones(2))]).wait()
    for _ in range(UNDER_WAY - 1):
        one.begin([(1, torch.ones(3))], [])
    with pytest.raises(AssertionError, match="more than 8 messages to rank 1 under way"):
        one.begin([(1, torch.ones(3))], [])
    memory.close()


@pytest.mark.usefixtures("way")
def test_a_stopped_rank_is_named_by_those_who_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIPSIM_TIMEOUT", "1")

    def target(transport: Transport, emit: Emit, job: Any) -> None:
        world = World(3, transport)
        world.sum(torch.ones(1, 4))
        if transport.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        world.exchange(torch.ones(1, 4), [((world.rank + 1) % 3, torch.tensor([0]))], [((world.rank - 1) % 3, 1)])

    ranks = Ranks(3, target)
    ranks.begin(None)
    started = time.monotonic()
    while ranks.busy:
        watch([ranks], 0.1)
        ranks.poll()
    assert time.monotonic() - started < 3
    assert ranks.failure is not None
    assert ranks.failure.rank == 1
    assert "rank 1 is gone or stuck" in ranks.failure.message


def _job(
    size: int, work: Callable[[Transport], Any], name: Callable[[int], str], folder: Path, **environment: str
) -> list[Any]:
    """Results of ranks as under torchrun: a process group, and machines as `name(rank)` says."""

    def target(transport: Transport, emit: Emit, job: Any) -> None:
        os.environ |= environment
        group = ProcessGroup(transport.rank, size, f"file://{folder / 'store'}")
        boot = folder / name(group.rank)
        boot.write_text(boot.name)
        machines.BOOT = boot
        emit({"rank": group.rank, "result": work(machines.within_machines(group))})

    return results_of(Ranks(size, target))


NAMES: dict[str, Callable[[int], str]] = {
    "one machine": lambda rank: "a",
    "two machines": lambda rank: "ab"[rank // 2],
    "ranks by turns": lambda rank: "ab"[rank % 2],
}


@pytest.mark.parametrize("where", NAMES)
def test_ranks_of_a_machine_share_memory_and_machines_use_gloo(where: str, tmp_path: Path) -> None:
    def work(transport: Transport) -> list[Any]:
        return [type(transport).__name__, _everyone_to_everyone(transport)]

    assert _job(4, work, NAMES[where], tmp_path) == [["Machines", True]] * 4


def test_gloo_alone_where_it_is_asked_for(tmp_path: Path) -> None:
    work, one = lambda transport: [type(transport).__name__], NAMES["one machine"]
    found = _job(2, work, one, tmp_path, GOSSIPSIM_TRANSPORT="gloo")
    assert found == [["ProcessGroup"]] * 2


def test_gloo_where_a_rank_cannot_open_the_memory_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(path: str, flags: int) -> int:
        raise PermissionError(path)

    def work(transport: Transport) -> list[Any]:
        return [type(transport).__name__, _everyone_to_everyone(transport)]

    monkeypatch.setattr(machines, "_open", cannot)
    assert _job(3, work, NAMES["one machine"], tmp_path) == [["ProcessGroup", True]] * 3


@pytest.mark.parametrize(
    ("name", "value", "read"), [("GOSSIPSIM_TRANSPORT", "tcp", demanded), ("GOSSIPSIM_TIMEOUT", "soon", timeout)]
)
def test_environment_variables_say_what_they_allow(
    name: str, value: str, read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"environment variable {name} is '{value}'"):
        read()
    assert environment_problems()[0].startswith(f"environment variable {name} is ")


def test_nothing_is_left_of_shared_memory() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert on_ranks(3, lambda transport: None) == [None] * 3
    assert set(os.listdir("/proc/self/fd")) == before
