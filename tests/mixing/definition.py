"""What mixing is: the sums, operation by operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch


def by_definition(W: sp.csr_array, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Neighbours in ascending order, started from the first term, one operation after the other."""
    mixed = np.zeros_like(X)
    for i in range(len(X)):
        entries = slice(W.indptr[i], W.indptr[i + 1])
        terms = [X.dtype.type(w) * X[j] for j, w in zip(W.indices[entries], W.data[entries], strict=True)]
        for k, term in enumerate(terms):
            mixed[i] = term if k == 0 else mixed[i] + term
    return mixed


def bits(X: torch.Tensor | np.ndarray[Any, Any]) -> tuple[list[int], list[bool]]:
    """All bits; a NaN's sign and payload do not count."""
    values: np.ndarray[Any, Any] = X.contiguous().numpy() if isinstance(X, torch.Tensor) else X
    kind = {4: np.int32, 8: np.int64}[values.itemsize]
    return np.where(np.isnan(values), 0, values.view(kind)).ravel().tolist(), np.isnan(values).ravel().tolist()
