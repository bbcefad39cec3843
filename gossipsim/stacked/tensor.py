"""`Stacked`: the tensors of n nodes, which code written for one node takes for a tensor of one node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Unstackable(Exception):
    """Code asks for something that has no rule for many nodes at once."""


Rule = Callable[..., Any]

RULES: dict[str, Rule] = {}
"""What is done instead of a torch function or method, by its name without underscores around it."""


@dataclass
class Exactness:
    """What is known of the bits of what has been computed: `losses`, that those of losses are a single node's too."""

    demanded: bool
    losses: bool = True


_now = Exactness(demanded=False)


@contextmanager
def stack_exactly(demanded: bool = True) -> Iterator[Exactness]:
    """Within, rules that give a node other bits than it would get alone raise :class:`Unstackable`, if `demanded`.

    Only the values of losses may differ where their gradients do not; what is yielded tells whether they may.
    """
    global _now  # noqa: PLW0603  torch calls the rules: there is nobody to pass it on
    before, _now = _now, Exactness(demanded)
    try:
        yield _now
    finally:
        _now = before


def inexact(what: str) -> None:
    """Called by rules for what they compute differently than for one node."""
    if _now.demanded:
        raise Unstackable(f"{what} has other bits for many nodes at once than for one")
    _now.losses = False


def inexact_loss() -> None:
    """Called by rules whose value may have other bits than for one node, while the gradients have the same."""
    _now.losses = False


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers what is done instead of the torch functions and methods of these names."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Stacked(Tensor):
    """n tensors of one shape, seen as one tensor of that shape; :attr:`nodes` is (n, *shape)."""

    nodes: Tensor

    @staticmethod
    def __new__(cls, nodes: Tensor) -> Stacked:
        seen: Stacked = Tensor._make_wrapper_subclass(cls, nodes.shape[1:], dtype=nodes.dtype, device=nodes.device)
        seen.nodes = nodes
        return seen

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", str(func)).strip("_")
        if name in _SEEN or (name == "get" and _property(func) in _SEEN):
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        found = RULES.get(name)
        if found is None:
            what = f"the property {_property(func)}" if name == "get" else name
            raise Unstackable(f"{what} has no rule for many nodes at once")
        return found(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise Unstackable(f"{func} has no rule for many nodes at once")

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Stacked({self.nodes.shape[0]} nodes, shape={tuple(self.shape)}, dtype={self.dtype})"


_SEEN = frozenset(
    {"shape", "dtype", "device", "ndim", "layout", "is_cuda", "is_sparse", "is_quantized"}
    | {"size", "dim", "numel", "len", "is_floating_point", "is_complex", "element_size", "nelement"}
)
"""Properties and methods that are for one node what they seem."""


def _property(func: Callable[..., Any]) -> str:
    return str(getattr(getattr(func, "__self__", None), "__name__", ""))


def nodes_of(value: Any) -> Any:
    """The tensor of all nodes of a Stacked; anything else as it is."""
    return value.nodes if isinstance(value, Stacked) else value
