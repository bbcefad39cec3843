"""A small convolutional network for images from 8 x 8 to 32 x 32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class CNN(nn.Module):
    """Two convolutions with ReLU and max-pooling, one hidden layer, `num_classes` logits.

    Input (batch, channels, height, width), output (batch, num_classes).

    Args:
        channels: of the two convolutions (5x5, then 3x3).
        hidden: width of the fully connected layer.
        dropout: probability of dropping a feature before each of the two linear layers.

    Raises:
        ValueError: for an input that is not an image of at least 4 x 4, or a parameter out of range.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        channels: Sequence[int] = (8, 16),
        hidden: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 4:
            raise ValueError(
                f"CNN takes images (channels, height, width) of at least 4 x 4, got {tuple(input_shape)}"
            )
        if len(channels) != 2 or min(channels) < 1 or hidden < 1:
            raise ValueError(
                f"channels must be two positive numbers and hidden positive, got {channels}, {hidden}"
            )
        depth, height, width = input_shape
        self.conv1 = nn.Conv2d(depth, channels[0], 5, padding=2)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.linear1 = nn.Linear(channels[1] * (height // 4) * (width // 4), hidden)
        self.linear2 = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        # channels_last: pooling and its gradient take a third of the time of the default layout (CPU, 1
        # thread)
        features = self.conv1(inputs).contiguous(memory_format=torch.channels_last)
        features = functional.relu(functional.max_pool2d(features, 2))
        features = functional.relu(functional.max_pool2d(self.conv2(features), 2))
        features = functional.relu(self.linear1(self.dropout(features.flatten(1))))
        output: Tensor = self.linear2(self.dropout(features))
        return output
