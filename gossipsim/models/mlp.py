"""Fully connected networks: LogisticRegression (no hidden layer) and MLP."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn


class LogisticRegression(nn.Module):
    """Softmax regression: one linear layer on the flattened input, `num_classes` logits.

    Input (batch, *input_shape), output (batch, num_classes).

    >>> sum(p.numel() for p in LogisticRegression(input_shape=(1, 8, 8), num_classes=10).parameters())
    650
    """

    def __init__(self, input_shape: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.linear(inputs.flatten(1))
        return output


class MLP(nn.Module):
    """Linear layers with ReLU between them; `hidden` are the widths of the hidden layers.

    Input (batch, *input_shape), output (batch, num_classes).

    Raises:
        ValueError: for a hidden width below 1.

    >>> sum(p.numel() for p in MLP(input_shape=(1, 28, 28), num_classes=10, hidden=[128]).parameters())
    101770
    """

    def __init__(self, input_shape: Sequence[int], num_classes: int, hidden: Sequence[int] = (128,)) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden must be widths of at least 1, got {list(hidden)}")
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.layers(inputs.flatten(1))
        return output
