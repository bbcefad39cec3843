"""What optimizer steps and matrix oracles cost, against torch's own: one thread, interleaved, medians of ratios."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from gossipsim.models import MLP
from gossipsim.optim import StochasticFrankWolfe
from gossipsim.optim.constraints import L1, L2, Linf, NuclearBall
from gossipsim.optim.orthogonalize import orthogonalize

STEPS = 50
"""Optimizer steps per timing."""

POLAR_SHAPES = ((512, 512), (3072, 768))


def frank_wolfe_step(repeats: int) -> dict[str, float]:
    """A step of stochastic Frank-Wolfe on an MLP with 270 thousand parameters against torch's SGD with momentum."""
    sgd = _stepper(lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=True))
    figures: dict[str, float] = {}
    for kind in (L1, L2, Linf):
        ours = _stepper(partial(StochasticFrankWolfe.for_model, constraint=kind("auto*5"), lr=0.1))
        pairs = _interleaved(ours, sgd, max(repeats, 5))
        figures[f"{kind.__name__}_us"] = median(own for own, _ in pairs) / STEPS * 1e6
        figures[f"{kind.__name__}_ratio_to_sgd_momentum"] = median(own / theirs for own, theirs in pairs)
    return figures


def _stepper(make: Callable[[nn.Module], torch.optim.Optimizer]) -> Callable[[], object]:
    model = MLP((784,), 10, hidden=[256, 256])
    stream = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=stream)
    optimizer = make(model)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.step()

    return steps


def nuclear_lmo(repeats: int) -> dict[str, float]:
    """The oracle of the nuclear ball on a 1024 x 1024 Gaussian matrix against a full SVD."""
    matrix = _gaussian(1024, 1024)
    ball = NuclearBall(1.0)
    pairs = _interleaved(lambda: ball.lmo(matrix), lambda: torch.linalg.svd(matrix, full_matrices=False), repeats)
    sigma = float(torch.linalg.svdvals(matrix)[0])
    return {
        "ratio_to_svd": median(own / theirs for own, theirs in pairs),
        "share_of_sigma_1": -float(torch.sum(matrix * ball.lmo(matrix))) / sigma,
    }


def polar_factor(repeats: int) -> dict[str, float]:
    """`exact_fast` against the polar factor by SVD: its time, its spectral norm, its share of the nuclear norm."""
    figures: dict[str, float] = {}
    for rows, columns in POLAR_SHAPES:
        matrix = _gaussian(rows, columns)
        ours, exact = (partial(orthogonalize, matrix, method) for method in ("exact_fast", "svd"))
        pairs = _interleaved(ours, exact, repeats)
        factor = orthogonalize(matrix, "exact_fast").double()
        name = f"{rows}x{columns}"
        figures[f"{name}_ratio_to_svd"] = median(own / theirs for own, theirs in pairs)
        figures[f"{name}_spectral_norm"] = float(torch.linalg.matrix_norm(factor, 2))
        nuclear = float(torch.linalg.matrix_norm(matrix.double(), "nuc"))
        figures[f"{name}_share_of_optimum"] = float(torch.sum(factor * matrix)) / nuclear
    return figures


def _interleaved(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> list[tuple[float, float]]:
    """Seconds of both, one after the other, `repeats` times, after a warm-up."""
    ours(), theirs()
    return [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]


def _seconds(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _gaussian(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
