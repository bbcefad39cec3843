"""Frank-Wolfe and stochastic Frank-Wolfe: steps towards a vertex of the feasible set instead of projections.

    v = lmo(g),   x <- x + gamma (v - x)          lmo(g) = argmin_{v in C} <g, v>

x stays feasible, as a convex combination of feasible points; with gamma_0 = 1 the start does not matter. The
update is ``x.lerp_(v, gamma)``: x + gamma (v - x), and exactly v for gamma = 1. One node: the cited methods.

In a network: averages of feasible rows are feasible. Local steps followed by gossip converge to the wrong
point when the nodes differ, also on the complete graph, since the oracle sees local gradients only; behind
gradient tracking they converge to the right one (DeFW: Wai et al., IEEE Transactions on Automatic Control 62,
2017, arXiv 1612.01216).

Frank and Wolfe, Naval Research Logistics Quarterly 3, 1956; Jaggi, Revisiting Frank-Wolfe, ICML 2013;
Pokutta, Spiegel, Zimmer, Deep Neural Network Training with Frank-Wolfe, 2020, arXiv 2010.07243 (momentum,
rescaling).
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from gossipsim.optim.constraints import ConstraintSet
from gossipsim.optim.step_sizes import StepSize, step_size

Params = Iterable[Tensor] | Iterable[dict[str, Any]]
Sets = ConstraintSet | Sequence[ConstraintSet]


class ConstrainedOptimizer(torch.optim.Optimizer):
    """What optimizers over feasible sets share: a set per parameter, the count of steps, the loop over parameters.

    `params` are tensors or parameter groups, and a group may bring its own ``constraint``: one set for each
    of its parameters, or a list with one set per parameter. The sets are not in `state_dict`, which holds
    tensors and plain values only; like the parameters, they come with the construction.
    """

    def __init__(self, params: Params, constraint: Sets, defaults: dict[str, Any]) -> None:
        self._constraint = constraint
        self._sets: list[list[ConstraintSet]] = []  # per group, per parameter
        super().__init__(params, defaults)

    @classmethod
    def for_model(cls, model: nn.Module, constraint: Sets, **params: Any) -> Self:
        """The optimizer of a model's trainable parameters; automatic radii are resolved from the modules.

        Raises:
            ValueError: when a radius cannot be resolved; the message names the parameter.
        """
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        sets = list(constraint) if isinstance(constraint, Sequence) else [constraint] * len(named)
        if len(sets) == len(named):
            sets = [_resolve(one, name, model) for one, (name, _) in zip(sets, named, strict=True)]
        return cls([p for _, p in named], sets, **params)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; takes the group's `constraint` out of it."""
        group = dict(param_group)
        constraint = group.pop("constraint", self._constraint)
        super().add_param_group(group)
        parameters = self.param_groups[-1]["params"]
        sets = list(constraint) if isinstance(constraint, Sequence) else [constraint] * len(parameters)
        if len(sets) != len(parameters):
            raise ValueError(
                f"constraint: {len(sets)} sets for {len(parameters)} parameters: give one set, or one per parameter"
            )
        for one, p in zip(sets, parameters, strict=True):
            one.diameter(p.shape)  # raises where the radius is not resolved or the set is not for this shape
        self._sets.append(sets)

    def constraints(self) -> list[tuple[Tensor, ConstraintSet]]:
        """Every parameter with its feasible set."""
        groups = zip(self.param_groups, self._sets, strict=True)
        return [pair for group, sets in groups for pair in zip(group["params"], sets, strict=True)]

    @property
    def lmo_calls(self) -> int:
        """Calls of linear minimisation oracles so far: one per parameter and step. It survives `state_dict`."""
        return sum(state["t"] for state in self.state.values())

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for every parameter that has a gradient; returns the closure's loss, where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, sets in zip(self.param_groups, self._sets, strict=True):
            for p, one in zip(group["params"], sets, strict=True):
                if p.grad is not None:
                    state = self.state[p]
                    state.setdefault("t", 0)
                    self._update(p, p.grad, one, group, state)
                    state["t"] += 1
        return loss

    @abstractmethod
    def _update(self, x: Tensor, g: Tensor, one: ConstraintSet, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Takes step number ``state["t"]`` in place."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_constraint": self._constraint, "_sets": self._sets}


def _resolve(one: ConstraintSet, name: str, model: nn.Module) -> ConstraintSet:
    owner, _, own_name = name.rpartition(".")
    try:
        return one.resolve(own_name, model.get_submodule(owner))
    except ValueError as error:
        raise ValueError(f"constraint of parameter {name}: {error}") from error


class FrankWolfe(ConstrainedOptimizer):
    """Frank-Wolfe: x <- x + gamma_t (lmo(g) - x).

    Args:
        params: tensors, or parameter groups.
        constraint: the feasible set of each parameter, or a list with one set per parameter.
        step_size: "2/(t+2)" = "agnostic", "1/(t+1)" = "harmonic", "1/sqrt(t+1)", a number in (0, 1], or a
            function of t = 0, 1, ...

    Raises:
        ValueError: for a step size that is none of these, and for an automatic radius without
            :meth:`for_model`.

    >>> from gossipsim.optim.constraints import L2
    >>> x = nn.Parameter(torch.zeros(2))
    >>> x.grad = torch.tensor([-3.0, 4.0])
    >>> FrankWolfe([x], L2(1.0)).step()
    >>> x.detach()
    tensor([ 0.6000, -0.8000])
    """

    def __init__(self, params: Params, constraint: Sets, step_size: str | float | StepSize = "2/(t+2)") -> None:
        super().__init__(params, constraint, {"step_size": step_size})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        step_size(self.param_groups[-1]["step_size"])  # raises where it is none

    def _update(self, x: Tensor, g: Tensor, one: ConstraintSet, group: dict[str, Any], state: dict[str, Any]) -> None:
        x.lerp_(one.lmo(g), step_size(group["step_size"])(state["t"]))


class StochasticFrankWolfe(ConstrainedOptimizer):
    """Frank-Wolfe with momentum: m <- momentum m + (1 - momentum) g, x <- x + gamma (lmo(m) - x).

    As in the authors' PyTorch code, m is the first gradient itself at the first step.

    Args:
        params: tensors, or parameter groups.
        constraint: the feasible set of each parameter, or a list with one set per parameter.
        lr: learning rate; gamma is `lr` times the factor of `rescale`, clamped to [0, 1].
        momentum: in [0, 1); 0 keeps no m.
        rescale: "diameter": 1/D with the set's L2 diameter D; "gradient": ||m||/||x - v||; None: 1.
        step_size: a rule as in :class:`FrankWolfe`; gamma is then gamma_t, and `lr` and `rescale` play no
            part.

    Raises:
        ValueError: for a parameter out of range, and for an automatic radius without :meth:`for_model`.
    """

    def __init__(
        self,
        params: Params,
        constraint: Sets,
        lr: float = 0.1,
        momentum: float = 0.9,
        rescale: Literal["diameter", "gradient"] | None = "diameter",
        *,
        step_size: str | float | StepSize | None = None,
    ) -> None:
        if step_size is not None and lr != 0.1:
            warnings.warn(f"lr={lr} is ignored, since step_size={step_size!r} is given", stacklevel=2)
        defaults = {"lr": lr, "momentum": momentum, "rescale": rescale, "step_size": step_size}
        super().__init__(params, constraint, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not 0 <= group["lr"] < math.inf:
            raise ValueError(f"lr must be a number >= 0, got {group['lr']}")
        if not 0 <= group["momentum"] < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {group['momentum']}")
        if group["rescale"] not in ("diameter", "gradient", None):
            raise ValueError(f'rescale must be "diameter", "gradient" or null, got {group["rescale"]!r}')
        if group["step_size"] is not None:
            step_size(group["step_size"])

    def _update(self, x: Tensor, g: Tensor, one: ConstraintSet, group: dict[str, Any], state: dict[str, Any]) -> None:
        if group["momentum"] > 0:
            if "momentum" not in state:
                state["momentum"] = g.clone()
            else:
                state["momentum"].mul_(group["momentum"]).add_(g, alpha=1 - group["momentum"])
            g = state["momentum"]
        v = one.lmo(g)
        x.lerp_(v, self._gamma(x, v, g, one, group, state["t"]))

    @staticmethod
    def _gamma(x: Tensor, v: Tensor, g: Tensor, one: ConstraintSet, group: dict[str, Any], t: int) -> float:
        if group["step_size"] is not None:
            return step_size(group["step_size"])(t)
        gamma = float(group["lr"])
        if group["rescale"] == "diameter":
            gamma /= one.diameter(x.shape)
        elif group["rescale"] == "gradient":
            distance = float((x - v).norm())
            gamma = gamma * float(g.norm()) / distance if distance > 0 else 0.0
        return max(0.0, min(gamma, 1.0))
