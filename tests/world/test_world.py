"""Rows on real processes: blocks, sums in node order, tables, collections, words and exchanges for several P."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossipsim.mixing import Mix
from gossipsim.network import Network, exponential, ring, star
from gossipsim.world import Ranks, World, blocks, watch
from gossipsim.world import world as rows_of_world
from gossipsim.world.transport import Transport

NODES, D = 7, 301
PROCESSES = [1, 2, 3, 8]


def on_ranks(size: int, work: Callable[[Transport], Any]) -> list[Any]:
    """The JSON-able results of `work(transport)` on `size` forked ranks, in rank order."""
    return results_of(Ranks(size, lambda transport, emit, _: emit({"rank": transport.rank, "result": work(transport)})))


def results_of(ranks: Ranks) -> list[Any]:
    """What ranks that emit a `rank` and a `result` each have found, in rank order."""
    ranks.begin(None)
    messages: list[dict[str, Any]] = []
    while ranks.busy:
        watch([ranks], 0.1)
        messages += ranks.poll()
    ranks.stop()
    assert ranks.failure is None, ranks.failure
    return [message["result"] for message in sorted(messages, key=lambda message: message["rank"])]


def _rows(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(NODES, D, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.arange(
        -3, NODES - 3, dtype=dtype
    ).unsqueeze(1)


def _hosted(world: World, X: torch.Tensor) -> torch.Tensor:
    return X[world.hosted.start : world.hosted.stop].clone()


def _digest(X: torch.Tensor) -> str:
    return hashlib.sha256(X.contiguous().numpy().tobytes()).hexdigest()


@given(st.integers(0, 300), st.integers(1, 60))
def test_blocks_are_contiguous_even_and_complete(items: int, size: int) -> None:
    found = blocks(items, size)
    assert len(found) == size
    assert [item for block in found for item in block] == list(range(items))
    lengths = [len(block) for block in found]
    assert lengths == sorted(lengths, reverse=True)
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("processes", PROCESSES)
def test_a_sum_runs_in_node_order_wherever_the_nodes_live(processes: int) -> None:
    X = _rows()
    expected = X[0].clone()
    for row in X[1:]:
        expected += row
    assert not torch.equal(expected, X.flip(0).cumsum(0)[-1])  # the order shows in the bits

    def work(transport: Transport) -> list[str]:
        world = World(NODES, transport)
        return [_digest(world.sum(_hosted(world, X))), _digest(world.mean(_hosted(world, X)))]

    assert on_ranks(processes, work) == [[_digest(expected), _digest(expected / NODES)]] * processes


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("processes", PROCESSES)
def test_tables_collections_and_words(processes: int) -> None:
    X, values = _rows(), torch.arange(22, dtype=torch.float64).view(11, 2)

    def work(transport: Transport) -> Any:
        world = World(NODES, transport)
        share = world.share(len(values))
        table = world.table(values[share.start : share.stop], len(values))
        rows = world.collect(_hosted(world, X))
        said = [world.say(text if world.rank == 0 else "") for text in ("", "grüße ∂", json.dumps({"a": [1, None]}))]
        return [_digest(table), None if rows is None else _digest(rows), said]

    said = ["", "grüße ∂", '{"a": [1, null]}']
    elsewhere = [[_digest(values), None, said]] * (processes - 1)
    assert on_ranks(processes, work) == [[_digest(values), _digest(X), said], *elsewhere]


def test_rows_are_collected_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_of_world, "PIECE", 2 * D * 4)
    X = _rows()
    wholes = on_ranks(2, lambda transport: _collected(World(NODES, transport), X))
    assert wholes == [_digest(X), None]


def _collected(world: World, X: torch.Tensor) -> str | None:
    rows = world.collect(_hosted(world, X))
    return None if rows is None else _digest(rows)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("processes", [2, 3, 8])
def test_an_exchange_brings_the_rows_that_were_asked_for(processes: int) -> None:
    """Everyone sends its first row to everyone else that hosts something, and the last one too where it has two."""
    X = _rows(torch.float64)

    def work(transport: Transport) -> list[Any]:
        world = World(NODES, transport)
        others = [rank for rank, block in enumerate(world.blocks) if block and rank != world.rank]
        if not world.hosted:
            return [_digest(world.exchange(_hosted(world, X), [], [])), world.exchanged_bytes]
        ends = {rank: sorted({block[0], block[-1]}) for rank, block in enumerate(world.blocks) if block}
        leaving = torch.tensor(ends[world.rank]) - world.hosted.start
        receives = [(rank, len(ends[rank])) for rank in others]
        halo = world.exchange(_hosted(world, X), [(rank, leaving) for rank in others], receives)
        expected = X[[node for rank in others for node in ends[rank]]]
        assert torch.equal(halo, expected)
        return ["right", world.exchanged_bytes == len(others) * len(leaving) * D * 8]

    found = on_ranks(processes, work)
    hosting = min(processes, NODES)
    assert found[:hosting] == [["right", True]] * hosting
    assert all(exchanged == 0 for _, exchanged in found[hosting:])


@pytest.mark.parametrize("graph", [ring(6), star(6), exponential(6)], ids=["ring", "star", "exponential"])
def test_with_one_process_per_node_the_counted_bytes_are_the_real_ones(graph: Any) -> None:
    network = Network(6, graph)

    def work(transport: Transport) -> list[int]:
        world = World(6, transport)
        mix = Mix(world, network)
        X = torch.ones(1, D)
        for _ in range(3):
            X = mix(X)
        return [world.exchanged_bytes, mix.traffic.bytes_sent]

    found = on_ranks(6, work)
    assert sum(real for real, _ in found) == found[0][1] > 0
    assert len({counted for _, counted in found}) == 1


def test_packed_nodes_exchange_less_than_they_count() -> None:
    """Rows between nodes of one process are counted, but nothing is sent."""
    network = Network(6, ring(6))

    def work(transport: Transport) -> list[int]:
        world = World(6, transport)
        mix = Mix(world, network)
        mix(torch.ones(len(world.hosted), D))
        return [world.exchanged_bytes, mix.traffic.bytes_sent]

    assert on_ranks(2, work) == [[2 * D * 4, 12 * D * 4]] * 2
