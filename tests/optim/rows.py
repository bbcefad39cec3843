"""Optimizers of stacked parameters beside one optimizer for each row."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gossipsim.optim.stacking import stack_parameters, stacking_obstacle
from gossipsim.stacked import padded

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Layout = Callable[[Tensor], Tensor]
Shapes = tuple[tuple[int, ...], ...]


def views(X: Tensor, shapes: Shapes) -> list[Tensor]:
    """Of a matrix (rows, d): (rows, *shape) each, that lie in it."""
    parts = X.split([math.prod(shape) for shape in shapes], 1)
    return [part.reshape(len(X), *shape) for part, shape in zip(parts, shapes, strict=True)]


def gradients(rows: int, d: int, dtype: torch.dtype) -> list[Tensor]:
    """(rows, d) each; one is zero in some rows, one has ties."""
    stream = torch.Generator().manual_seed(1)
    drawn = [torch.randn(rows, d, generator=stream, dtype=dtype) for _ in range(15)]
    drawn[7][::2] = 0
    drawn[9].round_()
    return drawn


def stacked(make: Make, X: Tensor, shapes: Shapes) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    """The optimizer of all rows of X, and its parameters."""
    own = [nn.Parameter(each[0].clone()) for each in views(X, shapes)]
    optimizer = make(own)
    assert stacking_obstacle(optimizer) is None
    parameters = dict(zip(map(id, own), map(nn.Parameter, views(X, shapes)), strict=True))
    groups = optimizer.param_groups
    stack_parameters(optimizer, [parameters[id(p)] for group in groups for p in group["params"]])
    return optimizer, list(parameters.values())


def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)


def in_rows(g: Tensor) -> Tensor:
    """A gradient that lies in a matrix of rows."""
    return g


def columns_first(g: Tensor) -> Tensor:
    """One whose first dimension comes last in memory."""
    order = list(reversed(range(g.ndim)))
    return g.permute(order).contiguous().permute(order)


def check(make: Make, shapes: Shapes, rows: int, dtype: torch.dtype, layout: Layout = in_rows) -> None:
    """After each of 15 steps of both, all parameters are equal to the bit."""
    d = sum(map(math.prod, shapes))
    X = padded((rows, d), torch.empty(0, dtype=dtype)).copy_(
        torch.randn(rows, d, generator=torch.Generator().manual_seed(0), dtype=dtype)
    )
    alone = [[nn.Parameter(each[i].clone()) for each in views(X, shapes)] for i in range(rows)]
    singles = [make(own) for own in alone]
    together, parameters = stacked(make, X, shapes)
    schedulers = [schedule(optimizer) for optimizer in (together, *singles)]
    for t, G in enumerate(gradients(rows, d, dtype)):
        for p, g in zip(parameters, views(G, shapes), strict=True):
            p.grad = layout(g)
        together.step()
        for i, (own, single) in enumerate(zip(alone, singles, strict=True)):
            for p, g in zip(own, views(G, shapes), strict=True):
                p.grad = g[i].clone()
            single.step()
        for scheduler in schedulers:
            scheduler.step()
        expected = torch.stack([torch.cat([p.detach().reshape(-1) for p in own]) for own in alone])
        assert X.isfinite().all()
        assert torch.equal(X, expected), f"{int((expected != X).sum())} entries differ after {t + 1} steps"
    if hasattr(together, "lmo_calls"):
        assert together.lmo_calls == sum(single.lmo_calls for single in singles)  # type: ignore[attr-defined]
