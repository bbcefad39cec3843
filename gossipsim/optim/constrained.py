"""What optimizers over feasible sets share: a set per parameter, feasible starts, closures, the loop over groups."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from gossipsim.optim.constraints import ConstraintSet, Place
from gossipsim.optim.constraints.base import as_vectors, per_row, with_rows
from gossipsim.optim.step_sizes import Objective, dot

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Rule = Callable[[str, tuple[int, ...]], ConstraintSet]
"""Chooses the set of a parameter by its name and shape."""
Sets = ConstraintSet | Sequence[ConstraintSet] | Rule


PART_BYTES = 1 << 20
"""Of parameters of which the oracles are computed at once on a CPU: a part of a second-level cache."""


class Member(NamedTuple):
    """A parameter in one step: x, its gradient g or an estimate of it, its set, and its entry in `Optimizer.state`.

    Where the parameters are stacked, x and g are (rows, *shape), and each row is a point of the set.
    """

    x: Tensor
    g: Tensor
    one: ConstraintSet
    state: dict[str, Any]
    stacked: bool = False

    @property
    def shape(self) -> torch.Size:
        """Of one row."""
        return self.x.shape[1:] if self.stacked else self.x.shape

    @property
    def height(self) -> int:
        """The number of rows."""
        return len(self.x) if self.stacked else 1

    def rows(self) -> list[Member]:
        """Every row as a member of its own."""
        if not self.stacked:
            return [self]
        return [Member(x, g, self.one, self.state) for x, g in zip(self.x, self.g, strict=True)]

    def parts(self, *others: Tensor) -> Iterator[tuple[Self, list[Tensor]]]:
        """Some rows after the other, as many as stay in the cache together with what is computed from them.

        Args:
            others: tensors like x, of which the same rows come along.
        """
        count = parts_of([self])
        if count == 1:
            yield self, list(others)
            return
        for tensors in zip(*[each.chunk(count) for each in (self.x, self.g, *others)], strict=True):
            yield self._replace(x=tensors[0], g=tensors[1]), list(tensors[2:])

    def lmo(self) -> Tensor:
        """lmo(g), row by row."""
        return self.one.lmo_rows(self.g) if self.stacked else self.one.lmo(self.g)

    def project(self) -> Tensor:
        """The nearest point to x, row by row."""
        return self.one.project_rows(self.x) if self.stacked else self.one.project(self.x)

    def norms(self, values: Tensor) -> list[float]:
        """The L2 norm of every row of `values`, which is shaped like x."""
        return as_vectors(values).norm(dim=1).tolist() if self.stacked else [float(values.norm())]

    def dots(self, a: Tensor, b: Tensor) -> Tensor:
        """<a, b> of every row, in a shape that combines with x."""
        if not self.stacked:
            return dot(a, b)
        return as_vectors(a * b).sum(1).view(-1, *[1] * (self.x.ndim - 1))

    def gamma(self, numbers: list[float]) -> float | Tensor:
        """One number for each row as a factor of tensors like x."""
        return per_row(numbers, self.x) if self.stacked else numbers[0]


@dataclass(frozen=True)
class Block:
    """A parameter group in one step: the parameters of it that have a gradient, as one point of a product of sets.

    Attributes:
        index: of the group.
        group: its options.
        memory: what is kept from step to step for the group as a whole, in the state of its first parameter; ``t``
            counts the steps before this one.
        objective: None where `step` got no closure.
    """

    index: int
    group: dict[str, Any]
    members: list[Member]
    memory: dict[str, Any]
    objective: Objective | None

    def parts(self) -> Iterator[Block]:
        """Some rows after the other, as many as stay in the cache together with what is computed from them."""
        count = parts_of(self.members)
        if count == 1:
            yield self
            return
        split = [(member, member.x.chunk(count), member.g.chunk(count)) for member in self.members]
        for k in range(len(split[0][1])):  # torch may make fewer parts of few rows
            yield replace(self, members=[member._replace(x=x[k], g=g[k]) for member, x, g in split])

    def rows(self) -> list[Block]:
        """Every row as a block of its own; they share the memory."""
        rows = zip(*[member.rows() for member in self.members], strict=True)
        return [replace(self, members=list(members)) for members in rows]


def parts_of(members: Sequence[Member]) -> int:
    """In how many parts the rows of stacked parameters are worked on."""
    if not members[0].stacked or members[0].x.device.type != "cpu":
        return 1
    wanted = math.ceil(sum(member.x.nbytes for member in members) / PART_BYTES)
    return max(1, min(wanted, members[0].height))


class ConstrainedOptimizer(torch.optim.Optimizer):
    """A set per parameter, and the loop over groups; a method defines `_update`.

    `params` are tensors, named tensors, or parameter groups, and a group may bring its own ``constraint``: one set for
    each of its parameters, a list with one set per parameter, or a rule that chooses by (name, shape). The sets are not
    in `state_dict`, which holds tensors and plain values only; like the parameters, they come with the construction.

    Attributes:
        lmo_based: whether the direction goes through a linear minimisation oracle, which sees where a gradient points
            and not how long it is; under gossip such a method needs gradient tracking where the nodes differ.
        needs_closure: whether `step` evaluates the objective again; it then raises a ValueError without a closure.
        start_moved: how far :meth:`for_model` moved the start to make it feasible, in the L2 norm.
        stacked: whether parameters are (rows, *shape), see :mod:`gossipsim.optim.stacking`.
    """

    lmo_based: ClassVar[bool]
    stacked: bool = False

    def __init__(self, params: Params, constraint: Sets, defaults: dict[str, Any]) -> None:
        self._constraint = constraint
        self._sets: list[list[ConstraintSet]] = []  # per group, per parameter
        self.start_moved = 0.0
        super().__init__(params, defaults)

    @classmethod
    def for_model(cls, model: nn.Module, constraint: Sets, **params: Any) -> Self:
        """The optimizer of a model's trainable parameters, and the start of a run.

        Automatic radii are resolved from the modules, and a start that is not feasible is projected onto the sets:
        :meth:`make_feasible`.

        Raises:
            ValueError: when a radius cannot be resolved; the message names the parameter.
        """
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        sets = _chosen(constraint, [Place.of(name, model) for name, _ in named])
        optimizer = cls([p for _, p in named], sets, **params)
        optimizer.start_moved = optimizer.make_feasible()
        return optimizer

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; takes the group's `constraint` out of it."""
        group = dict(param_group)
        constraint = group.pop("constraint", self._constraint)
        super().add_param_group(group)
        parameters = self.param_groups[-1]["params"]
        names = self.param_groups[-1].get("param_names") or [""] * len(parameters)
        places = [Place(name, tuple(p.shape)) for name, p in zip(names, parameters, strict=True)]
        sets = _chosen(constraint, places)
        for one, p in zip(sets, parameters, strict=True):
            one.diameter(p.shape)  # raises where the radius is not resolved or the set is not for this shape
        self._sets.append(sets)

    def constraints(self) -> list[tuple[Tensor, ConstraintSet]]:
        """Every parameter with its feasible set."""
        groups = zip(self.param_groups, self._sets, strict=True)
        return [pair for group, sets in groups for pair in zip(group["params"], sets, strict=True)]

    @torch.no_grad()
    def make_feasible(self) -> float:
        """Projects every parameter onto its set, in place (Euclidean projection, not rescaling).

        Returns:
            How far the parameters moved, as one vector in the L2 norm; 0 where the start was feasible.
        """
        moved = 0.0
        for p, one in self.constraints():
            nearest = Member(p, p, one, {}, self.stacked).project()
            moved += float((nearest.double() - p.double()).square().sum())
            p.copy_(nearest)
        return float(moved**0.5)

    @property
    def feasibility(self) -> float:
        """The largest violation of a defining inequality, over all parameters; 0 where all are feasible."""
        pairs = [(p.detach(), one) for p, one in self.constraints()]
        return max((one.violation(x) for p, one in pairs for x in (p if self.stacked else [p])), default=0.0)

    @property
    def needs_closure(self) -> bool:
        """See the class."""
        return False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient; returns the closure's loss, where there is one."""
        if closure is None and self.needs_closure:
            raise ValueError(f"{type(self).__name__} evaluates the objective within a step: call step(closure)")
        objective = None if closure is None else Objective(closure)
        loss = None if objective is None else objective.evaluate()
        self._prepare(objective)
        for index, (group, sets) in enumerate(zip(self.param_groups, self._sets, strict=True)):
            pairs = zip(group["params"], sets, strict=True)
            members = [self._member(p, p.grad, one) for p, one in pairs if p.grad is not None]
            if members:
                memory = self.state[group["params"][0]]
                memory.setdefault("t", 0)
                self._update(Block(index, group, members, memory, objective))
                memory["t"] += 1
        return loss

    def _member(self, p: Tensor, g: Tensor, one: ConstraintSet) -> Member:
        return Member(p, with_rows(g) if self.stacked else g, one, self.state[p], self.stacked)

    def _prepare(self, objective: Objective | None) -> None:
        """What has to be done for all parameters before any of them moves."""

    @abstractmethod
    def _update(self, block: Block) -> None:
        """Takes a step in place."""

    def __getstate__(self) -> dict[str, Any]:
        names = ("_constraint", "_sets", "start_moved", "stacked")
        own = {name: getattr(self, name) for name in names}
        return {**super().__getstate__(), **own}


def _chosen(constraint: Sets, places: Sequence[Place]) -> list[ConstraintSet]:
    """The resolved set of every place."""
    if isinstance(constraint, ConstraintSet):
        sets: list[ConstraintSet] = [constraint] * len(places)
    elif callable(constraint):
        sets = [constraint(place.name, place.shape) for place in places]
    else:
        sets = list(constraint)
    if len(sets) != len(places):
        raise ValueError(
            f"constraint: {len(sets)} sets for {len(places)} parameters: give one set, one per parameter, or a rule"
        )
    return [_resolved(one, place) for one, place in zip(sets, places, strict=True)]


def _resolved(one: ConstraintSet, place: Place) -> ConstraintSet:
    if not isinstance(one, ConstraintSet):
        raise ValueError(f"constraint of {place.name or 'a parameter'}: {one!r} is not a ConstraintSet")
    try:
        return one.resolve(place)
    except ValueError as error:
        about = f"constraint of parameter {place.name}" if place.name else "constraint"
        raise ValueError(f"{about}: {error}") from error
