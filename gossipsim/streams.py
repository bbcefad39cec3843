"""Random streams keyed by (seed, node, purpose), never by ``seed + rank``.

Every draw of a simulation comes from a stream of its own: the order of node 3's data does not depend on where node 3
is hosted, on how many nodes there are, or on what another purpose has drawn.

``torch.Generator.manual_seed`` keeps only the low 32 bits of a seed on the CPU, so that 77,000 streams would collide
with probability one half. The 624 words of the Mersenne Twister are therefore filled from a
:class:`numpy.random.SeedSequence`, which has 128 bits of entropy.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

_WORDS = 624
_STATE_OFFSET = 24  # bytes before the words in torch's CPU generator state: seed, left, seeded, next


def seed_sequence(seed: int, node: int | None, purpose: str) -> np.random.SeedSequence:
    """The entropy of one stream; ``node=None`` is the stream that all nodes share.

    Raises:
        ValueError: for a negative seed or node.
    """
    if seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed}")
    if node is not None and node < 0:
        raise ValueError(f"node must be a non-negative integer, got {node}")
    digest = hashlib.sha256(f"{seed}/{'*' if node is None else node}/{purpose}".encode()).digest()
    return np.random.SeedSequence(int.from_bytes(digest, "little"))


def generator(seed: int, node: int | None, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one (seed, node, purpose), on the CPU or (Philox, 64-bit seed) on a GPU.

    >>> import torch
    >>> a, b = generator(0, 1, "data"), generator(1, 0, "data")
    >>> bool(torch.rand((), generator=a) == torch.rand((), generator=b))
    False
    """
    entropy = seed_sequence(seed, node, purpose)
    if torch.device(device).type != "cpu":
        return torch.Generator(device).manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
    words = entropy.generate_state(_WORDS, np.uint32)
    words[0] = 1 << 31  # as numpy's MT19937 does: not all bits are zero
    stream = torch.Generator()
    state = stream.manual_seed(0).get_state()
    state[_STATE_OFFSET : _STATE_OFFSET + 8 * _WORDS].view(torch.int64)[:] = torch.from_numpy(words.astype(np.int64))
    return stream.set_state(state)


def draws(seed: int, purpose: str, index: int) -> np.random.Generator:
    """What all nodes draw together in event number `index`: a function of its arguments, without a state to keep.

    For what happens to the network and to who takes part in a round: every process draws the same.

    >>> float(draws(0, "links", 7).random()) == float(draws(0, "links", 7).random())
    True
    """
    return np.random.Generator(np.random.Philox(key=stream_key(seed, None, purpose), counter=[0, 0, index, 0]))


Integers = np.ndarray[Any, np.dtype[np.uint64]]


def stream_key(seed: int, node: int | None, purpose: str) -> tuple[int, int]:
    """Two integers of 64 bits for one (seed, node, purpose)."""
    first, second = seed_sequence(seed, node, purpose).generate_state(2, np.uint64)
    return int(first), int(second)


def orders(keys: Integers, passes: np.ndarray[Any, Any], m: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A random order of m things for each of n streams, (n, m): a function of the stream's key, the pass and m.

    Sorts m numbers of the stream's own SplitMix64 generator, of which the pass sets the start.

    Args:
        keys: what :func:`stream_key` gives, (n, 2). passes: non-negative integers, (n,).

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    start = _mixed(keys[:, 0] + passes.astype(np.uint64) * _GOLDEN)
    place = np.arange(1, m + 1, dtype=np.uint64)
    return np.argsort(_mixed(start[:, None] + place * (keys[:, 1:] | np.uint64(1))), axis=1)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(z: Integers) -> Integers:
    """The output function of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class global_stream:  # noqa: N801  used as a function, and entered for every gradient: a generator would be slower
    """Lets code that draws from torch's global generator (initialisation, dropout) draw from `stream` instead.

    The stream advances by what was drawn; the global generator is left as it was.
    """

    def __init__(self, stream: torch.Generator) -> None:
        on_cpu = stream.device.type == "cpu"
        self._stream = stream
        self._default = torch.default_generator if on_cpu else torch.cuda.default_generators[stream.device.index]

    def __enter__(self) -> None:
        self._outside = self._default.get_state()
        self._default.set_state(self._stream.get_state())

    def __exit__(self, *_: object) -> None:
        self._stream.set_state(self._default.get_state())
        self._default.set_state(self._outside)
