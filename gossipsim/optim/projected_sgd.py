"""SGD with projections: torch's SGD step, then every parameter goes to the nearest point of its set.

    x <- project(SGD step from x)                 project(x) = argmin_{v in C} ||v - x||_2

The step is torch's own function: with Unconstrained sets it is torch.optim.SGD to the bit. One node: projected
gradient descent. In a network: as SGD; averages of feasible rows are feasible, and the projection needs no tracking
beyond what SGD needs. Levitin and Polyak, USSR Computational Mathematics and Mathematical Physics 6, 1966.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch.optim.sgd import sgd

from gossipsim.optim.constrained import Block, ConstrainedOptimizer, Params, Sets


class ProjectedSGD(ConstrainedOptimizer):
    """SGD, then Euclidean projection onto the set of each parameter.

    Momentum and weight decay act as in torch.optim.SGD, on the gradient and not on what the projection changed.

    Args:
        params: tensors, or parameter groups.
        constraint: the feasible set of each parameter, a list with one set per parameter, or a rule that chooses by
            (name, shape).
        lr: learning rate.
        momentum: buffer <- momentum buffer + g.
        nesterov: steps along g + momentum buffer; needs a momentum.
        weight_decay: adds weight_decay x to g.

    Raises:
        ValueError: for a parameter out of range, and for an automatic radius without :meth:`for_model`.

    >>> import torch
    >>> from gossipsim.optim.constraints import Linf
    >>> x = torch.nn.Parameter(torch.zeros(2))
    >>> x.grad = torch.tensor([-3.0, 4.0])
    >>> ProjectedSGD([x], Linf(1.0), lr=0.3).step()
    >>> x.detach()
    tensor([ 0.9000, -1.0000])
    """

    lmo_based: ClassVar[bool] = False

    def __init__(
        self,
        params: Params,
        constraint: Sets,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(params, constraint, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; takes the group's `constraint` out of it."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ("lr", "momentum", "weight_decay"):
            if not 0 <= group[name] < math.inf:
                raise ValueError(f"{name} must be a number >= 0, got {group[name]}")
        if group["nesterov"] and group["momentum"] == 0:
            raise ValueError("nesterov needs a momentum above 0, got 0")

    def _update(self, block: Block) -> None:
        members, group = block.members, block.group
        buffers = [member.state.get("momentum_buffer") for member in members]
        sgd(
            [member.x for member in members],
            [member.g for member in members],
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
        )
        for member, buffer in zip(members, buffers, strict=True):
            if buffer is not None:
                member.state["momentum_buffer"] = buffer
            for part, _ in member.parts():
                part.x.copy_(part.project())
