"""Stochastic Frank-Wolfe: Frank-Wolfe with an estimate of the gradient that averages over steps.

    momentum    m <- beta m + (1 - beta) g                              d = m
    nesterov    m <- beta m + (1 - beta) g                              d = beta m + (1 - beta) g
    storm       m <- g(x_t) + beta (m - g(x_{t-1})), on the same batch    d = m

    x <- x + gamma (lmo(d) - x)

At the first step m is g itself. One node: the cited methods. In a network as for
:class:`~gossipsim.optim.frank_wolfe.FrankWolfe`: behind gradient tracking.

Pokutta, Spiegel, Zimmer, Deep Neural Network Training with Frank-Wolfe, 2020, arXiv 2010.07243 (momentum, rescaling,
as in the authors' PyTorch code); Mokhtari, Hassani, Karbasi, JMLR 21, 2020, arXiv 1804.09554 (1 - beta_t =
4/(t+8)^(2/3)); Cutkosky and Orabona, NeurIPS 2019, arXiv 1905.10018, and for Frank-Wolfe Zhang, Shen, Mokhtari,
Hassani, Karbasi, AISTATS 2020, arXiv 1910.04322 (storm).
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from gossipsim.optim.constrained import Block, Member, Params, Sets
from gossipsim.optim.lmo_based import Gamma, RuledOptimizer
from gossipsim.optim.step_sizes import Objective, Rule

DECREASING = "4/(t+8)^(2/3)"


class StochasticFrankWolfe(RuledOptimizer):
    """Frank-Wolfe with a momentum estimate of the gradient: x <- x + gamma (lmo(m) - x).

    Parameters of the set Unconstrained take the step x <- x - gamma d, with gamma before rescaling; they count no
    oracle call and no gap. `fw_gap` is that of the estimate, <d, x - lmo(d)>.

    Args:
        params: tensors, or parameter groups.
        constraint: the feasible set of each parameter, a list with one set per parameter, or a rule that chooses by
            (name, shape).
        lr: learning rate; gamma is `lr` times the factor of `rescale`, clamped to [0, 1].
        momentum: beta in [0, 1), where 0 keeps no m; or "4/(t+8)^(2/3)", which is 1 - beta_t for t = 0, 1, ...
        rescale: "diameter": 1/D with the set's L2 diameter D; "gradient": ||d||/||x - v||; None: 1.
        step_size: a rule as in :class:`~gossipsim.optim.frank_wolfe.FrankWolfe`, except those that evaluate the
            objective; gamma is then gamma_t, with one block per group, and `lr` and `rescale` play no part: the group's
            ``lr`` starts at 1, as the factor that an lr_scheduler changes.
        estimator: "momentum"; "nesterov"; or "storm", which needs a closure and evaluates the gradient twice a step.
            The same for all groups.

    Raises:
        ValueError: for a parameter out of range, and for an automatic radius without :meth:`for_model`.
    """

    def __init__(
        self,
        params: Params,
        constraint: Sets,
        lr: float = 0.1,
        momentum: float | Literal["4/(t+8)^(2/3)"] = 0.9,
        rescale: Literal["diameter", "gradient"] | None = "diameter",
        step_size: Rule | None = None,
        *,
        estimator: Literal["momentum", "nesterov", "storm"] = "momentum",
    ) -> None:
        if step_size is not None and lr != 0.1:
            warnings.warn(f"lr={lr} is ignored, since step_size={step_size!r} is given", stacklevel=2)
        if estimator not in ("momentum", "nesterov", "storm"):
            raise ValueError(f'estimator must be "momentum", "nesterov" or "storm", got {estimator!r}')
        self._estimator = estimator
        super().__init__(params, constraint, {"lr": lr, "momentum": momentum, "rescale": rescale}, step_size)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        group = dict(param_group)
        if group.get("step_size", self._rule) is not None:
            group.setdefault("lr", 1.0)
        if group.pop("estimator", self._estimator) != self._estimator:
            raise ValueError(f"estimator of a parameter group: must be that of the optimizer, {self._estimator!r}")
        super().add_param_group(group)
        group, rule = self.param_groups[-1], self._rules[-1]
        momentum = group["momentum"]
        if momentum != DECREASING and (isinstance(momentum, str) or not 0 <= momentum < 1):
            raise ValueError(f'momentum must lie in [0, 1) or be "{DECREASING}", got {momentum!r}')
        if group["rescale"] not in ("diameter", "gradient", None):
            raise ValueError(f'rescale must be "diameter", "gradient" or null, got {group["rescale"]!r}')
        if rule is not None and rule.needs_closure:
            raise ValueError(
                f"step_size: {rule} needs a descent direction of the objective, which the average of gradients may not "
                "be: use FrankWolfe, or an open-loop step size or ShortStep(L) here"
            )

    @property
    def needs_closure(self) -> bool:
        """Whether the gradient is evaluated at two points: for "storm"."""
        return self._estimator == "storm"

    def _prepare(self, objective: Objective | None) -> None:
        super()._prepare(objective)
        if self._estimator == "storm":
            assert objective is not None
            self._storm(objective)

    def _storm(self, objective: Objective) -> None:
        """m <- g(x_t) + beta (m - g(x_{t-1})) for all parameters at once; each x is put back to the bit."""
        moving = [
            (p, self.state[p], self._beta(group))
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        here = [p.clone() for p, _, _ in moving]
        for p, state, beta in moving:
            if "previous" in state:
                state["momentum"].mul_(beta).add_(p.grad)
                p.copy_(state["previous"])
            else:
                state["momentum"] = p.grad.clone()
        if any("previous" in state for _, state, _ in moving):
            objective.evaluate()
        for (p, state, beta), x in zip(moving, here, strict=True):
            if "previous" in state:
                state["momentum"].sub_(p.grad, alpha=beta)
                p.copy_(x)
            state["previous"] = x

    def _beta(self, group: dict[str, Any]) -> float:
        """beta_t."""
        if group["momentum"] != DECREASING:
            return float(group["momentum"])
        t = self.state[group["params"][0]].get("t", 0)
        return float(max(0.0, 1 - 4 / (t + 8) ** (2 / 3)))

    def _update(self, block: Block) -> None:
        group = block.group
        beta = self._beta(group)
        members = [member._replace(g=self._estimate(member, beta, group)) for member in block.members]

        def gammas(part: Block, vertices: list[Tensor | None]) -> list[Gamma]:
            if self._rules[part.index] is not None:
                return self._ruled(part, vertices)
            return [_rescaled(group, member, v) for member, v in zip(part.members, vertices, strict=True)]

        self._approach(dataclasses.replace(block, members=members), gammas)

    def _estimate(self, member: Member, beta: float, group: dict[str, Any]) -> Tensor:
        """d; brings m up to date."""
        g, state = member.g, member.state
        if self._estimator != "storm":
            if group["momentum"] == 0:
                return g
            if "momentum" in state:
                state["momentum"].lerp_(g, 1 - beta)
            else:
                state["momentum"] = g.clone()
        m: Tensor = state["momentum"]
        return torch.lerp(g, m, beta) if self._estimator == "nesterov" else m

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_estimator": self._estimator}


def _rescaled(group: dict[str, Any], member: Member, v: Tensor | None) -> Gamma:
    """lr times the factor of `rescale`, in [0, 1]; `lr` itself where the parameter is unconstrained."""
    lr = float(group["lr"])
    if v is None:
        return lr
    if group["rescale"] == "gradient":
        lengths = zip(member.norms(member.g), member.norms(member.x - v), strict=True)
        return member.gamma([min(lr * g / distance if distance != 0 else 0.0, 1.0) for g, distance in lengths])
    if group["rescale"] == "diameter":
        diameter = member.one.diameter(member.shape)
        return min(lr / diameter, 1.0) if diameter > 0 else 0.0  # a single point: there is nowhere to go
    return min(lr, 1.0)
