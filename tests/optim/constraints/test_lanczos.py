"""The top singular pair: accuracy over spectra that are hard in different ways."""

from __future__ import annotations

import math

import pytest
import torch

from gossipsim.optim.constraints import NuclearBall, top_singular

GENERATOR = torch.Generator().manual_seed(1)


def gaussian(m: int, n: int) -> torch.Tensor:
    return torch.randn(m, n, generator=GENERATOR, dtype=torch.float64)


def with_values(m: int, n: int, values: torch.Tensor) -> torch.Tensor:
    left, right = torch.linalg.qr(gaussian(m, len(values)))[0], torch.linalg.qr(gaussian(n, len(values)))[0]
    return (left * values) @ right.T


RANKS = torch.arange(1, 201, dtype=torch.float64)
TWO_EQUAL = RANKS**-0.5
TWO_EQUAL[1] = TWO_EQUAL[0]
ONE_ENTRY = torch.zeros(90, 80, dtype=torch.float64)
ONE_ENTRY[7, 3] = -2
SPIKE = torch.zeros(100, 100, dtype=torch.float64)
SPIKE[0] = 1
MATRICES = {
    "Gaussian": gaussian(300, 300),
    "Gaussian, wide": gaussian(80, 900),
    "Gaussian, tall": gaussian(900, 80),
    "Gaussian, small": gaussian(64, 200),
    "positive entries": gaussian(200, 150).clamp(min=0),
    "power law": with_values(250, 200, 1 / RANKS),
    "slow power law": with_values(250, 200, RANKS**-0.1),
    "two equal top values": with_values(200, 250, TWO_EQUAL),
    "two nearly equal top values": with_values(200, 250, TWO_EQUAL * (1 - 1e-5 * (RANKS == 2))),
    "all values equal": with_values(200, 200, torch.ones(200, dtype=torch.float64)),
    "graded, 12 decades": with_values(200, 200, torch.logspace(0, -12, 200, dtype=torch.float64)),
    "evenly spaced": with_values(200, 200, 1 - RANKS / 400),
    "rank one": gaussian(300, 1) @ gaussian(1, 200),
    "rank two": gaussian(300, 2) @ gaussian(2, 200),
    "rows sum to zero": gaussian(200, 150) @ (torch.eye(150, dtype=torch.float64) - 1 / 150),
    "columns sum to zero": (torch.eye(400, dtype=torch.float64) - 1 / 400) @ gaussian(400, 300),
    "one entry": ONE_ENTRY,
    "one row": SPIKE,
    "ones": torch.ones(100, 70, dtype=torch.float64),
    "block diagonal": torch.block_diag(gaussian(70, 70), 1.02 * gaussian(70, 70)),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_top_pair(name, scale, dtype):
    a = (MATRICES[name] * scale).to(dtype)
    left, sigma, right = top_singular(a)
    assert (left.shape, right.shape, sigma.shape) == (a.shape[:1], a.shape[1:], ())
    assert left.dtype == right.dtype == sigma.dtype == dtype
    eps = torch.finfo(dtype).eps
    assert float(left.double().norm()) == pytest.approx(1, abs=16 * eps)
    assert float(right.double().norm()) == pytest.approx(1, abs=16 * eps)
    best = float(torch.linalg.svdvals(MATRICES[name])[0]) * scale
    value = float(left.double() @ a.double() @ right.double())
    assert 0.9999 * best <= value <= best * (1 + 16 * eps)
    assert value == pytest.approx(float(sigma), rel=16 * eps)


def test_large_gaussian_matrix():
    a = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    left, _, right = top_singular(a)
    assert float(left @ a @ right) >= 0.9999 * float(torch.linalg.svdvals(a)[0])


def test_deterministic_without_global_random_numbers():
    stream, a = torch.get_rng_state(), MATRICES["Gaussian"]
    first, again = top_singular(a), top_singular(a.clone())
    assert all(x.equal(y) for x, y in zip(first, again, strict=True))
    assert torch.get_rng_state().equal(stream)


def test_zero_and_not_a_number():
    left, sigma, right = top_singular(torch.zeros(100, 80))
    assert float(sigma) == 0
    assert float(left.norm()) == float(right.norm()) == 1
    assert NuclearBall(1.5).contains(NuclearBall(1.5).lmo(torch.zeros(100, 80)))
    for bad in (math.nan, math.inf, -math.inf):
        a = torch.ones(100, 80)
        a[3, 5] = bad
        assert all(part.isnan().all() for part in top_singular(a))
