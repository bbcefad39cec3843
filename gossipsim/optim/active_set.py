"""Active sets: x as a convex combination of atoms, and the directions of Frank-Wolfe variants within it.

    x = sum_k w_k a_k,   w_k > 0,   sum_k w_k = 1

    towards v                 d = v - x   gamma_max = 1               w <- (1 - gamma) w, w_v += gamma
    away from a               d = x - a   gamma_max = w_a/(1 - w_a)   w <- (1 + gamma) w, w_a -= gamma
    pairwise, from a to v     d = v - a   gamma_max = w_a             w_v += gamma, w_a -= gamma

At gamma_max the atom a leaves. x is the combination itself, computed anew after every step: it cannot drift out
of the set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

Variant = Literal["vanilla", "away", "pairwise", "blended_pairwise"]
VARIANTS: tuple[Variant, ...] = ("vanilla", "away", "pairwise", "blended_pairwise")


@dataclass(frozen=True)
class Turn:
    """A direction: towards the atom with one index, away from the one with the other, or both.

    Attributes:
        progress: -<g, d>.
    """

    toward: int | None
    away: int | None
    progress: float


class ActiveSet:
    """Atoms (k, d) and their weights (k,), of the dtype and on the device of x."""

    def __init__(self, atoms: Tensor, weights: Tensor) -> None:
        self.atoms, self.weights = atoms, weights

    @classmethod
    def at(cls, x: Tensor, memory: dict[str, Any]) -> Self:
        """What :meth:`keep` left in `memory`; x (d,) as the only atom where x is not the same to the bit."""
        if "x" in memory and torch.equal(memory["x"], x):
            return cls(memory["atoms"], memory["weights"])
        return cls(x[None], x.new_ones(1))

    def keep(self, x: Tensor, memory: dict[str, Any]) -> None:
        """Leaves the set and its point in `memory`."""
        memory |= {"atoms": self.atoms, "weights": self.weights, "x": x}

    def point(self) -> Tensor:
        """x (d,)."""
        return self.weights @ self.atoms

    def add(self, v: Tensor) -> int:
        """The index of the atom v (d,); a new one has weight 0, and leaves with the next `shift` if it is not used."""
        same = (self.atoms == v).all(1).nonzero()
        if len(same):
            return int(same[0])
        self.atoms = torch.cat([self.atoms, v[None]])
        self.weights = torch.cat([self.weights, self.weights.new_zeros(1)])
        return len(self.atoms) - 1

    def direction(self, turn: Turn, x: Tensor) -> Tensor:
        """d (d,), where x is the point of this set."""
        target = x if turn.toward is None else self.atoms[turn.toward]
        return target - (x if turn.away is None else self.atoms[turn.away])

    def gamma_max(self, turn: Turn) -> float:
        """See the module."""
        if turn.away is None:
            return 1.0
        weight = float(self.weights[turn.away])
        if turn.toward is not None:
            return weight
        rest = self.weights.clone()
        rest[turn.away] = 0
        return weight / float(rest.sum())

    def shift(self, turn: Turn, gamma: float) -> None:
        """Moves weight; atoms of weight 0 leave."""
        leaves = gamma >= self.gamma_max(turn)
        weights = self.weights * (1 + gamma * ((turn.toward is None) - (turn.away is None)))
        if turn.toward != turn.away:
            if turn.toward is not None:
                weights[turn.toward] += gamma
            if turn.away is not None:
                weights[turn.away] = 0 if leaves else weights[turn.away] - gamma
        stays = ~(weights <= 0)  # nan stays, to be seen
        if not stays.all():
            self.atoms, weights = self.atoms[stays], weights[stays]
        self.weights = weights / weights.sum()


def turn_to(variant: Variant, at_x: float, v: tuple[int, float], at_atoms: Tensor) -> Turn:
    """The direction of a variant.

    Args:
        at_x: <g, x>.
        v: index and <g, v> of the vertex to go to.
        at_atoms: <g, a> for the atoms (k,).
    """
    toward, at_v = v
    worst, best = int(at_atoms.argmax()), int(at_atoms.argmin())
    at_worst = float(at_atoms[worst])
    forward, local = at_x - at_v, at_worst - float(at_atoms[best])
    if variant == "pairwise":
        return Turn(toward, worst, at_worst - at_v)
    if variant == "away" and at_worst - at_x > max(forward, 0.0):
        return Turn(None, worst, at_worst - at_x)
    if variant == "blended_pairwise" and local >= forward:
        return Turn(best, worst, local)
    return Turn(toward, None, forward)


def cached_turn(variant: Variant, at_x: float, at_atoms: Tensor, wanted: float) -> Turn | None:
    """The direction without an oracle, the best atom for a vertex, where it promises as much progress as is wanted.

    And more than rounding: a gap that once was none would else be enough for ever after.
    """
    best = int(at_atoms.argmin())
    turn = turn_to(variant, at_x, (best, float(at_atoms[best])), at_atoms)
    rounding = 4 * torch.finfo(at_atoms.dtype).eps * float(at_atoms.abs().max())
    return turn if turn.progress >= wanted and rounding < turn.progress < math.inf else None
