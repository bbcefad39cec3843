"""The mixing kernel: the weighted sums of rows, formed in the order of their terms, in blocks of columns.

Where several rows are replaced by their sums, a block of the old ones is set aside first, small enough to stay in a
core's cache; where they are not, reading them where they are saves a copy. Whole rows are read where those that a sum
needs are still in the cache from the sum before. Machine code does it for float32 and float64
on a CPU; torch does it elsewhere, with the same bits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from gossipsim.mixing.compiled import Kernel, kernel
from gossipsim.mixing.plan import MixingPlan, Term, address
from gossipsim.world import Addresses, Arriving

CACHE_BYTES = 3 << 18
"""Size of the block of rows that are set aside: most of the second-level cache of a core."""

SHARED_CACHE_BYTES = 1 << 22
"""Size of the block of rows that are only read: a part of the last-level cache."""

MANY_ROWS = 512
"""Blocks of more rows are set aside in any case: those and their sums are on more pages than a core knows by heart."""

_STRIP = 64  # columns; blocks are whole strips

_NOWHERE = np.zeros(1, dtype=np.int64)


def combine(plan: MixingPlan, X: torch.Tensor, arriving: Arriving, out: torch.Tensor) -> None:
    """The sums of `plan` over the rows of X (n, d) and of those that arrive, to `out` (n, d), which may be X.

    Each row is contiguous in memory, and all are of one type.
    """
    sums = kernel(X.dtype) if X.device.type == "cpu" else None
    if sums is None:
        received = arriving.wait()
        out.copy_(by_torch(torch.cat([X, received]) if len(received) else X, plan.terms, len(X)))
        return
    received_rows = arriving.addresses()
    if X.numel():
        _by_machine_code(sums, plan, X, received_rows, out)
    arriving.release()


def _by_machine_code(sums: Kernel, plan: MixingPlan, X: torch.Tensor, received: Addresses, out: torch.Tensor) -> None:
    (n, d), size = X.shape, X.element_size()
    formed, copied = plan.sums(X.dtype)
    near, far, target = X.data_ptr(), address(received if len(received) else _NOWHERE), out.data_ptr()
    stride, target_stride = X.stride(0) * size, out.stride(0) * size
    overwritten = target == near and formed.count > 1
    width, aside = _width(SHARED_CACHE_BYTES, n, d, size), None
    if not overwritten and formed.reach * d * size <= CACHE_BYTES:
        width = d
    elif overwritten or (n > MANY_ROWS and width < d):
        width = _width(CACHE_BYTES, n, d, size)
        aside = _workspace(X.dtype, max(CACHE_BYTES // size, n * _STRIP))
    for start in range(0, d, width):
        columns, shift = min(width, d - start), start * size
        if aside is None:
            old = near + shift, stride
        else:
            kept = aside[: n * columns].view(n, columns)
            kept.copy_(X if columns == d else X[:, start : start + columns])
            old = kept.data_ptr(), columns * size
        new = target + shift, target_stride
        sums(formed.count, columns, *formed.addresses, n, *old, far, shift, *new)
        if copied.count:
            sums(copied.count, columns, *copied.addresses, n, *new, far, 0, *new)


def _width(budget: int, rows: int, columns: int, size: int) -> int:
    """Columns of a block of so many bytes."""
    return min(columns, max(1, budget // (rows * size * _STRIP)) * _STRIP)


@lru_cache(maxsize=4)
def _workspace(dtype: torch.dtype, elements: int) -> torch.Tensor:
    """Memory that is kept: faulting in new pages would take longer than mixing."""
    return torch.empty(elements, dtype=dtype)


def by_torch(available: torch.Tensor, terms: list[Term], rows: int) -> torch.Tensor:
    """The same sums by torch operations: (available rows, d) -> (rows, d)."""
    d = available.shape[1]
    mixed = available.new_empty(rows, d)
    weights = [term.weights.to(available.dtype) for term in terms]
    width = _width(CACHE_BYTES, max(rows, 1), max(d, 1), available.element_size())
    for start in range(0, d, width):
        source, target = available[:, start : start + width], mixed[:, start : start + width]
        for k, (term, w) in enumerate(zip(terms, weights, strict=True)):
            addend = source.index_select(0, term.sources).mul_(w)
            if term.rows is None:
                target.copy_(addend) if k == 0 else target.add_(addend)
            elif k == 0:
                target.zero_().index_copy_(0, term.rows, addend)
            else:
                target.index_add_(0, term.rows, addend)
    return mixed if terms else mixed.zero_()
