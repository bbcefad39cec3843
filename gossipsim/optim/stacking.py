"""One optimizer object for many nodes: its parameters are stacked, (rows, *shape), and every row moves as if alone.

Whether a row gets the bits that it would get alone depends on what is computed. Operations on entries that IEEE 754
rounds in one way give them anywhere in a tensor, and so do sums along the last dimension; so torch's optimizers that
work entry by entry qualify, with their step counters shared by all rows. Those of this package that see a parameter as
a whole do so row by row (:meth:`~gossipsim.optim.constraints.ConstraintSet.lmo_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import adadelta, adagrad, adam, adamax, adamw, asgd, nadam, radam, rmsprop, rprop, sgd

from gossipsim.optim import constraints as sets
from gossipsim.optim.adagrad_frank_wolfe import AdaGradSFW
from gossipsim.optim.constrained import ConstrainedOptimizer
from gossipsim.optim.constraints import ConstraintSet
from gossipsim.optim.frank_wolfe import FrankWolfe, keeps_atoms
from gossipsim.optim.muon import Muon
from gossipsim.optim.projected_sgd import ProjectedSGD
from gossipsim.optim.scion import Scion, UnconstrainedScion
from gossipsim.optim.stochastic_frank_wolfe import StochasticFrankWolfe

ELEMENTWISE: tuple[type[torch.optim.Optimizer], ...] = (
    adadelta.Adadelta,
    adagrad.Adagrad,
    adam.Adam,
    adamax.Adamax,
    adamw.AdamW,
    asgd.ASGD,
    nadam.NAdam,
    radam.RAdam,
    rmsprop.RMSprop,
    rprop.Rprop,
    sgd.SGD,
)
"""Torch's, and none of their subclasses, which may do other things."""

ROW_BY_ROW: tuple[type[torch.optim.Optimizer], ...] = (
    AdaGradSFW,
    FrankWolfe,
    Muon,
    ProjectedSGD,
    Scion,
    StochasticFrankWolfe,
    UnconstrainedScion,
)
"""Those of this package, and none of their subclasses."""

EXACT_SETS: tuple[type[ConstraintSet], ...] = (
    sets.L1,
    sets.L2,
    sets.Birkhoff,
    sets.Box,
    sets.ColumnNormBall,
    sets.Ellipsoid,
    sets.GroupL1,
    sets.Hypersimplex,
    sets.KNormBall,
    sets.KSparsePolytope,
    sets.Linf,
    sets.Lp,
    sets.NuclearBall,
    sets.OrderedWeightedL1,
    sets.Permutahedron,
    sets.ProbabilitySimplex,
    sets.RowNormBall,
    sets.SpectralBall,
    sets.Spectraplex,
    sets.Unconstrained,
    sets.UnitSimplex,
)
"""Sets whose answers have the same bits wherever their argument lies in memory, for one row and for many."""

COUNTERS = ("step", "mu_product", "eta", "mu")
"""Entries of the state of torch's optimizers that follow from the number of steps, and are one for all rows."""

COUNT = "lmo_calls"
"""An entry that counts for all rows together."""

EXACT_DTYPES = (torch.float32, torch.float64)


def elementwise(optimizer: torch.optim.Optimizer) -> bool:
    """Whether every entry's update depends only on its own gradient and state.

    Where there is one parameter group, a whole matrix of rows may then be one parameter. True for torch's own that are
    so, and for a class that says ``elementwise = True``: it thereby promises to update in place, to have the same step
    counters for all entries, and to compute by sums, products, quotients, roots and maxima only, for equal bits.
    """
    return type(optimizer) in ELEMENTWISE or bool(getattr(type(optimizer), "elementwise", False))


def stacking_obstacle(optimizer: torch.optim.Optimizer, *, exact: bool = True) -> str | None:
    """Why one optimizer object cannot step stacked parameters; None where it can.

    Args:
        optimizer: built for the model of one node.
        exact: every row gets the bits that it would get alone.
    """
    kind = type(optimizer).__name__
    if getattr(optimizer, "needs_closure", False):
        return f"{kind} evaluates the objective of a node within its step"
    if not elementwise(optimizer) and type(optimizer) not in ROW_BY_ROW:
        return f"{kind} may look at a parameter as a whole"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return f"{kind} has hooks, which may look at a parameter as a whole"
    if isinstance(optimizer, FrankWolfe) and any(map(keeps_atoms, optimizer.param_groups)):
        return f"{kind} keeps the vertices that a node has visited"
    overridden = [one for one in _sets(optimizer) if not _consistent(type(one))]
    if overridden:
        return f"{type(overridden[0]).__name__} replaces an oracle for one row and leaves that for many as it was"
    return _inexactness(optimizer) if exact else None


def stack_parameters(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Replaces the parameters of a fresh optimizer by stacked ones, before its first step.

    From then on `step` updates every row as if it were alone. `state` holds (rows, *shape) for each stacked parameter,
    with step counters that all rows share; counts such as ``lmo_calls`` are those of all rows together. What was
    decided from the model, such as radii "auto*V", holds for all rows.

    Args:
        optimizer: built for the model of one node, without a :func:`stacking_obstacle`.
        parameters: (rows, *shape) each, in the order of `param_groups`; they may be views of a matrix with one row per
            node.

    Raises:
        ValueError: for parameters that do not fit.
    """
    own = [p for group in optimizer.param_groups for p in group["params"]]
    shapes, given = [tuple(p.shape) for p in own], [tuple(p.shape[1:]) for p in parameters]
    if shapes != given or len({len(p) for p in parameters}) > 1:
        raise ValueError(f"stacked parameters must be (rows, *shape) with the shapes {shapes}, got {given}")
    for old, new in zip(own, parameters, strict=True):
        if old in optimizer.state:  # Adagrad has state before its first step
            kept = optimizer.state.pop(old)
            optimizer.state[new] = {name: _for_rows(name, value, old, len(new)) for name, value in kept.items()}
    rest = iter(parameters)
    for group in optimizer.param_groups:
        group["params"] = [next(rest) for _ in group["params"]]
    if isinstance(optimizer, ConstrainedOptimizer | Muon):
        optimizer.stacked = True


def entry_of_row(name: str, value: Any, p: Tensor, row: int) -> Any:
    """What an entry of the state of a stacked p, (rows, *shape), would be for one of its rows alone."""
    if name == COUNT:
        return value // len(p)
    return value[row] if _by_entry(name, value, p.shape) else value


def entry_of_rows(name: str, values: Sequence[Any], p: Tensor) -> Any:
    """The entry of the state of a stacked p from those that its rows would have alone."""
    if name == COUNT:
        return sum(values)
    return torch.stack(list(values)) if _by_entry(name, values[0], p.shape[1:]) else values[0]


def _for_rows(name: str, value: Any, p: Tensor, rows: int) -> Any:
    """An entry of the state of p as that of every row; a step counter stays one for all."""
    return value.expand(rows, *value.shape).clone() if _by_entry(name, value, p.shape) else value


def _by_entry(name: str, value: Any, shape: torch.Size) -> bool:
    """Whether an entry of the state has a number for each number of a parameter."""
    return isinstance(value, Tensor) and value.shape == shape and name not in COUNTERS


def _sets(optimizer: torch.optim.Optimizer) -> list[ConstraintSet]:
    """Of all parameters."""
    return [one for row in optimizer._sets for one in row] if isinstance(optimizer, ConstrainedOptimizer) else []


def _consistent(kind: type[ConstraintSet]) -> bool:
    """Whether the oracles for many rows are written for those for one row: no subclass replaced only the latter."""
    return all(
        _owner(kind, many) is ConstraintSet or issubclass(_owner(kind, many), _owner(kind, one))
        for one, many in (("lmo", "lmo_rows"), ("project", "project_rows"))
    )


def _owner(kind: type, name: str) -> type:
    """The class that defines a method."""
    return next(each for each in kind.__mro__ if name in vars(each))


def _inexactness(optimizer: torch.optim.Optimizer) -> str | None:
    """What may give a row other bits than it would get alone."""
    kind = type(optimizer).__name__
    if any(group.get("fused") for group in optimizer.param_groups):
        return f"{kind} is fused, which gives other bits for the last entries of a tensor"
    dtypes = {p.dtype for group in optimizer.param_groups for p in group["params"]} - set(EXACT_DTYPES)
    if dtypes:
        return f"equal bits are not known for {dtypes.pop()}"
    unknown = [type(one).__name__ for one in _sets(optimizer) if type(one) not in EXACT_SETS]
    return f"equal bits are not known for the set {unknown[0]}" if unknown else None
