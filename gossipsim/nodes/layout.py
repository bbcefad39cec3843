"""Where a model's parameters lie in a row, and the rows in memory."""

from __future__ import annotations

import torch
from torch import nn

from gossipsim.stacked import padded


class RowLayout:
    """Where each trainable parameter of a model lies in a row of d numbers, in `parameters()` order."""

    def __init__(self, model: nn.Module) -> None:
        self.shapes = [p.shape for p in model.parameters() if p.requires_grad]
        sizes = [shape.numel() for shape in self.shapes]
        self.slices = [slice(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
        self.d = sum(sizes)

    def views(self, row: torch.Tensor) -> list[torch.Tensor]:
        """The parameters' views into `row` (d,)."""
        return [row[s].view(shape) for s, shape in zip(self.slices, self.shapes, strict=True)]

    def stacked_views(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The parameters' views into `rows` (n, d): (n, *shape) each."""
        return [rows[:, s].view(len(rows), *shape) for s, shape in zip(self.slices, self.shapes, strict=True)]

    def flatten(self, tensors: list[torch.Tensor], out: torch.Tensor) -> None:
        """Copies parameter-shaped tensors into the row `out` (d,)."""
        torch.cat([t.reshape(-1) for t in tensors], out=out)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a row holds."""
    return [p for p in model.parameters() if p.requires_grad]


def zero_rows(n: int, d: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros (n, d); each row is contiguous and begins at a multiple of 64 bytes."""
    return padded((n, d), torch.empty(0, dtype=dtype, device=device)).zero_()
