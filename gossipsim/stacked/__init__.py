"""One forward and backward pass for many nodes: tensors with a hidden leading dimension of nodes.

A model's own `forward` and a task's own loss run on :class:`Stacked` tensors, which look as they do for one node. What
is computed for a node is, operation by operation, what is computed for it alone: to the bit within
:func:`stack_exactly`. What has no rule raises :class:`Unstackable`.
"""

from gossipsim.stacked import rules as _rules  # noqa: F401  registers them
from gossipsim.stacked.memory import aligned, padded
from gossipsim.stacked.tensor import Stacked, Unstackable, nodes_of, stack_exactly

__all__ = ["Stacked", "Unstackable", "aligned", "nodes_of", "padded", "stack_exactly"]
