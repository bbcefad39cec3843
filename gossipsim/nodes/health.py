"""Since when nodes are not finite any more: the first sign is a loss, or a gradient that no oracle can do with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


class Health:
    """Of the hosted nodes.

    Attributes:
        step: the number of the step that is being taken.
        since: (n,) the step of each node's first number that was not finite; 0: there has been none.
    """

    def __init__(self, count: int) -> None:
        self.step = 1
        self.since: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(count, dtype=np.int64)

    def lose(self, places: Iterable[int]) -> None:
        """Notes that the nodes at these places are not finite."""
        for k in places:
            self.since[k] = self.since[k] or self.step


def demands_finite(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step may raise where a gradient is not finite: oracles and projections factorise matrices."""
    return hasattr(optimizer, "lmo_based")


def is_finite(values: Iterable[torch.Tensor]) -> bool:
    """Whether all entries are finite. A sum that is tells, at half the price; one that is not may have overflown."""
    return all(math.isfinite(tensor.sum().item()) or bool(tensor.isfinite().all()) for tensor in values)
