"""Data: embedded digits, partitions among the nodes, augmentation, and the order of batches."""

from gossipsim.data.assigned import ByColumn, FromFile
from gossipsim.data.augment import RandomFlip, RandomShift
from gossipsim.data.batches import Batches
from gossipsim.data.digits import digits
from gossipsim.data.feature_shift import FeatureShift
from gossipsim.data.partition import IID, Partition, class_histogram, total_variation
from gossipsim.data.skews import ClassesPerNode, Dirichlet, QuantitySkew, Shards, Sorted

__all__ = [
    "IID",
    "Batches",
    "ByColumn",
    "ClassesPerNode",
    "Dirichlet",
    "FeatureShift",
    "FromFile",
    "Partition",
    "QuantitySkew",
    "RandomFlip",
    "RandomShift",
    "Shards",
    "Sorted",
    "class_histogram",
    "digits",
    "total_variation",
]
