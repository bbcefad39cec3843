r"""Least squares whose optimum is known: f_i(x) = 1/2 ||A_i x - b_i||^2, f = mean over nodes of f_i.

f_i is a *sum* over its m rows, not a mean, so that its Hessian is A_i^T A_i; a batch B of the m rows stands
for all of them: gradient (m/|B|) A_B^T (A_B x - b_B). As a supervised task the rows of A are the inputs, b
the targets, and :class:`gossipsim.models.Vector` the model; node i owns rows i m ... (i+1) m - 1, so there is
nothing to partition. One node: least squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gossipsim.streams import generator
from gossipsim.tasks.task import InMemory, Optimum

_DIM, _CONDITION, _HETEROGENEITY = 10, 10.0, 1.0


class QuadraticTask(InMemory):
    """One quadratic per node, generated from a seed or read from a file; stored in float64.

    Generated: m = dim; the eigenvalues of A_i^T A_i are spaced evenly in the logarithm from 1/condition to 1,
    its eigenvectors are random; the minimiser of f_i is c + heterogeneity z_i with standard normal c and z_i.
    Node i's function does not depend on the number of nodes.

    Args:
        dim: length of x.
        condition: condition number (>= 1) of every Hessian A_i^T A_i; its largest eigenvalue is 1.
        heterogeneity: how far the local minimisers lie apart; 0: all nodes agree.
        noise: each gradient gets independent N(0, noise^2) noise in every coordinate.
        path: an .npz file with `A` (nodes, m, dim) and `b` (nodes, m) instead of the above.
        nodes: number of nodes; None is as many as `path` holds, or 1.
        seed: of the generated functions; the seeds of a run do not change the problem.

    Attributes:
        A, b: (nodes, m, dim) and (nodes, m), float64.
        shards: the m row indices of each node.

    Raises:
        ValueError: for a value out of range, for a file with other contents, and when the file does not hold
            as many functions as there are nodes.

    >>> task = QuadraticTask(nodes=3, dim=2, heterogeneity=0.0)
    >>> abs(task.optimum().value) < 1e-25
    True
    """

    def __init__(
        self,
        dim: int = _DIM,
        condition: float = _CONDITION,
        heterogeneity: float = _HETEROGENEITY,
        noise: float = 0.0,
        path: str | None = None,
        *,
        nodes: int | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise must be a standard deviation >= 0, got {noise}")
        if path is None:
            self.A, self.b = _generate(1 if nodes is None else nodes, dim, condition, heterogeneity, seed)
        else:
            if (dim, condition, heterogeneity, seed) != (_DIM, _CONDITION, _HETEROGENEITY, 0):
                raise ValueError("path brings its own A and b: leave out dim, condition, heterogeneity and seed")
            self.A, self.b = _read(path, nodes)
        count, self.rows, columns = self.A.shape
        super().__init__((self.A.reshape(-1, columns), self.b.reshape(-1)), None, None, num_classes=1)
        self.shards = list(torch.arange(count * self.rows).view(count, self.rows).unbind())
        self.noise = noise
        self.gradient_noise: Callable[[torch.Generator, Tensor], Tensor] | None = self._gaussian if noise > 0 else None

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """m/(2B) sum (output - target)^2 over a batch of B rows (B,): f_i on a full shard."""
        error = output.reshape(target.shape) - target
        return self.rows / 2 * error.square().mean()

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """None: the loss is all there is to know."""
        return {}

    def optimum(self) -> Optimum:
        """The minimiser of f (of least norm where there are several) and its value, by least squares."""
        A, b = self.A.reshape(-1, self.A.shape[2]), self.b.reshape(-1, 1)
        x = torch.linalg.lstsq(A, b, driver="gelsd").solution
        value = 0.5 * float((A @ x - b).square().sum()) / len(self.A)
        return Optimum(x.reshape(-1), value)

    def _gaussian(self, generator: torch.Generator, like: Tensor) -> Tensor:
        draw = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
        return (self.noise * draw).to(like.device)


def _generate(nodes: int, dim: int, condition: float, heterogeneity: float, seed: int) -> tuple[Tensor, Tensor]:
    if nodes < 1 or dim < 1:
        raise ValueError(f"nodes and dim must be at least 1, got nodes={nodes}, dim={dim}")
    if not 1 <= condition < math.inf:
        raise ValueError(f"condition must be a number >= 1, got {condition}")
    if not 0 <= heterogeneity < math.inf:
        raise ValueError(f"heterogeneity must be a number >= 0, got {heterogeneity}")
    double = torch.float64
    center = torch.randn(dim, dtype=double, generator=generator(seed, None, "quadratic"))
    singular = torch.logspace(-0.5 * math.log10(condition), 0, dim, dtype=double)
    A = torch.empty(nodes, dim, dim, dtype=double)
    b = torch.empty(nodes, dim, dtype=double)
    for i in range(nodes):
        stream = generator(seed, i, "quadratic")
        left, right = (torch.linalg.qr(torch.randn(dim, dim, dtype=double, generator=stream))[0] for _ in range(2))
        A[i] = (left * singular) @ right.T
        b[i] = A[i] @ (center + heterogeneity * torch.randn(dim, dtype=double, generator=stream))
    return A, b


def _read(path: str, nodes: int | None) -> tuple[Tensor, Tensor]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"path: there is no file {file.absolute()}")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            A, b = (np.asarray(arrays[name], dtype=np.float64) for name in ("A", "b"))
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as error:
        raise ValueError(f"path: {file} is not an .npz file with numeric arrays A and b ({error})") from error
    if A.ndim != 3 or b.shape != A.shape[:2] or A.size == 0:
        raise ValueError(f"path: {file} must hold A (nodes, m, dim) and b (nodes, m), has {A.shape} and {b.shape}")
    if not (np.isfinite(A).all() and np.isfinite(b).all()):
        raise ValueError(f"path: {file} holds values that are not finite")
    if nodes is not None and nodes != len(A):
        raise ValueError(
            f"nodes: {file} holds {len(A)} functions, there are {nodes} nodes: set network.nodes to {len(A)}"
        )
    return torch.from_numpy(A), torch.from_numpy(b)
