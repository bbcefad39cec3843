"""Small helpers of building: a cache by spec, a default dtype, arguments by name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")
Tensors = tuple[torch.Tensor, torch.Tensor]


class Cache(Generic[T]):
    """What equal specs have made before.

    Args:
        size: how many are kept in any case; the oldest goes first.
        nbytes: the memory that one takes; more than `size` are kept while all together take less than `budget`.
    """

    def __init__(self, size: int, nbytes: Callable[[T], int] | None = None, budget: int = 0) -> None:
        self._size, self._nbytes, self._budget = size, nbytes, budget
        self._made: dict[str, T] = {}

    def get(self, spec: Any, make: Callable[[], T]) -> T:
        """`make()`, or what it made for an equal spec."""
        key = cache_key(spec)
        if key not in self._made:
            self._made[key] = make()
            while len(self._made) > self._size and not self._fits():
                self._made.pop(next(iter(self._made)))
        return self._made[key]

    def keys(self) -> frozenset[str]:
        """:func:`cache_key` of all that is kept."""
        return frozenset(self._made)

    def clear(self) -> None:
        self._made.clear()

    def _fits(self) -> bool:
        return self._nbytes is not None and sum(map(self._nbytes, self._made.values())) <= self._budget


def cache_key(spec: Any) -> str:
    """Equal for equal specs."""
    return json.dumps(spec, sort_keys=True)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Lets a model draw its parameters in `dtype`, not in float32 to be widened later."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def cast(tensors: tuple[torch.Tensor, ...], device: torch.device, dtype: torch.dtype) -> Tensors:
    inputs, targets = (t.to(device, dtype if t.is_floating_point() else t.dtype) for t in tensors)
    return inputs, targets


def call_with(function: Callable[..., Any], offered: Mapping[str, Any]) -> Any:
    names = inspect.signature(function).parameters
    return function(**{name: value for name, value in offered.items() if name in names})


def as_lists(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else values
