"""Data: embedded digits, partitions among the nodes, augmentation, and the order of batches."""

from gossipsim.data.augment import RandomFlip, RandomShift
from gossipsim.data.batches import BatchStream
from gossipsim.data.digits import digits
from gossipsim.data.partition import IID, Dirichlet, Partition, Shards, class_histogram, total_variation

__all__ = [
    "IID",
    "BatchStream",
    "Dirichlet",
    "Partition",
    "RandomFlip",
    "RandomShift",
    "Shards",
    "class_histogram",
    "digits",
    "total_variation",
]
