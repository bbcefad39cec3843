"""Fields that are a number or nested lists of numbers, as in JSON: kept as tuples, given out as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gossipsim.optim.constraints.base import ConstraintSet

Entries = float | Sequence[Any]
"""One number for all entries, or nested lists of the parameter's shape."""


def freeze_entries(one: ConstraintSet, field: str) -> Tensor:
    """Replaces the field of a new set by its numbers, nested in tuples; returns them in float64.

    Raises:
        ValueError: naming the field, for what is neither a finite number nor nested lists of them.
    """
    given = getattr(one, field)
    try:
        if isinstance(given, str):
            raise TypeError
        numbers = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.tensor(math.nan)
    if not numbers.isfinite().all() or not numbers.numel():
        raise ValueError(f"{field} must be a finite number, or nested lists of them of one shape, got {given!r}")
    object.__setattr__(one, field, _nested(numbers.tolist()))
    return numbers


def _nested(values: Any) -> Any:
    return tuple(_nested(each) for each in values) if isinstance(values, list) else values


def entries_like(one: ConstraintSet, field: str, x: Tensor) -> Tensor:
    """The field as a tensor of the dtype and device of `x`: a scalar, or of the shape of `x`.

    Raises:
        ValueError: when the field has lists of another shape.
    """
    tensors: dict[tuple[str, torch.dtype, torch.device], Tensor] = vars(one).setdefault("_tensors", {})
    key = field, x.dtype, x.device
    if key not in tensors:
        tensors[key] = torch.tensor(getattr(one, field), dtype=x.dtype, device=x.device)
    check_entries(field, tensors[key], x.shape)
    return tensors[key]


def check_entries(field: str, entries: Tensor, shape: Sequence[int]) -> None:
    """Raises ValueError unless `entries` is a scalar or has that shape."""
    if entries.ndim and entries.shape != torch.Size(shape):
        raise ValueError(
            f"{field} has the shape {tuple(entries.shape)}, the parameter {tuple(shape)}: "
            "give one number, or nested lists of the parameter's shape"
        )
