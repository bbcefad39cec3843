"""Step sizes of Frank-Wolfe methods: how far to go from x along d, gamma in [0, gamma_max].

Open loop, from the step t = 0, 1, ... alone:

    "2/(t+2)", "agnostic"   Agnostic()         f - f* <= 2 L D^2/(t+2) on convex f, L unknown (Jaggi, ICML 2013)
    "1/(t+1)", "harmonic"   Harmonic()         the iterate is the average of the vertices so far
    "1/(t+2)"               Harmonic(start=2)  the average of the start and the vertices so far
    "1/sqrt(t+1)"           InverseSqrt()      nonconvex f: smallest gap O(1/sqrt(t)) (Lacoste-Julien, 1607.00345)
    a number in (0, 1]      Constant(gamma)
    a function of t         Function(function)

Closed loop, from the gap <g, -d> and the length of d as well:

    ShortStep(L)            clip(gap/(L ||d||^2), 0, gamma_max), for gradients that are L-Lipschitz
    Backtracking()          the short step with an L that follows the objective
    LineSearch()            argmin f(x + gamma d)

The last two evaluate the objective through the closure of `step`. Rules hold no state: the same object may serve many
optimizers, and the L of :class:`Backtracking` lives in the optimizer's `state_dict`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor


class Objective:
    """The closure of a step: the loss at the present parameters, with its gradient in their ``grad``.

    Attributes:
        loss: what the closure returned last, a number or a tensor.
    """

    def __init__(self, closure: Callable[[], Any]) -> None:
        self._closure = closure
        self.loss: Any = None

    def evaluate(self) -> Any:
        """Evaluates it at the parameters as they are now, on the same batch."""
        with torch.enable_grad():
            self.loss = self._closure()
        return self.loss


class Move:
    """The move x -> x + gamma d of one block of parameters, as a rule sees it.

    Attributes:
        t: steps that the block has taken before.
        gamma_max: the largest gamma that stays in the feasible set.
        memory: what a rule may keep from step to step, in plain numbers: part of the optimizer's state.
        objective: None where `step` got no closure.
    """

    def __init__(
        self,
        t: int,
        members: Sequence[tuple[Tensor, Tensor]],
        directions: Callable[[], list[Tensor]],
        gamma_max: float,
        memory: dict[str, Any],
        objective: Objective | None,
    ) -> None:
        self.t, self.gamma_max, self.memory, self.objective = t, gamma_max, memory, objective
        self._members, self._directions = members, directions  # (x, g) and d per parameter; open-loop rules need no d

    @cached_property
    def d(self) -> list[Tensor]:
        """The direction, one tensor per parameter."""
        return self._directions()

    @cached_property
    def gap(self) -> float:
        """-<g, d>: how fast the objective falls along d, to first order."""
        return -sum(float(dot(g, d)) for (_, g), d in zip(self._members, self.d, strict=True))

    @cached_property
    def squared_length(self) -> float:
        """||d||^2."""
        return sum(float(dot(d, d)) for d in self.d)

    @cached_property
    def loss(self) -> float:
        """f(x)."""
        assert self.objective is not None
        return float(self.objective.loss)

    @cached_property
    def _start(self) -> list[Tensor]:
        return [x.clone() for x, _ in self._members]

    def at(self, gamma: float) -> tuple[float, float]:
        """f(x + gamma d) and its slope <grad f(x + gamma d), d>; x is put back to the bit."""
        assert self.objective is not None
        _ = self.gap, self.loss  # of x: the closure overwrites both
        for (x, _), start, d in zip(self._members, self._start, self.d, strict=True):
            torch.add(start, d, alpha=gamma, out=x)
        value = float(self.objective.evaluate())
        slope = sum(
            float(dot(x.grad, d)) for (x, _), d in zip(self._members, self.d, strict=True) if x.grad is not None
        )
        for (x, _), start in zip(self._members, self._start, strict=True):
            x.copy_(start)
        return value, slope

    def clip(self, gamma: float) -> float:
        """gamma in [0, gamma_max]; nan stays nan, so that nothing hides a divergence."""
        return min(max(gamma, 0.0), self.gamma_max)

    def short(self, lipschitz: float) -> float:
        """The minimiser of -gamma gap + gamma^2/2 L ||d||^2 in [0, gamma_max]."""
        bend = lipschitz * self.squared_length
        if bend == 0:  # a straight line, or no direction at all
            return self.clip(math.copysign(math.inf, self.gap) if self.gap else 0.0)
        return self.clip(self.gap / bend)

    @property
    def eps(self) -> float:
        """The relative rounding error of the parameters' dtype."""
        return torch.finfo(self._members[0][0].dtype).eps


class StepSize(ABC):
    """A rule for gamma.

    Attributes:
        needs_closure: whether it evaluates the objective.
    """

    needs_closure: ClassVar[bool] = False

    @abstractmethod
    def choose(self, move: Move) -> float:
        """How far to go: in [0, move.gamma_max], or larger, which the optimizer clips."""


class OpenLoop(StepSize):
    """A rule that depends on t alone; called with t."""

    def choose(self, move: Move) -> float:
        return self(move.t)

    @abstractmethod
    def __call__(self, t: int) -> float:
        """gamma_t."""


@dataclass(frozen=True)
class Agnostic(OpenLoop):
    """2/(t+2)."""

    def __call__(self, t: int) -> float:
        return 2 / (t + 2)


@dataclass(frozen=True)
class Harmonic(OpenLoop):
    """1/(t+start).

    Raises:
        ValueError: for a start below 1.
    """

    start: int = 1

    def __post_init__(self) -> None:
        if not self.start >= 1:
            raise ValueError(f"start must be at least 1, so that no step exceeds 1, got {self.start}")

    def __call__(self, t: int) -> float:
        return 1 / (t + self.start)


@dataclass(frozen=True)
class InverseSqrt(OpenLoop):
    """1/sqrt(t+1)."""

    def __call__(self, t: int) -> float:
        return 1 / math.sqrt(t + 1)


@dataclass(frozen=True)
class Constant(OpenLoop):
    """The same gamma for every t.

    Raises:
        ValueError: for a gamma outside (0, 1].
    """

    gamma: float

    def __post_init__(self) -> None:
        if isinstance(self.gamma, bool) or not 0 < self.gamma <= 1:
            raise ValueError(f"step_size must lie in (0, 1], got {self.gamma}")

    def __call__(self, t: int) -> float:
        return float(self.gamma)


@dataclass(frozen=True)
class Function(OpenLoop):
    """A function of t = 0, 1, ..."""

    function: Callable[[int], float]

    def __call__(self, t: int) -> float:
        return self.function(t)


@dataclass(frozen=True)
class ShortStep(StepSize):
    """clip(gap/(L ||d||^2), 0, gamma_max): the minimiser of the quadratic bound on f along d.

    f never rises where `L` is at least the Lipschitz constant of its gradient (Frank and Wolfe 1956; Demyanov
    and Rubinov 1970). Steps that are too short for an `L` that is too large; no guarantee for one too small.

    Raises:
        ValueError: unless L is a number above 0.
    """

    L: float

    def __post_init__(self) -> None:
        if isinstance(self.L, bool) or not 0 < self.L < math.inf:
            raise ValueError(f"L must be a number above 0, the Lipschitz constant of the gradient, got {self.L}")

    def choose(self, move: Move) -> float:
        return move.short(self.L)


@dataclass(frozen=True)
class Backtracking(StepSize):
    """The short step with the smallest of eta L, eta L tau, eta L tau^2, ... that keeps the quadratic bound.

    L is that of the step before, so that it can fall as well as rise; at first it is the curvature of f along d
    over a distance of ``0.001 d``. About one evaluation of the objective per step, two at the first.
    Source: Pedregosa, Negiar, Askari, Jaggi, Linearly Convergent Frank-Wolfe with Backtracking Line-Search,
    AISTATS 2020, arXiv 1806.05123, algorithm 2. (There, the first L is the change of the whole gradient.)

    Args:
        eta: in (0, 1]: how fast L may fall.
        tau: above 1: how fast it rises.

    Raises:
        ValueError: for a parameter out of range.
    """

    eta: float = 0.9
    tau: float = 2.0

    needs_closure: ClassVar[bool] = True
    _tries: ClassVar[int] = 60  # then the bound fails by a factor 2^60: f is not what its gradient says

    def __post_init__(self) -> None:
        if not 0 < self.eta <= 1:
            raise ValueError(f"eta must lie in (0, 1], got {self.eta}")
        if not 1 < self.tau < math.inf:
            raise ValueError(f"tau must be above 1, got {self.tau}")

    def choose(self, move: Move) -> float:
        if not move.gap > 0:
            return move.clip(move.gap)  # 0, or nan
        lipschitz = self.eta * move.memory["L"] if "L" in move.memory else _curvature(move)
        rounding = 4 * move.eps * abs(move.loss)  # what f may rise by without a reason
        for _ in range(self._tries):
            gamma = move.short(lipschitz)
            bound = move.loss - gamma * move.gap + 0.5 * gamma**2 * lipschitz * move.squared_length
            if move.at(gamma)[0] <= bound + rounding:
                move.memory["L"] = lipschitz
                return gamma
            full = move.gap / (move.gamma_max * move.squared_length)  # any smaller L gives gamma_max again
            lipschitz = max(self.tau * lipschitz, full)
        return 0.0 if math.isfinite(move.loss) else math.nan


def _curvature(move: Move, distance: float = 1e-3) -> float:
    """The slope's change over a short distance, as a Lipschitz constant."""
    return abs(move.at(distance)[1] + move.gap) / (distance * move.squared_length)


@dataclass(frozen=True)
class LineSearch(StepSize):
    """argmin of f(x + gamma d) over [0, gamma_max], to rounding.

    The root of the slope by Brent's method, where the slope changes its sign, else gamma_max: on nonconvex f
    some local minimum. One evaluation of the objective where the answer is gamma_max, few more where f is
    nearly quadratic.
    """

    needs_closure: ClassVar[bool] = True

    def choose(self, move: Move) -> float:
        from scipy.optimize import brentq

        if not move.gap > 0:
            return move.clip(move.gap)  # 0, or nan
        end = move.at(move.gamma_max)[1]
        if not end > 0:
            return move.gamma_max if end <= 0 else math.nan
        known = {0.0: -move.gap, move.gamma_max: end}

        def slope(gamma: float) -> float:
            return known[gamma] if gamma in known else move.at(gamma)[1]

        tolerance = move.eps**0.75  # f is flat at its minimum: wrong by less than its rounding
        root = brentq(slope, 0.0, move.gamma_max, xtol=tolerance * move.gamma_max, rtol=tolerance)
        return move.clip(float(root))


Rule = str | float | StepSize | Callable[[int], float]
"""What `step_size` takes."""

_AGNOSTIC, _HARMONIC = Agnostic(), Harmonic()
RULES: dict[str, StepSize] = {
    "2/(t+2)": _AGNOSTIC,
    "agnostic": _AGNOSTIC,
    "1/(t+1)": _HARMONIC,
    "harmonic": _HARMONIC,
    "1/(t+2)": Harmonic(start=2),
    "1/sqrt(t+1)": InverseSqrt(),
}


def step_size(rule: Rule) -> StepSize:
    """The rule with that name, a constant, a function of t, or the rule itself.

    Raises:
        ValueError: for an unknown name, a constant outside (0, 1], and anything else.

    >>> step_size("agnostic")(0), step_size("harmonic")(1), step_size(0.1)(5)
    (1.0, 0.5, 0.1)
    >>> step_size(ShortStep(L=2.0))
    ShortStep(L=2.0)
    """
    if isinstance(rule, StepSize):
        return rule
    if isinstance(rule, str) and rule.replace(" ", "") in RULES:
        return RULES[rule.replace(" ", "")]
    if isinstance(rule, (int, float)):
        return Constant(rule)
    if callable(rule) and not isinstance(rule, type):
        return Function(rule)
    raise ValueError(
        f"step_size must be one of {', '.join(map(repr, RULES))}, a number in (0, 1], a function of t, or a rule such "
        f"as ShortStep(L), got {rule!r}"
    )


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of two tensors of one shape, the same bits wherever they lie in memory.

    Not torch.dot: BLAS sums in an order that depends on the address, and so on which rows share a process.
    """
    return (a * b).sum()
