"""The lasso in its constrained form, over nodes: min f(x) subject to ||x||_1 <= radius, with a sparse truth to recover.

    f(x) = (1/N) sum_i 1/2 ||A_i x - b_i||^2,    b_i = A_i (truth + heterogeneity z_i) + noise

The set belongs to the optimizer (:class:`gossipsim.optim.FrankWolfe`, :class:`gossipsim.optim.ProjectedSGD`), which
states it as `L1(radius)`; with radius = `sparsity` it is the smallest ball that holds the truth. A node has fewer rows
than there are coordinates: alone it cannot recover anything.
Source: Tibshirani, JRSS B 58, 1996; over networks: Wai, Lafond, Scaglione, Moulines, IEEE TAC 2017, section V.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gossipsim.streams import generator
from gossipsim.tasks.least_squares import LeastSquares


class LassoTask(LeastSquares):
    """Sparse regression; A_i has independent N(0, 1/rows) entries, the truth `sparsity` entries of +-1.

    Args:
        dim: length of x.
        rows: samples per node.
        sparsity: entries of the truth that are not zero; its L1 norm.
        measurement_noise: standard deviation of what is added to each b.
        heterogeneity: standard deviation of each coordinate of node i's own deviation z_i from the truth.
        nodes: number of nodes.
        seed: of the data; the seeds of a run do not change the problem. Node i's data do not depend on `nodes`.

    Attributes:
        truth: (dim,) float64.

    Raises:
        ValueError: for a value out of range.

    >>> task = LassoTask(dim=20, rows=5, sparsity=3, nodes=2)
    >>> task.A.shape, float(task.truth.abs().sum())
    (torch.Size([2, 5, 20]), 3.0)
    """

    def __init__(
        self,
        dim: int = 100,
        rows: int = 20,
        sparsity: int = 10,
        measurement_noise: float = 0.1,
        heterogeneity: float = 0.1,
        *,
        nodes: int | None = None,
        seed: int = 0,
    ) -> None:
        counts = {"dim": dim, "rows": rows, "sparsity": sparsity}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if sparsity > dim:
            raise ValueError(f"sparsity must be at most dim={dim}, got {sparsity}")
        for name, value in (("measurement_noise", measurement_noise), ("heterogeneity", heterogeneity)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number >= 0, got {value}")
        self.truth = _sparse_signs(dim, sparsity, seed)
        pairs = [self._node(i, rows, measurement_noise, heterogeneity, seed) for i in range(nodes or 1)]
        super().__init__(torch.stack([A for A, _ in pairs]), torch.stack([b for _, b in pairs]))

    def _node(self, node: int, rows: int, noise: float, heterogeneity: float, seed: int) -> tuple[Tensor, Tensor]:
        stream = generator(seed, node, "lasso")
        dim = len(self.truth)
        A = torch.randn(rows, dim, dtype=torch.float64, generator=stream) / math.sqrt(rows)
        own = self.truth + heterogeneity * torch.randn(dim, dtype=torch.float64, generator=stream)
        return A, A @ own + noise * torch.randn(rows, dtype=torch.float64, generator=stream)


def _sparse_signs(dim: int, sparsity: int, seed: int) -> Tensor:
    stream = generator(seed, None, "lasso")
    truth = torch.zeros(dim, dtype=torch.float64)
    support = torch.randperm(dim, generator=stream)[:sparsity]
    truth[support] = torch.randint(0, 2, (sparsity,), generator=stream).double() * 2 - 1
    return truth
