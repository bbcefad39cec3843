"""Where matrices of one row per node lie in memory: every row begins at a multiple of 64 bytes.

A matrix product reads memory in vectors, and its last bits depend on where these begin. A node's row, batch or hidden
layer must therefore be aligned alike whichever node comes before it in this process, and as a tensor of its own is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

ALIGNMENT = 64
"""Bytes: where torch's allocator begins a tensor."""


def padded(shape: Sequence[int], like: torch.Tensor, *, gap: bool = False) -> torch.Tensor:
    """An uninitialised tensor of `shape` (n, ...), dtype and device of `like`; each of the n begins aligned.

    Args:
        gap: leaves room between one and the next also where they would be aligned without.
    """
    n, size = shape[0], math.prod(shape[1:])
    unit = max(1, ALIGNMENT // like.element_size())
    stride = -(-size // unit) * unit
    if gap and stride == size:
        stride += unit
    return like.new_empty(n, stride)[:, :size].view(shape)


def aligned(X: torch.Tensor) -> torch.Tensor:
    """X (n, ...) itself where each of the n is contiguous and begins aligned, else a copy that is so."""
    if is_aligned(X):
        return X
    out = padded(X.shape, X)
    out.copy_(X)
    return out


def is_aligned(X: torch.Tensor) -> bool:
    """Whether each of the n parts of X (n, ...) is contiguous and begins at a multiple of 64 bytes."""
    if X.data_ptr() % ALIGNMENT or (X.shape[0] > 1 and X.stride(0) * X.element_size() % ALIGNMENT):
        return False
    expected = 1
    for size, stride in zip(reversed(X.shape[1:]), reversed(X.stride()[1:]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
