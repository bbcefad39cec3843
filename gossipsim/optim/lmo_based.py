"""What methods share that go to vertices: counted oracle calls, the gap, and step sizes from rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossipsim.optim.constrained import Block, ConstrainedOptimizer, Member, Params, Sets
from gossipsim.optim.constraints import Unconstrained
from gossipsim.optim.step_sizes import Move, Objective, OpenLoop, Rule, StepSize, step_size

Gamma = float | Tensor
"""A step size: for all rows, or of each, in a shape that combines with the parameter."""


class LmoOptimizer(ConstrainedOptimizer):
    """Counts calls of linear minimisation oracles, and measures the gap at each.

    Attributes:
        fw_gap: <g, x - lmo(g)> of the last step, where g is the gradient at x (or the method's estimate of it),
            summed over all parameters with a set and over all rows: 0 at a stationary point of the constrained
            problem, and f - f* is at most that for convex f; nan before the first step.
    """

    lmo_based: ClassVar[bool] = True

    def __init__(self, params: Params, constraint: Sets, defaults: dict[str, Any]) -> None:
        self._gaps: list[Tensor] = []  # of the last step, scalars: a number of each would wait for the device
        super().__init__(params, constraint, defaults)

    @property
    def lmo_calls(self) -> int:
        """Calls of linear minimisation oracles so far, one for each parameter and row. It survives `state_dict`."""
        return sum(state.get("lmo_calls", 0) for state in self.state.values())

    @property
    def fw_gap(self) -> float:
        """See the class."""
        return float(sum(float(gap) for gap in self._gaps)) if self._gaps else float("nan")

    def _prepare(self, objective: Objective | None) -> None:
        self._gaps.clear()

    def _vertex(self, member: Member) -> Tensor | None:
        """lmo(g), counted and with its gap; None where the parameter is unconstrained."""
        if isinstance(member.one, Unconstrained):
            return None
        v = self._oracle(member)
        # by BLAS, whose last bits depend on the address: nothing is computed from it, and half the passes of `dot`
        self._gaps.append(torch.dot(member.g.reshape(-1), (member.x - v).reshape(-1)))
        return v

    def _oracle(self, member: Member) -> Tensor:
        """lmo(g), counted."""
        member.state["lmo_calls"] = member.state.get("lmo_calls", 0) + member.height
        return member.lmo()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_gaps": self._gaps}


class RuledOptimizer(LmoOptimizer):
    """A step-size rule per group, times its ``lr``: what a torch lr_scheduler changes.

    A group is one block of the product of its sets: one gamma for all its parameters, and a closed-loop rule sees the
    gap and the direction of the whole. Like the sets, the rules are no part of `state_dict`; a group may bring its own
    ``step_size``.
    """

    def __init__(self, params: Params, constraint: Sets, defaults: dict[str, Any], rule: Rule | None) -> None:
        self._rule = rule
        self._rules: list[StepSize | None] = []  # per group
        super().__init__(params, constraint, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; takes the group's `constraint` and `step_size` out of it."""
        group = dict(param_group)
        given = group.pop("step_size", self._rule)
        rule = None if given is None else step_size(given)
        super().add_param_group(group)
        lr = self.param_groups[-1]["lr"]
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr must be a number >= 0, got {lr}")
        self._rules.append(rule)

    def _gamma(self, block: Block, directions: Callable[[], list[Tensor]], gamma_max: float = 1.0) -> float:
        """min(lr rule, gamma_max) for a move of the block along the directions."""
        rule = self._rules[block.index]
        assert rule is not None
        pairs = [(member.x, member.g) for member in block.members]
        move = Move(block.memory["t"], pairs, directions, gamma_max, block.memory, block.objective)
        return move.clip(block.group["lr"] * rule.choose(move))

    def _approach(self, block: Block, gammas: Callable[[Block, list[Tensor | None]], list[Gamma]]) -> None:
        """x <- x + gamma (lmo(g) - x), and x <- x - gamma g where the parameter is unconstrained."""
        for part in block.parts():
            vertices = [self._vertex(member) for member in part.members]
            for member, v, gamma in zip(part.members, vertices, gammas(part, vertices), strict=True):
                if v is not None:
                    member.x.lerp_(v, gamma)
                elif isinstance(gamma, Tensor):
                    member.x.addcmul_(member.g, gamma, value=-1)
                else:
                    member.x.add_(member.g, alpha=-gamma)

    def _ruled(self, block: Block, vertices: list[Tensor | None]) -> list[Gamma]:
        """The rule's gamma, for every parameter; with a closed-loop rule each row has its own."""

        def directions() -> list[Tensor]:
            pairs = zip(block.members, vertices, strict=True)
            return [-member.g if v is None else v - member.x for member, v in pairs]

        if not self.stacked or isinstance(self._rules[block.index], OpenLoop):
            return [self._gamma(block, directions)] * len(vertices)
        by_row = zip(block.rows(), zip(*directions(), strict=True), strict=True)
        numbers = [self._gamma(row, partial(list, d)) for row, d in by_row]
        return [member.gamma(numbers) for member in block.members]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_rule": self._rule, "_rules": self._rules}
