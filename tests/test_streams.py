"""Streams: keyed by (seed, node, purpose), full entropy, and borrowed by code that uses the global generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossipsim import testing
from gossipsim.streams import generator, global_stream, seed_sequence


def test_no_two_keys_collide() -> None:
    testing.streams(seeds=20, nodes=300)


def test_the_words_are_those_of_numpys_twister() -> None:
    """torch keeps 32 bits of a seed only; ours are filled in from 128 bits, and must be the same twister."""
    stream = generator(3, 5, "data")
    twister = np.random.MT19937(seed_sequence(3, 5, "data"))
    state = twister.state
    state["state"]["pos"] = 624  # the beginning of the next block: where torch starts
    twister.state = state
    words = twister.random_raw(16)[1::2]  # torch takes two words for an int64 and keeps the second
    drawn = torch.randint(0, 2**31, (8,), generator=stream).numpy()
    assert np.array_equal(drawn, words % 2**31)


@pytest.mark.parametrize(("first", "second"), [((0, 1, "a"), (1, 0, "a")), ((1, 11, "a"), (11, 1, "a"))])
def test_seed_and_node_are_not_added_up(first: tuple[int, int, str], second: tuple[int, int, str]) -> None:
    assert not torch.equal(torch.rand(4, generator=generator(*first)), torch.rand(4, generator=generator(*second)))


def test_equal_keys_give_equal_streams() -> None:
    assert torch.equal(torch.rand(9, generator=generator(7, 2, "x")), torch.rand(9, generator=generator(7, 2, "x")))


def test_the_shared_stream_is_nobodys() -> None:
    shared = torch.rand(4, generator=generator(0, None, "partition"))
    assert not torch.equal(shared, torch.rand(4, generator=generator(0, 0, "partition")))


@pytest.mark.parametrize(("seed", "node"), [(-1, 0), (0, -1)])
def test_negative_keys_are_refused(seed: int, node: int) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        generator(seed, node, "data")


def test_global_draws_come_from_the_stream_and_leave_no_trace() -> None:
    expected = torch.rand(6, generator=generator(0, 0, "model"))
    before = torch.get_rng_state()
    stream = generator(0, 0, "model")
    with global_stream(stream):
        first = torch.rand(3)
    with global_stream(stream):
        second = torch.rand(3)
    assert torch.equal(torch.cat([first, second]), expected)
    assert torch.equal(torch.get_rng_state(), before)
