"""Augmentation of image batches, with draws from a generator that the caller owns (one per node)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class RandomShift:
    """Shifts each image by up to `pixels` in both directions, independently; the border is repeated.

    A batch is (batch, channels, height, width), of any floating dtype.

    Raises:
        ValueError: for a negative shift.
    """

    pixels: int = 2

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise ValueError(f"pixels must be at least 0, got {self.pixels}")

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        count, channels, height, width = batch.shape
        offsets = torch.randint(0, 2 * self.pixels + 1, (2, count, 1), generator=generator).to(batch.device)
        padded = functional.pad(batch, [self.pixels] * 4, mode="replicate")
        rows = offsets[0] + torch.arange(height, device=batch.device)
        columns = offsets[1] + torch.arange(width, device=batch.device)
        image = torch.arange(count, device=batch.device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=batch.device).view(1, -1, 1, 1)
        return padded[image, channel, rows.view(count, 1, -1, 1), columns.view(count, 1, 1, -1)]


@dataclass(frozen=True)
class RandomFlip:
    """Mirrors each image left to right with probability `probability`, independently.

    Raises:
        ValueError: for a probability outside [0, 1].
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {self.probability}")

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        draw = torch.rand(len(batch), generator=generator).to(batch.device)
        return torch.where((draw < self.probability).view(-1, 1, 1, 1), batch.flip(-1), batch)
