"""Frank-Wolfe: steps towards a vertex of the feasible set instead of projections, and variants with active sets.

    v = lmo(g),   x <- x + gamma (v - x)          lmo(g) = argmin_{v in C} <g, v>

x stays feasible, as a convex combination of feasible points; with gamma_0 = 1 the start does not matter. The
update is ``x.lerp_(v, gamma)``: x + gamma (v - x), and exactly v for gamma = 1. One node: the cited methods.

On polytopes that step is slow where the optimum lies in a face: f - f* ~ 1/t. The variants write x as a combination of
vertices (:mod:`~gossipsim.optim.active_set`) and also take weight away from bad ones: linear convergence for strongly
convex f, with a closed-loop step size.

In a network: averages of feasible rows are feasible. Local steps followed by gossip converge to the wrong
point when the nodes differ, also on the complete graph, since the oracle sees local gradients only; behind
gradient tracking they converge to the right one (DeFW: Wai et al., IEEE Transactions on Automatic Control 62,
2017, arXiv 1612.01216).

Frank and Wolfe, Naval Research Logistics Quarterly 3, 1956; Jaggi, Revisiting Frank-Wolfe, ICML 2013. Away and
pairwise steps: Guelat and Marcotte, Mathematical Programming 35, 1986; Lacoste-Julien and Jaggi, NeurIPS 2015,
arXiv 1511.05932. Blended pairwise steps: Tsuji, Tanaka, Pokutta, ICML 2022, arXiv 2110.12650. Lazy oracles: Braun,
Pokutta, Zink, ICML 2017, arXiv 1610.05120.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gossipsim.optim.active_set import VARIANTS, ActiveSet, Turn, Variant, cached_turn, turn_to
from gossipsim.optim.constrained import Block, Member, Params, Sets
from gossipsim.optim.constraints import ConstraintSet
from gossipsim.optim.lmo_based import RuledOptimizer
from gossipsim.optim.step_sizes import OpenLoop, Rule, dot


class FrankWolfe(RuledOptimizer):
    """Frank-Wolfe: x <- x + gamma (lmo(g) - x), and its variants on polytopes.

    Every parameter group is one block, with one gamma: see :mod:`~gossipsim.optim.step_sizes` for the rules, and what
    they need. Parameters of the set Unconstrained take the plain gradient step x <- x - gamma g in the same block, and
    count no oracle call and no gap.

    The variants keep an active set over the group's parameters as one vector, in `state_dict`. A start that is no
    vertex is an atom of its own. Where x was moved between two steps, as gossip does, the active set starts anew,
    from x as its only atom: x stays feasible, and the step is one of plain Frank-Wolfe.

    Args:
        params: tensors, or parameter groups.
        constraint: the feasible set of each parameter, a list with one set per parameter, or a rule that chooses by
            (name, shape).
        step_size: "2/(t+2)" = "agnostic", "1/(t+1)" = "harmonic", "1/(t+2)", "1/sqrt(t+1)", a number in (0, 1], a
            function of t = 0, 1, ..., or a rule: ShortStep(L), Backtracking(), LineSearch(), ...
        lr: factor of the step size; gamma is clipped to [0, gamma_max].
        variant: "vanilla"; "away": steps away from the worst atom where that promises more; "pairwise": weight moves
            from the worst atom to the vertex; "blended_pairwise": pairwise steps within the active set where they
            promise as much as the vertex. The last three are for polytopes.
        lazy: tries the atoms before the oracle: one is taken where the step promises at least half the gap at the last
            call of the oracle, and `fw_gap` is then the gap with respect to the atoms, a lower bound. For polytopes.

    Raises:
        ValueError: for a parameter out of range, a set that is no polytope where one is needed, a rule that evaluates
            the objective with several groups, and for an automatic radius without :meth:`for_model`.

    >>> from gossipsim.optim.constraints import L2
    >>> x = torch.nn.Parameter(torch.zeros(2))
    >>> x.grad = torch.tensor([-3.0, 4.0])
    >>> FrankWolfe([x], L2(1.0)).step()
    >>> x.detach()
    tensor([ 0.6000, -0.8000])
    """

    def __init__(
        self,
        params: Params,
        constraint: Sets,
        step_size: Rule = "2/(t+2)",
        *,
        lr: float = 1.0,
        variant: Variant = "vanilla",
        lazy: bool = False,
    ) -> None:
        super().__init__(params, constraint, {"lr": lr, "variant": variant, "lazy": lazy}, step_size)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group, rule = self.param_groups[-1], self._rules[-1]
        if rule is None:
            raise ValueError("step_size must be given: null is for StochasticFrankWolfe, which then uses lr")
        if self.needs_closure and len(self.param_groups) > 1:
            raise ValueError(
                f"step_size: {', '.join(map(repr, self._rules))}: a rule that evaluates the objective is for one "
                "parameter group, which moves as one block: put all parameters into one group, or use ShortStep(L)"
            )
        if group["variant"] not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {group['variant']!r}")
        if not keeps_atoms(group):
            return
        _check_polytopes(group, self._sets[-1])
        if group["variant"] != "vanilla" and isinstance(rule, OpenLoop):
            warnings.warn(
                f"variant={group['variant']!r} does not converge linearly with the open-loop step size {rule}: give a "
                "closed-loop one, such as Backtracking(), LineSearch() or ShortStep(L)",
                stacklevel=2,
            )

    @property
    def needs_closure(self) -> bool:
        """Whether a rule evaluates the objective."""
        return any(rule is not None and rule.needs_closure for rule in self._rules)

    def _update(self, block: Block) -> None:
        if keeps_atoms(block.group):
            self._shift(block)
        else:
            self._approach(block, self._ruled)

    def _shift(self, block: Block) -> None:
        """A step of a variant."""
        members = block.members
        x, g = _flat([member.x for member in members]), _flat([member.g for member in members])
        active = ActiveSet.at(x, block.memory)
        turn = self._turn(block, active, g)
        gamma = self._gamma(block, lambda: _split(active.direction(turn, x), members), active.gamma_max(turn))
        active.shift(turn, gamma)
        moved = active.point()
        for member, part in zip(members, _split(moved, members), strict=True):
            member.x.copy_(part)
        active.keep(moved, block.memory)

    def _turn(self, block: Block, active: ActiveSet, g: Tensor) -> Turn:
        """The direction, from the atoms alone where lazy and good enough, else with the oracle's vertex."""
        variant, memory = block.group["variant"], block.memory
        at_atoms = active.atoms @ g
        at_x = float(dot(active.weights, at_atoms))
        if block.group["lazy"] and "last_gap" in memory:
            turn = cached_turn(variant, at_x, at_atoms, memory["last_gap"] / 2)
            if turn is not None:
                self._gaps.append(at_x - at_atoms.min())
                return turn
        vertex = _flat([v for v in map(self._vertex, block.members) if v is not None])
        at_v = float(dot(g, vertex))
        if block.group["lazy"]:
            memory["last_gap"] = at_x - at_v
        return turn_to(variant, at_x, (active.add(vertex), at_v), at_atoms)


def keeps_atoms(group: dict[str, Any]) -> bool:
    """Whether the group keeps an active set."""
    return bool(group["variant"] != "vanilla" or group["lazy"])


def _check_polytopes(group: dict[str, Any], sets: Sequence[ConstraintSet]) -> None:
    wanted = f"variant={group['variant']!r}, lazy={group['lazy']}"
    for one in sets:
        if not one.polytope:
            raise ValueError(
                f"{wanted} keeps vertices, and is for polytopes such as L1, Linf or ProbabilitySimplex, not {one!r}: "
                'use variant="vanilla" with lazy=False, here or in a parameter group of its own'
            )
    if len({(p.dtype, p.device) for p in group["params"]}) > 1:
        raise ValueError(
            f"{wanted} takes the parameters of a group for one vector: they must have the same dtype and device, or be "
            "in groups of their own"
        )


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """One vector."""
    return torch.cat([each.reshape(-1) for each in tensors])


def _split(flat: Tensor, members: list[Member]) -> list[Tensor]:
    """A vector over all members, as one tensor for each."""
    parts = flat.split_with_sizes([member.x.numel() for member in members])
    return [part.view(member.x.shape) for part, member in zip(parts, members, strict=True)]
