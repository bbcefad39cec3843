"""What optimizer steps and matrix oracles cost, against torch's own: one thread, interleaved, medians of ratios."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gossipsim.bench.measuring import Figure, Figures, Interleaved, seconds
from gossipsim.models import MLP
from gossipsim.optim import StochasticFrankWolfe
from gossipsim.optim.constraints import L1, L2, Linf, NuclearBall
from gossipsim.optim.orthogonalize import orthogonalize

STEPS = 50
"""Optimizer steps per timing."""

POLAR_SHAPES = ((512, 512), (3072, 768))


def frank_wolfe_step(repeats: int) -> Figures:
    """A step of stochastic Frank-Wolfe on an MLP with 270 thousand parameters against torch's SGD with momentum."""
    sgd = _stepper(lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=True))
    figures: Figures = {}
    for kind in (L1, L2, Linf):
        ours = _stepper(partial(StochasticFrankWolfe.for_model, constraint=kind("auto*5"), lr=0.1))
        found = Interleaved({"ours": seconds(ours), "sgd": seconds(sgd)}, max(repeats, 5))
        figures[f"{kind.__name__}_us"] = Figure(found.median("ours") / STEPS * 1e6, "us")
        figures[f"{kind.__name__}_ratio_to_sgd_momentum"] = Figure(found.ratio("ours", "sgd"), "x")
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


def nuclear_lmo(repeats: int) -> Figures:
    """The oracle of the nuclear ball on a 1024 x 1024 Gaussian matrix against a full SVD."""
    matrix = _gaussian(1024, 1024)
    ball = NuclearBall(1.0)
    actions = {
        "ours": seconds(lambda: ball.lmo(matrix)),
        "svd": seconds(lambda: torch.linalg.svd(matrix, full_matrices=False)),
    }
    sigma = float(torch.linalg.svdvals(matrix)[0])
    return {
        "ratio_to_svd": Figure(Interleaved(actions, repeats).ratio("ours", "svd"), "x"),
        "share_of_sigma_1": Figure(-float(torch.sum(matrix * ball.lmo(matrix))) / sigma, "1"),
    }


def polar_factor(repeats: int) -> Figures:
    """`exact_fast` against the polar factor by SVD: its time, its spectral norm, its share of the nuclear norm."""
    figures: Figures = {}
    for rows, columns in POLAR_SHAPES:
        matrix = _gaussian(rows, columns)
        methods = {method: seconds(partial(orthogonalize, matrix, method)) for method in ("exact_fast", "svd")}
        found = Interleaved(methods, repeats)
        factor = orthogonalize(matrix, "exact_fast").double()
        name = f"{rows}x{columns}"
        figures[f"{name}_ratio_to_svd"] = Figure(found.ratio("exact_fast", "svd"), "x")
        figures[f"{name}_spectral_norm"] = Figure(float(torch.linalg.matrix_norm(factor, 2)), "1")
        nuclear = float(torch.linalg.matrix_norm(matrix.double(), "nuc"))
        figures[f"{name}_share_of_optimum"] = Figure(float(torch.sum(factor * matrix)) / nuclear, "1")
    return figures


def _gaussian(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
