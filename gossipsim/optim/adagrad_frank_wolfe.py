"""AdaGrad with Frank-Wolfe inside: each step solves AdaGrad's subproblem over the set, roughly.

    m <- momentum m + (1 - momentum) g,   s <- s + m^2,   H = sqrt(s) + eps
    Q(y) = <m, y> + ||y - x||_H^2 / (2 lr)
    x <- `inner_steps` Frank-Wolfe steps with exact line search on Q, from y = x

Without a set the subproblem has the solution x - lr m / H: AdaGrad's step, which Unconstrained parameters take.
One node: the cited method. In a network as for :class:`~gossipsim.optim.frank_wolfe.FrankWolfe`: behind gradient
tracking.

Combettes, Spiegel, Pokutta, Projection-Free Adaptive Gradients for Large-Scale Optimization, 2020, arXiv 2009.14114;
momentum and defaults as in the authors' PyTorch code.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gossipsim.optim.constrained import Block, Member, Params, Sets
from gossipsim.optim.lmo_based import LmoOptimizer


class AdaGradSFW(LmoOptimizer):
    """AdaGrad over feasible sets without projections; an oracle call per parameter and inner step.

    `fw_gap` is <m, x - lmo(m)>, that of the first inner step. Two rows of state per parameter.

    Args:
        params: tensors, or parameter groups.
        constraint: the feasible set of each parameter, a list with one set per parameter, or a rule that chooses by
            (name, shape).
        lr: scale of the steps.
        momentum: in [0, 1); 0 keeps no m. At the first step m is g.
        inner_steps: Frank-Wolfe steps on each subproblem.
        eps: above 0: added to H.

    Raises:
        ValueError: for a parameter out of range, and for an automatic radius without :meth:`for_model`.
    """

    def __init__(
        self,
        params: Params,
        constraint: Sets,
        lr: float = 1e-2,
        momentum: float = 0.9,
        inner_steps: int = 2,
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "inner_steps": inner_steps, "eps": eps}
        super().__init__(params, constraint, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; takes the group's `constraint` out of it."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not 0 <= group["lr"] < math.inf:
            raise ValueError(f"lr must be a number >= 0, got {group['lr']}")
        if not 0 < group["eps"] < math.inf:
            raise ValueError(f"eps must be a number above 0, got {group['eps']}")
        if not 0 <= group["momentum"] < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {group['momentum']}")
        if not (isinstance(group["inner_steps"], int) and group["inner_steps"] >= 1):
            raise ValueError(f"inner_steps must be a whole number of at least 1, got {group['inner_steps']}")

    def _update(self, block: Block) -> None:
        for member in block.members:
            state, momentum = member.state, block.group["momentum"]
            if "sum" not in state:
                state["sum"] = torch.zeros_like(member.x)
                if momentum:
                    state["momentum"] = member.g.clone()
            elif momentum:
                state["momentum"].lerp_(member.g, 1 - momentum)
            m = state["momentum"] if momentum else member.g
            state["sum"].addcmul_(m, m)
            for part, (total,) in member._replace(g=m).parts(state["sum"]):
                self._solve(part, total.sqrt().add_(block.group["eps"]), block.group)

    def _solve(self, member: Member, scale: Tensor, group: dict[str, Any]) -> None:
        """x <- about argmin of Q over the set."""
        x, m, lr = member.x, member.g, group["lr"]
        v = self._vertex(member)  # the gradient of Q at x is m
        if v is None:
            x.addcdiv_(m, scale, value=-lr)
            return
        y, slope = x.clone(), lr * m  # of lr Q: a schedule may take lr to 0
        for k in range(group["inner_steps"]):
            if k:
                torch.sub(y, x, out=slope).mul_(scale).add_(m, alpha=lr)
                v = self._oracle(member._replace(g=slope))
            toward = v - y
            bend = member.dots(scale * toward, toward)
            gamma = torch.where(bend == 0, torch.zeros_like(bend), -member.dots(slope, toward) / bend)
            y.lerp_(v, gamma.clamp(0, 1))
        x.copy_(y)
