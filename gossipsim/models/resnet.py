"""ResNet18 for small images: CIFAR stem, GroupNorm instead of BatchNorm.

Source: He et al., Deep Residual Learning, CVPR 2016 (table 1, 18 layers); the stem is 3x3 with stride 1 and
no pooling, as in its section 4.2. GroupNorm (Wu and He, ECCV 2018) has no running statistics: nothing of a
node stays behind when parameters are averaged (Hsieh et al., The Non-IID Data Quagmire, ICML 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(groups, channels), channels)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; `stride` halves the image at the first."""

    def __init__(self, before: int, after: int, stride: int, groups: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            _norm(after, groups),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            _norm(after, groups),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), _norm(after, groups))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(self.residual(inputs) + self.shortcut(inputs))


class ResNet18(nn.Module):
    """Four stages of two residual blocks with `width`, 2, 4 and 8 times `width` channels.

    Input (batch, channels, height, width), output (batch, num_classes). 11,173,962 parameters on CIFAR-10.

    Args:
        width: channels of the first stage.
        groups: groups of each GroupNorm (the greatest common divisor with the channels is taken).

    Raises:
        ValueError: for an input that is not an image.
    """

    def __init__(self, input_shape: Sequence[int], num_classes: int, width: int = 64, groups: int = 32) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError(f"ResNet18 takes images (channels, height, width), the task's inputs are {input_shape}")
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False), _norm(width, groups), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            after = width << stage
            blocks += [
                _Block(channels, after, 1 if stage == 0 else 2, groups),
                _Block(after, after, 1, groups),
            ]
            channels = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(inputs))
        output: Tensor = self.head(features.mean(dim=(2, 3)))
        return output
