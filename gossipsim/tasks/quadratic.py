"""Quadratics whose optimum is known: generated, given by their minimisers, or read from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossipsim.streams import generator
from gossipsim.tasks.least_squares import LeastSquares

_AT_ONCE = 1 << 20
"""Entries of matrices that are generated together."""

_DIM, _CONDITION, _HETEROGENEITY = 10, 10.0, 1.0


class QuadraticTask(LeastSquares):
    """f_i(x) = 1/2 ||A_i x - b_i||^2, generated from a seed, given by its minimisers, or read from a file.

    Generated: m = dim; the eigenvalues of A_i^T A_i are spaced evenly in the logarithm from 1/condition to 1,
    its eigenvectors are random; the minimiser of f_i is c + heterogeneity z_i with standard normal c and z_i.
    Node i's function does not depend on the number of nodes.

    Args:
        dim: length of x.
        condition: condition number (>= 1) of every Hessian A_i^T A_i; its largest eigenvalue is 1.
        heterogeneity: how far the local minimisers lie apart; 0: all nodes agree.
        noise: each gradient gets independent N(0, noise^2) noise in every coordinate.
        path: an .npz file with `A` (nodes, m, dim) and `b` (nodes, m) instead of the above.
        centers: c_i for every node instead of the above: f_i(x) = 1/2 ||x - c_i||^2. Numbers, lists, or nested lists
            (a matrix, for :class:`gossipsim.models.Matrix`).
        nodes: number of nodes; None is as many as `path` or `centers` hold, or 1.
        seed: of the generated functions; the seeds of a run do not change the problem.

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
        centers: Sequence[Any] | None = None,
        *,
        nodes: int | None = None,
        seed: int = 0,
    ) -> None:
        if path is None and centers is None:
            A, b = _generate(1 if nodes is None else nodes, dim, condition, heterogeneity, seed)
        elif (dim, condition, heterogeneity, seed) != (_DIM, _CONDITION, _HETEROGENEITY, 0):
            given = "path" if centers is None else "centers"
            raise ValueError(f"{given} brings its own functions: leave out dim, condition, heterogeneity and seed")
        elif centers is None:
            assert path is not None
            A, b = _read(path, nodes)
        elif path is not None:
            raise ValueError("centers and path both say what the functions are: give one of them")
        else:
            A, b = _around(centers, nodes)
        super().__init__(A, b, noise)


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
    for some in torch.split(torch.arange(nodes), max(1, _AT_ONCE // (dim * dim))):
        streams = {i: generator(seed, i, "quadratic") for i in some.tolist()}
        drawn = [torch.randn(dim, dim, dtype=double, generator=stream) for stream in streams.values() for _ in range(2)]
        factors = torch.linalg.qr(torch.stack(drawn))[0].unflatten(0, (-1, 2))
        for (left, right), (i, stream) in zip(factors, streams.items(), strict=True):
            A[i] = (left * singular) @ right.T
            b[i] = A[i] @ (center + heterogeneity * torch.randn(dim, dtype=double, generator=stream))
    return A, b


def _around(centers: Sequence[Any], nodes: int | None) -> tuple[Tensor, Tensor]:
    try:
        b = np.asarray(centers, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"centers must be one number or one list of numbers per node, all of a size: {error}"
        ) from error
    if b.ndim == 0 or b.size == 0 or not np.isfinite(b).all():
        raise ValueError(f"centers must be one number or one list of finite numbers per node, got {centers!r}")
    if nodes is not None and nodes != len(b):
        raise ValueError(f"centers has {len(b)} entries, there are {nodes} nodes: give one center per node")
    flat = torch.from_numpy(b.reshape(len(b), -1))
    return torch.eye(flat.shape[1], dtype=torch.float64).expand(len(b), -1, -1).contiguous(), flat


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
