"""Partitions: which node owns which training samples.

Called as ``partition(labels, nodes, generator)``, returns one sorted int64 index tensor per node. The shards
of the partitions here are disjoint and together hold every sample. The same `alpha` is not the same
heterogeneity in two variants: :func:`class_histogram` and :func:`total_variation` measure what came out. One
node: all samples, in the order of the training set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_REDRAWS = 10_000

Ints = NDArray[np.int64]


class Partition(Protocol):
    """The protocol of a partition; a user's own needs no subclass.

    An attribute ``homogeneous = True`` says that all nodes draw from one distribution; without it they may differ.
    """

    def __call__(self, labels: Tensor, nodes: int, generator: torch.Generator) -> list[Tensor]:
        """One index tensor per node into `labels` (samples,), none of them empty."""


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator seeded with 256 bits drawn from `generator`, which advances."""
    words = torch.randint(0, 2**32, (8,), generator=generator, dtype=torch.int64)
    return np.random.default_rng(words.tolist())


@dataclass(frozen=True)
class IID:
    """Samples dealt at random in equal numbers (they differ by at most one).

    Raises:
        ValueError: when there are fewer samples than nodes.

    >>> [len(shard) for shard in IID()(torch.zeros(10), 3, torch.Generator())]
    [4, 3, 3]
    """

    homogeneous: ClassVar[bool] = True

    def __call__(self, labels: Tensor, nodes: int, generator: torch.Generator) -> list[Tensor]:
        shards = np.array_split(numpy_generator(generator).permutation(len(labels)), nodes)
        return _sorted_shards(shards, self, len(labels), "use fewer nodes or a larger train_size")


@dataclass(frozen=True)
class Shards:
    """Label shards: samples sorted by label, cut into equal pieces, `shards_per_node` random pieces per node.

    Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS
    2017 (section 3, with 2 pieces per node).

    Raises:
        ValueError: for fewer than one piece per node, or fewer samples than nodes.
    """

    shards_per_node: int = 2

    def __post_init__(self) -> None:
        if self.shards_per_node < 1:
            raise ValueError(f"shards_per_node must be at least 1, got {self.shards_per_node}")

    def __call__(self, labels: Tensor, nodes: int, generator: torch.Generator) -> list[Tensor]:
        rng = numpy_generator(generator)
        by_label = np.argsort(labels.cpu().numpy(), kind="stable")
        pieces = np.array_split(by_label, nodes * self.shards_per_node)
        deal = rng.permutation(len(pieces)).reshape(nodes, self.shards_per_node)
        shards = [np.concatenate([pieces[k] for k in row]) for row in deal]
        return _sorted_shards(shards, self, len(labels), "use fewer nodes or a smaller shards_per_node")


@dataclass(frozen=True)
class Dirichlet:
    """Label skew of strength `alpha`: small is heterogeneous, large approaches IID.

    Args:
        alpha: concentration > 0 of the symmetric Dirichlet distribution.
        by: "class": each class is split among the nodes in proportions drawn from Dirichlet(alpha) over
            nodes; the sizes of the shards vary (Yurochkin et al., ICML 2019). "node": each node draws its
            class proportions from Dirichlet(alpha) over classes; the shards have equal sizes, to one sample
            (after Hsu et al., 2019). Where the nodes together want more of a class than there is, it is
            shared out at random, and the rest of their samples comes from the classes that are left.
        min_samples: by "class", the proportions are drawn again until every node has this many samples; None
            takes the first draw.

    Raises:
        ValueError: for a parameter out of range, when a node is left without samples, and when `min_samples`
            cannot be reached.
    """

    alpha: float
    by: Literal["class", "node"] = "class"
    min_samples: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha must be a number above 0, got {self.alpha}")
        if self.by not in ("class", "node"):
            raise ValueError(f'by must be "class" or "node", got {self.by!r}')
        if self.min_samples is not None and self.min_samples < 1:
            raise ValueError(f"min_samples must be at least 1, or null for one draw, got {self.min_samples}")

    def __call__(self, labels: Tensor, nodes: int, generator: torch.Generator) -> list[Tensor]:
        rng = numpy_generator(generator)
        classes, label = np.unique(labels.cpu().numpy(), return_inverse=True)
        members = [rng.permutation(np.flatnonzero(label == c)) for c in range(len(classes))]
        supply = np.array([len(m) for m in members])
        if self.min_samples is not None and self.min_samples * nodes > len(label):
            raise ValueError(
                f"min_samples: {nodes} nodes x {self.min_samples} is more than {len(label)} training samples"
            )
        counts = self._counts(supply, nodes, rng)
        ends = counts.cumsum(axis=1)
        starts = ends - counts
        shards = [np.concatenate([m[starts[c, i] : ends[c, i]] for c, m in enumerate(members)]) for i in range(nodes)]
        remedy = (
            "use fewer nodes"
            if self.by == "node"
            else 'set min_samples=1 to draw until none is empty, raise alpha, or use by="node"'
        )
        return _sorted_shards(shards, self, len(labels), remedy)

    def _counts(self, supply: Ints, nodes: int, rng: np.random.Generator) -> Ints:
        """How many samples of each class go to each node, (classes, nodes)."""
        if self.by == "node":
            return _equal_sizes(rng.dirichlet(np.full(len(supply), self.alpha), size=nodes), supply, rng)
        for _ in range(_REDRAWS):
            counts = _split_classes(rng.dirichlet(np.full(nodes, self.alpha), size=len(supply)), supply)
            if self.min_samples is None or counts.sum(axis=0).min() >= self.min_samples:
                return counts
        raise ValueError(
            f"min_samples={self.min_samples} was not reached by {nodes} nodes in {_REDRAWS} draws with "
            f'alpha={self.alpha}: lower min_samples, raise alpha, use fewer nodes, or by="node"'
        )


def _split_classes(proportions: NDArray[np.float64], supply: Ints) -> Ints:
    """Splits supply[c] in the ratios of `proportions` (classes, nodes), rounding the cumulative sums."""
    ends = np.rint(proportions.cumsum(axis=1) * supply[:, None]).astype(np.int64)
    ends[:, -1] = supply
    return np.diff(ends, axis=1, prepend=0)


def _equal_sizes(proportions: NDArray[np.float64], supply: Ints, rng: np.random.Generator) -> Ints:
    """Counts (classes, nodes) that sum to `supply`, in equal shards near `proportions` (nodes, classes)."""
    nodes, classes = proportions.shape
    counts = np.zeros((classes, nodes), dtype=np.int64)
    wanted = np.array([len(part) for part in np.array_split(np.arange(supply.sum()), nodes)])
    left = supply.copy()
    while wanted.any():  # each round uses up a class or ends
        weights = proportions * (left > 0)
        weights[weights.sum(axis=1) == 0] = left
        demand = rng.multinomial(wanted, weights / weights.sum(axis=1, keepdims=True)).T
        for c in range(classes):
            if demand[c].sum() > left[c]:
                demand[c] = rng.multivariate_hypergeometric(demand[c], left[c])
        counts += demand
        left -= demand.sum(axis=1)
        wanted -= demand.sum(axis=0)
    return counts


def _sorted_shards(shards: Sequence[Ints], partition: object, samples: int, remedy: str) -> list[Tensor]:
    for node, shard in enumerate(shards):
        if len(shard) == 0:
            raise ValueError(
                f"node {node} has no training samples ({partition} over {len(shards)} nodes, "
                f"{samples} samples): {remedy}"
            )
    return [torch.from_numpy(np.sort(shard).astype(np.int64)) for shard in shards]


def class_histogram(labels: Tensor, shards: Sequence[Tensor], num_classes: int) -> Tensor:
    """How many samples of each class each node owns: (nodes, num_classes) int64.

    >>> class_histogram(torch.tensor([0, 1, 1]), [torch.tensor([0, 1]), torch.tensor([2])], 2).tolist()
    [[1, 1], [0, 1]]
    """
    return torch.stack([torch.bincount(labels[shard], minlength=num_classes) for shard in shards])


def total_variation(histogram: Tensor) -> Tensor:
    """Total-variation distance of each node's class proportions from those of all, (nodes,) in [0, 1].

    `histogram` is (nodes, num_classes), as :func:`class_histogram` gives it.

    >>> total_variation(torch.tensor([[2, 0], [0, 2]])).tolist()
    [0.5, 0.5]
    """
    counts = histogram.double()
    overall = counts.sum(dim=0) / counts.sum()
    return (counts / counts.sum(dim=1, keepdim=True) - overall).abs().sum(dim=1) / 2
