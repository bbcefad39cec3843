"""Machine code and torch form the same sums, to the bit: those of the definition, wherever the rows are."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipsim.mixing import Exchange, Mix, kernel
from gossipsim.mixing.compiled import kernel as compiled
from gossipsim.mixing.kernel import by_torch, combine
from gossipsim.mixing.plan import MixingPlan, mixing_plan
from gossipsim.network import Network, complete, ring
from gossipsim.world import Arriving, World
from tests.mixing.definition import bits, by_definition

ODD = np.array([-0.0, 0.0, np.inf, -np.inf, np.nan, 1e-45, 3e38, 1.0])
"""Values that a rearranged sum would treat differently."""


class Seat:
    """One process of several, as far as a plan asks."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.device = rank, size, torch.device("cpu")


def matrices(rng: np.random.Generator, n: int, density: float, *, alike: bool) -> sp.csr_array:
    """A random W; rows without entries occur, and where `alike` rows that are equal to their neighbours."""
    W = np.where(rng.random((n, n)) < density, rng.standard_normal((n, n)), 0)
    if alike:
        W = W[rng.integers(0, n, n)].repeat(2, axis=0)[:n]
    return sp.csr_array(W)


def parts(W: sp.csr_array, X: torch.Tensor, size: int) -> list[tuple[MixingPlan, torch.Tensor, torch.Tensor]]:
    """For each of `size` processes its plan, its rows, and those that it receives."""
    worlds = [World(len(X), Seat(rank, size)) for rank in range(size)]  # type: ignore[arg-type]
    plans = [mixing_plan(W, world) for world in worlds]
    found = []
    for world, plan in zip(worlds, plans, strict=True):
        arriving = [torch.tensor(worlds[peer].hosted)[dict(plans[peer].sends)[world.rank]] for peer, _ in plan.receives]
        assert [len(rows) for rows in arriving] == [count for _, count in plan.receives]
        hosted = X[world.hosted.start : world.hosted.stop].clone()
        found.append((plan, hosted, torch.cat([X[:0], *(X[rows] for rows in arriving)])))
    return found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    d=st.sampled_from([1, 7, 8, 57, 64, 65, 300]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    density=st.sampled_from([0.1, 0.5, 1.0]),
    size=st.sampled_from([1, 2, 3, "n"]),
    alike=st.booleans(),
)
def test_the_bits_are_those_of_the_definition(
    seed: int, n: int, d: int, dtype: torch.dtype, density: float, size: int | str, alike: bool
) -> None:
    rng = np.random.default_rng(seed)
    W = matrices(rng, n, density, alike=alike)
    rows = rng.standard_normal((n, d))
    odd = rng.random((n, d)) < 0.1
    rows[odd] = rng.choice(ODD, odd.sum())
    X = torch.from_numpy(rows).to(dtype)
    with np.errstate(all="ignore"):
        expected = bits(by_definition(W, X.numpy()))
    found = parts(W, X, n if size == "n" else int(size))
    new = [torch.full_like(hosted, 7) for _, hosted, _ in found]
    for (plan, hosted, received), out in zip(found, new, strict=True):
        combine(plan, hosted, Arriving.there(received), out)
    assert bits(torch.cat(new)) == expected
    in_torch = [by_torch(torch.cat([hosted, received]), plan.terms, len(hosted)) for plan, hosted, received in found]
    assert bits(torch.cat(in_torch)) == expected
    for plan, hosted, received in found:
        combine(plan, hosted, Arriving.there(received), hosted)
    assert bits(torch.cat([hosted for _, hosted, _ in found])) == expected


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_of_columns_do_not_change_the_bits(
    dtype: torch.dtype, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "CACHE_BYTES", 1)
    monkeypatch.setattr(kernel, "SHARED_CACHE_BYTES", 1)
    rng = np.random.default_rng(0)
    W = matrices(rng, 9, 0.5, alike=True)
    X = torch.from_numpy(rng.standard_normal((9, 3 * 64 + 57))).to(dtype)
    expected = bits(by_definition(W, X.numpy()))
    [(plan, hosted, received)] = parts(W, X, 1)
    out = hosted if in_place else torch.empty_like(hosted)
    combine(plan, hosted, Arriving.there(received), out)
    assert bits(out) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [5, 7, 49, 100])
def test_equal_sums_are_formed_once(n: int, dtype: torch.dtype) -> None:
    plan = mixing_plan(Network(n, complete(n)).matrix(0), World(n))
    formed, copied = plan.sums(dtype)
    assert (formed.count, copied.count) == (1, n - 1)
    formed, copied = mixing_plan(Network(n, ring(n)).matrix(0), World(n)).sums(dtype)
    assert (formed.count, copied.count) == (n, 0)


def test_other_kinds_of_numbers_are_left_to_torch() -> None:
    X = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    mix = Mix(World(6), Network(6, ring(6)))
    assert compiled(torch.bfloat16) is None
    W = torch.from_numpy(mix.matrix.toarray())
    assert torch.allclose(mix(X).double(), W @ X.double(), atol=0.05)


def test_without_a_compiler_the_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    X = torch.randn(16, 300, generator=torch.Generator().manual_seed(0))
    mix = Mix(World(16), Network(16, ring(16)))
    expected = mix(X)
    monkeypatch.setattr(kernel, "kernel", lambda dtype: None)
    assert bits(mix(X)) == bits(expected)
    mix.update(X)
    assert bits(X) == bits(expected)


def test_machine_code_is_made_here() -> None:
    """The other tests would pass without it."""
    assert compiled(torch.float32) is not None
    assert compiled(torch.float64) is not None


def finished(exchange: Exchange, out: torch.Tensor) -> torch.Tensor:
    result = exchange.finish(out)
    assert result is out
    return out


def test_results_go_where_they_are_wanted() -> None:
    X = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    mix, before = Mix(World(6), Network(6, ring(6))), X.clone()
    expected = mix(X)
    assert torch.equal(X, before)
    assert torch.equal(finished(mix.begin(X), torch.empty_like(X)), expected)
    assert torch.equal(finished(mix.begin(X), torch.empty(40, 6).T), expected)
    assert torch.equal(finished(mix.begin(X), torch.empty_like(X, dtype=torch.float64)), expected.double())
    assert torch.equal(finished(mix.begin(X), X), expected)
    assert mix.traffic.messages == 5 * 12


def test_an_exchange_is_on_record_once_it_is_finished() -> None:
    X = torch.zeros(6, 40)
    mix = Mix(World(6), Network(6, ring(6)))
    exchange = mix.begin(X)
    assert (mix.exchanges, mix.traffic.messages) == (0, 0)
    exchange.finish()
    assert (mix.exchanges, mix.traffic.messages) == (1, 12)
