"""Rules that choose the set of each parameter of a model by its name or shape; written in Python or in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gossipsim.optim.constraints.base import ConstraintSet


def _check_set(field: str, value: object) -> None:
    if not isinstance(value, ConstraintSet):
        raise ValueError(f"{field} must be a feasible set, such as L2(radius=1.0), got {value!r}")


@dataclass(frozen=True)
class ByShape:
    """One set for matrices and convolutions (two dimensions or more), another one for vectors and scalars.

    Args:
        matrices: the set of parameters with two dimensions or more.
        others: the set of all others.

    Raises:
        ValueError: for what is not a feasible set.
    """

    matrices: ConstraintSet
    others: ConstraintSet

    def __post_init__(self) -> None:
        _check_set("matrices", self.matrices)
        _check_set("others", self.others)

    def __call__(self, name: str, shape: tuple[int, ...]) -> ConstraintSet:
        return self.matrices if len(shape) >= 2 else self.others


@dataclass(frozen=True)
class ByName:
    """The set of the first pattern that a parameter's name matches.

    Args:
        sets: feasible sets by pattern, as in a shell: "*.bias", "layers.0.*".
        default: the set of parameters that match none; None: that is an error.

    Raises:
        ValueError: for what is not a feasible set; when called, for a name that matches nothing.

    >>> from gossipsim.optim.constraints import L1, L2
    >>> ByName({"*.bias": L2(1.0)}, default=L1(3.0))("layers.0.bias", (5,))
    L2(radius=1.0)
    """

    sets: Mapping[str, ConstraintSet]
    default: ConstraintSet | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sets, Mapping):
            raise ValueError(f"sets must map patterns of names to feasible sets, got {self.sets!r}")
        for pattern, one in self.sets.items():
            _check_set(f"sets[{pattern!r}]", one)
        if self.default is not None:
            _check_set("default", self.default)

    def __call__(self, name: str, shape: tuple[int, ...]) -> ConstraintSet:
        for pattern, one in self.sets.items():
            if fnmatchcase(name, pattern):
                return one
        if self.default is None:
            raise ValueError(
                f"no pattern of {', '.join(map(repr, self.sets)) or 'none'} matches the parameter {name!r}: add one, "
                "or give a default"
            )
        return self.default
