"""A model that is one parameter vector: the x of f(x), for tasks whose optimum is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Vector(nn.Module):
    """One parameter `x` (dim,); the output for inputs `a` (batch, *input_shape) is <a, x>, of shape (batch,).

    Args:
        dim: the length of `x`; None takes the number of entries of `input_shape`.
        init: where x starts: one number for all coordinates, or `dim` numbers. The seed plays no part.
        input_shape: the shape of one input, given by the task.

    Raises:
        ValueError: when neither `dim` nor `input_shape` is known, or when they or `init` disagree.

    >>> Vector(3).x
    Parameter containing:
    tensor([0., 0., 0.], requires_grad=True)
    """

    def __init__(
        self,
        dim: int | None = None,
        init: float | list[float] = 0.0,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        entries = None if input_shape is None else math.prod(input_shape)
        if dim is None:
            dim = entries
        if dim is None or dim < 1:
            raise ValueError(f"dim must be an integer of at least 1, got {dim}")
        if entries is not None and entries != dim:
            raise ValueError(f"dim is {dim} but an input of the task has {entries} entries: leave dim out")
        start = torch.as_tensor(init, dtype=torch.get_default_dtype())
        if start.dim() > 1 or (start.dim() == 1 and start.numel() != dim):
            raise ValueError(f"init must be one number or a list of dim={dim} numbers, got {init}")
        self.x = nn.Parameter(start.expand(dim).clone())
        self._initial_norm = float(self.x.detach().double().norm())

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1) @ self.x

    def initial_norm(self, name: str) -> float:
        """The L2 norm that parameter `name` starts with; radii given as ``auto*V`` are multiples of it."""
        assert name == "x"
        return self._initial_norm
