"""Polar factors: in the ball, best value, torch's own iteration, scale, rank, and what is no number."""

import importlib
import math

import pytest
import torch
from torch.optim._muon import DEFAULT_NS_STEPS, EPS, _zeropower_via_newtonschulz

from gossipsim.optim.orthogonalize import KELLER_JORDAN, orthogonalize

module = importlib.import_module("gossipsim.optim.orthogonalize")

EXACT = ["svd", "exact_fast"]
METHODS = [*EXACT, "newton_schulz", "polar_express"]
SHAPES = [(1, 1), (1, 40), (40, 1), (20, 30), (100, 100), (64, 300), (300, 80)]
SPECTRA = {
    "power 1/2": lambda i, k: (i + 1) ** -0.5,
    "power 2": lambda i, k: (i + 1) ** -2.0,
    "condition 1e3": lambda i, k: 10 ** (-3 * i / max(k - 1, 1)),
    "condition 1e6": lambda i, k: 10 ** (-6 * i / max(k - 1, 1)),
    "rank 3": lambda i, k: (i < 3).double(),
    "one large": lambda i, k: torch.where(i < 1, 1.0, 1e-3),
}


def matrix(shape, spectrum="Gaussian", dtype=torch.float64):
    G = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if spectrum != "Gaussian":
        U, s, Vh = torch.linalg.svd(G, full_matrices=False)
        G = U * SPECTRA[spectrum](torch.arange(len(s), dtype=torch.float64), len(s)) @ Vh
    return G.to(dtype)


def norm(D):
    return float(torch.linalg.matrix_norm(D.double(), 2))


def value(G, D):
    """<G, D> over its largest value in the ball."""
    return float((G.double() * D.double()).sum() / torch.linalg.svdvals(G.double()).sum())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spectrum", ["Gaussian", *SPECTRA])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_methods_answer_with_the_best_point_of_the_ball(shape, spectrum, dtype):
    G = matrix(shape, spectrum, dtype)
    kept = G.clone()
    for method, least in (("svd", 1 - 3e-5), ("exact_fast", 1 - 1e-3)):
        D = orthogonalize(G, method)
        assert norm(D) <= 1 + (5e-6 if dtype == torch.float32 else 1e-14)
        assert value(G, D) >= (least if dtype == torch.float32 else 1 - 1e-8)
        assert D.shape == G.shape
        assert D.dtype == dtype
        assert D.is_contiguous()
    assert G.equal(kept)


@pytest.mark.parametrize("shape", [(20, 30), (70, 150), (300, 80)], ids=str)
def test_exact_methods_on_well_conditioned_matrices(shape):
    G = matrix(shape)
    U, _, Vh = torch.linalg.svd(G, full_matrices=False)
    for method in EXACT:
        assert (orthogonalize(G, method) - U @ Vh).abs().max() < 1e-13
        assert (orthogonalize(G.float(), method) - U @ Vh).abs().max() < 2e-6


def test_exact_fast_does_without_an_svd_where_that_is_good_enough(monkeypatch):
    calls = []
    svd = module._svd
    monkeypatch.setattr(module, "_svd", lambda X: calls.append(X) or svd(X))
    for spectrum in ("Gaussian", "power 1/2", "condition 1e3", "condition 1e6", "rank 3"):
        orthogonalize(matrix((100, 100), spectrum, torch.float32), "exact_fast")
    assert not calls
    G = matrix((300, 300), "one large", torch.float32)
    assert value(G, orthogonalize(G, "exact_fast")) > 0.999
    assert len(calls) == 1
    monkeypatch.setattr(module, "_LARGEST_LOSS", 1.0)
    assert value(G, orthogonalize(G, "exact_fast")) < 0.996  # what it would be otherwise
    assert len(calls) == 1


def test_exact_methods_on_graded_low_rank_matrices():
    """As gradients of dying networks are; plain eigh of the Gram matrix fails or answers NaN on about 1 % of these."""
    draw = torch.Generator().manual_seed(3)
    for _ in range(300):
        k, n = int(torch.randint(64, 120, (1,), generator=draw)), 150
        rows = 10 ** (-40 * torch.rand(k, 1, generator=draw) ** int(torch.randint(1, 5, (1,), generator=draw)))
        G = torch.randn(k, n, generator=draw) * rows * (torch.rand(k, 1, generator=draw) > 0.3)
        D = orthogonalize(G, "exact_fast")
        assert norm(D) <= 1 + 5e-6
        assert value(G, D) >= 0.999


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)], ids=str)
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_newton_schulz_is_that_of_torch_to_the_bit(shape, size):
    G = matrix(shape, dtype=torch.float32) * size
    theirs = _zeropower_via_newtonschulz(G, KELLER_JORDAN, DEFAULT_NS_STEPS, EPS)
    assert orthogonalize(G, "newton_schulz", dtype=torch.bfloat16).equal(theirs.float())
    assert orthogonalize(G.bfloat16(), "newton_schulz").equal(theirs)


def test_iterations_leave_the_ball():
    G = matrix((100, 100), dtype=torch.float32)
    assert 1.15 < norm(orthogonalize(G, "newton_schulz")) < 1.21
    assert 1.10 < norm(orthogonalize(G, "polar_express")) < 1.15
    assert 0.85 < value(G, orthogonalize(G, "newton_schulz")) < 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_polar_express_steps_come_back_to_the_ball(dtype):
    G = matrix((60, 200), dtype=dtype)
    D = orthogonalize(G, "polar_express", steps=9)
    assert norm(D) <= 1 + (2e-6 if dtype == torch.float32 else 1e-14)
    assert (D - orthogonalize(G)).abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(30, 20), (70, 90)], ids=str)
def test_scale_does_not_matter(method, shape):
    G = matrix(shape, dtype=torch.float32)
    D = orthogonalize(G, method)
    for exponent in (-100, -20, 1, 100):
        assert orthogonalize(G * 2.0**exponent, method).equal(D)
    for scale in (1e-30, 1e30):
        assert (orthogonalize(G * scale, method) - D).abs().max() < 2e-3  # what rounding G does to small values
    assert norm(orthogonalize(G * 1e-42, method)) > 0.9
    G = G.double()
    assert orthogonalize(G * 2.0**-1000, method).equal(orthogonalize(G, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3, 5), (70, 64), (0, 4)], ids=str)
def test_zero_and_what_is_no_number(method, shape):
    zero = torch.zeros(shape)
    assert orthogonalize(zero, method).equal(zero)
    for bad in (math.nan, math.inf, -math.inf):
        if zero.numel():
            G = matrix(shape, dtype=torch.float32)
            G[1, 2] = bad
            assert orthogonalize(G, method).isnan().all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(12, 9), (90, 70)], ids=str)
def test_dead_rows_and_columns_stay_dead(method, shape):
    G = matrix(shape, dtype=torch.float32)
    G[::2] = 0
    G[:, 3] = 0
    D = orthogonalize(G, method)
    assert D[::2].abs().max() < 1e-6
    assert D[:, 3].abs().max() < 1e-6


@pytest.mark.parametrize("method", EXACT)
def test_low_rank_gives_the_partial_isometry(method):
    draw = torch.Generator().manual_seed(1)
    G = torch.randn(80, 8, generator=draw) @ torch.randn(8, 100, generator=draw)
    values = torch.linalg.svdvals(orthogonalize(G, method).double())
    assert (values[:8] - 1).abs().max() < 1e-5
    assert values[8:].max() < 1e-6


def test_low_precision_and_strides():
    G = matrix((40, 70), dtype=torch.bfloat16)
    for method in EXACT:
        D = orthogonalize(G, method)
        assert D.dtype == torch.bfloat16
        assert D.equal(orthogonalize(G.float(), method).bfloat16())
    G = matrix((140, 80), dtype=torch.float32)
    for method in METHODS:
        strided = orthogonalize(G[::2], method)
        assert strided.equal(orthogonalize(G[::2].contiguous(), method))
        assert strided.equal(orthogonalize(G[::2], method))
        assert (strided - orthogonalize(G[::2].T, method).T).abs().max() < 2e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "qr"}, r"orthogonalization must be one of 'svd', 'exact_fast', .* got 'qr'"),
        ({"method": "svd", "steps": 5}, "takes none"),
        ({"method": "newton_schulz", "steps": 0}, "from 1 to 99, got 0"),
        ({"method": "newton_schulz", "steps": True}, "from 1 to 99, got True"),
        ({"method": "exact_fast", "dtype": torch.bfloat16}, "computes in float32 or float64"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        orthogonalize(torch.eye(2), **arguments)


def test_only_matrices():
    with pytest.raises(ValueError, match=r"takes a matrix .* shape \(4, 2, 3, 3\)"):
        orthogonalize(torch.zeros(4, 2, 3, 3))
