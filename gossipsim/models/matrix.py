"""A model that is one parameter matrix: the X of f(X), for matrix completion and for optimizers that want matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Matrix(nn.Module):
    """One parameter `X` (rows, columns).

    Inputs of integers are positions (batch, 2), and the output is the entries there, (batch,). Other inputs are
    matrices A (batch, ...) of rows * columns entries, and the output is <A, X>, (batch,).

    Args:
        rows, columns: the shape of X.
        init: where X starts: one number for all entries, or a nested list. The seed plays no part.

    Raises:
        ValueError: for a size below 1, or an `init` of another shape.

    >>> model = Matrix(2, 3, init=[[1, 2, 3], [4, 5, 6]])
    >>> model(torch.tensor([[0, 2], [1, 0]])).tolist(), model(torch.eye(2, 3).view(1, 6)).tolist()
    ([3.0, 4.0], [6.0])
    """

    def __init__(self, rows: int, columns: int, init: float | list[Any] = 0.0) -> None:
        super().__init__()
        if rows < 1 or columns < 1:
            raise ValueError(f"rows and columns must be at least 1, got {rows} and {columns}")
        start = torch.as_tensor(init, dtype=torch.get_default_dtype())
        if start.dim() != 0 and start.shape != (rows, columns):
            raise ValueError(f"init must be one number or {rows} lists of {columns} numbers, got {tuple(start.shape)}")
        self.X = nn.Parameter(start.expand(rows, columns).clone())
        self._initial_norm = float(self.X.detach().double().norm())

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            if math.prod(inputs.shape[1:]) != self.X.numel():
                raise ValueError(f"Matrix has {tuple(self.X.shape)} entries, an input has {tuple(inputs.shape[1:])}")
            return inputs.flatten(1) @ self.X.reshape(-1)
        return self.X[inputs[:, 0], inputs[:, 1]]

    def initial_norm(self, name: str) -> float:
        """The L2 norm that parameter `name` starts with; radii given as ``auto*V`` are multiples of it."""
        assert name == "X"
        return self._initial_norm
