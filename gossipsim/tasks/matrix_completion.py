"""Matrix completion over nodes: recover a low-rank matrix from some of its entries, each node seeing its own.

    f_i(X) = 1/(2 |S_i|) sum_{(j, k) in S_i} (X_jk - M_jk)^2,     M of rank r, observed with noise

The model is :class:`gossipsim.models.Matrix`, an input the position (j, k) of an entry, its target the observed value;
the low rank is asked for by the optimizer's set, `NuclearBall(radius)` with radius about ||M||_* =
sqrt(rank rows columns). Held-out entries are the test set, `test_loss` half their mean squared error.
Source: Candes and Recht, FoCM 2009; over networks: Wai, Lafond, Scaglione, Moulines, IEEE TAC 2017, section V.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from gossipsim.streams import generator
from gossipsim.tasks.task import InMemory, Optimum, Project, projected_minimum

By = Literal["rows", "entries"]


class MatrixCompletionTask(InMemory):
    """A rows x columns matrix of rank `rank`; its entries have unit mean square, so do its observations, nearly.

    Args:
        rows, columns, rank: of the matrix; its `rank` singular values are all sqrt(rows columns / rank).
        observed: the fraction of entries that are observed; half of the others are the test set.
        noise: standard deviation of the noise on each observed entry.
        by: who sees what: "rows": node i sees entries of its own block of rows only (users on their own devices);
            "entries": every node sees a random share.
        nodes: number of nodes.
        seed: of the data; the seeds of a run do not change the problem.

    Attributes:
        truth: (rows, columns) float64.
        shards: indices of each node's observations.
        homogeneous: whether the nodes' shares are random ones.

    Raises:
        ValueError: for a value out of range, and where a node would see nothing.

    >>> task = MatrixCompletionTask(rows=8, columns=6, rank=2, nodes=2)
    >>> [len(shard) for shard in task.shards], round(float(torch.linalg.svdvals(task.truth).sum()) ** 2)
    ([9, 10], 96)
    """

    num_classes = 1

    def __init__(
        self,
        rows: int = 60,
        columns: int = 40,
        rank: int = 3,
        observed: float = 0.4,
        noise: float = 0.1,
        by: By = "rows",
        *,
        nodes: int | None = None,
        seed: int = 0,
    ) -> None:
        if min(rows, columns, rank) < 1 or rank > min(rows, columns):
            raise ValueError(f"rank must lie between 1 and min(rows, columns) = {min(rows, columns)}, got {rank}")
        if not 0 < observed < 1:
            raise ValueError(f"observed must lie in (0, 1), got {observed}")
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise must be a number >= 0, got {noise}")
        if by not in get_args(By):
            raise ValueError(f"by must be one of {', '.join(get_args(By))}, got {by!r}")
        self.truth = _low_rank(rows, columns, rank, seed)
        stream = generator(seed, None, "matrix completion: entries")
        order = torch.randperm(rows * columns, generator=stream)
        seen = round(observed * len(order))
        train = order[:seen]
        values = self.truth.reshape(-1)
        noisy = values[train] + noise * torch.randn(seen, dtype=torch.float64, generator=stream)
        test = order[seen : seen + (len(order) - seen) // 2]
        super().__init__((_positions(train, columns), noisy), None, (_positions(test, columns), values[test]), 1)
        self.homogeneous = by == "entries"
        self.shards = self._share(by, nodes or 1)

    def _share(self, by: By, nodes: int) -> list[Tensor]:
        count = len(self.train)
        if by == "entries":
            shards = list(torch.arange(count).tensor_split(nodes))
        else:
            blocks = self.train.tensors[0][:, 0] * nodes // len(self.truth)
            shards = [(blocks == i).nonzero().flatten() for i in range(nodes)]
        empty = [i for i, shard in enumerate(shards) if len(shard) == 0]
        if empty:
            raise ValueError(
                f"nodes: {nodes} nodes for {len(self.truth)} rows and {count} observed entries leave node {empty[0]} "
                "without any: use fewer nodes, or raise rows or observed"
            )
        return shards

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """Half the mean squared error of a batch of entries (B,)."""
        return (output.reshape(target.shape) - target).square().mean() / 2

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """None: the loss is all there is to know."""
        return {}

    def optimum(self, project: Project | None = None) -> Optimum | None:
        """The minimiser of f over the set that `project` projects onto, and its value.

        None without a set: the entries that nobody observed could be anything.
        """
        if project is None:
            return None
        weights, observed = (
            torch.zeros(self.truth.numel(), dtype=torch.float64),
            torch.zeros(self.truth.numel()).double(),
        )
        positions, values = self.train.tensors
        flat = positions[:, 0] * self.truth.shape[1] + positions[:, 1]
        for shard in self.shards:
            weights[flat[shard]] = 1 / (len(self.shards) * len(shard))
        observed[flat] = values
        start = project(observed)
        x = projected_minimum(lambda at: weights * (at - observed), float(weights.max()), project, start)
        return None if x is None else Optimum(x, 0.5 * float(weights @ (x - observed).square()))


def _low_rank(rows: int, columns: int, rank: int, seed: int) -> Tensor:
    stream = generator(seed, None, "matrix completion")
    left, right = (
        torch.linalg.qr(torch.randn(size, rank, dtype=torch.float64, generator=stream))[0] for size in (rows, columns)
    )
    truth: Tensor = left @ right.T * math.sqrt(rows * columns / rank)
    return truth


def _positions(flat: Tensor, columns: int) -> Tensor:
    return torch.stack([flat // columns, flat % columns], dim=1)
