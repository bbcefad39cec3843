r"""Least squares per node, f_i(x) = 1/2 ||A_i x - b_i||^2, and its minimum, constrained or not.

f_i is a *sum* over its m rows, not a mean, so that its Hessian is A_i^T A_i; a batch B of the m rows stands
for all of them: gradient (m/|B|) A_B^T (A_B x - b_B). As a supervised task the rows of A are the inputs, b
the targets, and :class:`gossipsim.models.Vector` or :class:`gossipsim.models.Matrix` the model; node i owns rows
i m ... (i+1) m - 1, so there is nothing to partition. One node: least squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from gossipsim.tasks.task import InMemory, Optimum, Project, projected_minimum


class LeastSquares(InMemory):
    """One least-squares function per node; stored in float64.

    Args:
        A: (nodes, m, dim) float64.
        b: (nodes, m) float64.
        noise: each gradient gets independent N(0, noise^2) noise in every coordinate.

    Attributes:
        A, b: as given.
        shards: the m row indices of each node.
        homogeneous: whether all nodes have the same function.

    Raises:
        ValueError: for a negative noise, and for data that are not finite.
    """

    def __init__(self, A: Tensor, b: Tensor, noise: float = 0.0) -> None:
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise must be a standard deviation >= 0, got {noise}")
        if not (A.isfinite().all() and b.isfinite().all()):
            raise ValueError("A and b must be finite; give smaller numbers, or data without NaN and infinities")
        self.A, self.b = A, b
        count, self.rows, columns = A.shape
        super().__init__((A.reshape(-1, columns), b.reshape(-1)), None, None, num_classes=1)
        self.shards = list(torch.arange(count * self.rows).view(count, self.rows).unbind())
        self.homogeneous = bool((A[0] == A).all() and (b == b[0]).all())
        self.noise = noise
        self.gradient_noise: Callable[[torch.Generator, Tensor], Tensor] | None = self._gaussian if noise > 0 else None

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """m/(2B) sum (output - target)^2 over a batch of B rows (B,): f_i on a full shard."""
        error = output.reshape(target.shape) - target
        return self.rows / 2 * error.square().mean()

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """None: the loss is all there is to know."""
        return {}

    @cached_property
    def curvature(self) -> float:
        """The largest eigenvalue of the Hessian of f, (1/N) sum A_i^T A_i."""
        return float(torch.linalg.matrix_norm(self.A.reshape(-1, self.A.shape[2]), 2)) ** 2 / len(self.A)

    def optimum(self, project: Project | None = None) -> Optimum | None:
        """The minimiser of f and its value: by least squares, the one of least norm where there are several.

        With a set that does not contain it: the minimiser over the set that `project` projects onto, to 1e-12.
        """
        A, b = self.A.reshape(-1, self.A.shape[2]), self.b.reshape(-1)
        x = torch.linalg.lstsq(A, b.unsqueeze(1), driver="gelsd").solution.reshape(-1)
        if project is not None and not project(x).equal(x):
            gradient: Callable[[Tensor], Tensor] = lambda at: A.T @ (A @ at - b) / len(self.A)  # noqa: E731
            found = projected_minimum(gradient, self.curvature, project, project(x))
            if found is None:
                return None
            x = found
        return Optimum(x, 0.5 * float((A @ x - b).square().sum()) / len(self.A))

    def _gaussian(self, generator: torch.Generator, like: Tensor) -> Tensor:
        draw = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
        return (self.noise * draw).to(like.device)
