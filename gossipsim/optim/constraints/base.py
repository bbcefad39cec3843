"""What a feasible set C can do, and what norm balls share: a radius, which may be automatic.

    lmo(g)     = argmin_{v in C} <g, v>       linear minimisation oracle
    support(g) = max_{v in C} <g, v>          so <g, lmo(g)> = -support(-g), = -support(g) for symmetric sets
    project(x) = argmin_{v in C} ||v - x||_2

A set constrains one whole parameter. For sets of vectors a tensor of any shape is one vector; for sets of
matrices it is the matrix of :func:`as_matrix`. Sets are immutable, know nothing of the parameters they are
applied to, and draw no random numbers.

A radius is a number, a function of (name, shape), or ``"auto*V"``: V times the L2 norm that the parameter is
expected to start with. :meth:`ConstraintSet.resolve` turns the last two into a number. With the same V all
balls get the same L2 diameter.
Source: Pokutta, Spiegel, Zimmer, Deep Neural Network Training with Frank-Wolfe, 2020, arXiv 2010.07243.
"""

from __future__ import annotations

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

_AUTO = re.compile(r"auto\*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True)
class Place:
    """Where a parameter stands: all that rules and automatic radii may depend on, never its value.

    Attributes:
        name: full name in the model, "layers.0.weight"; "" for a bare tensor.
        shape: of the parameter.
        module: the module that owns it; None for a bare tensor.
    """

    name: str
    shape: tuple[int, ...]
    module: nn.Module | None = None

    @classmethod
    def of(cls, name: str, model: nn.Module) -> Place:
        """The place of the parameter called `name` in `model`."""
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        return cls(name, tuple(getattr(module, attribute).shape), module)

    @property
    def attribute(self) -> str:
        """The parameter's name in its module: "weight"."""
        return self.name.rpartition(".")[2]

    @property
    def numel(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)


class ConstraintSet(ABC):
    """A closed convex set of tensors of one shape.

    A set defines `lmo`, `support`, `project`, `violation` and `diameter`; one that needs to know the parameter
    it is for also `resolve`. An entry of NaN in `g` makes `lmo(g)` hold a NaN: nothing hides a divergence.
    """

    polytope: ClassVar[bool] = False
    """Whether the set has finitely many vertices, and `lmo` returns one of them for a generic g."""

    @abstractmethod
    def lmo(self, g: Tensor) -> Tensor:
        """A point of the set that minimises <g, v>: a new tensor of the shape, dtype and device of `g`."""

    @abstractmethod
    def support(self, g: Tensor) -> Tensor:
        """max of <g, v> over the set: a scalar tensor."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The point of the set that is nearest to `x` in the L2 norm; `x` itself, to the bit, where it is feasible."""

    @abstractmethod
    def violation(self, x: Tensor) -> float:
        """The largest amount by which `x` violates a defining inequality, in float64; 0 inside the set."""

    @abstractmethod
    def diameter(self, shape: Sequence[int]) -> float:
        """The largest L2 distance between two points of the set of tensors of that shape.

        Raises:
            ValueError: when there is no such set of tensors of that shape, and for a radius that is not resolved.
        """

    def lmo_rows(self, G: Tensor) -> Tensor:
        """`lmo` of every row of `G` (rows, *shape), each contiguous: a new tensor of that shape."""
        return torch.stack([self.lmo(g) for g in G])

    def project_rows(self, X: Tensor) -> Tensor:
        """`project` of every row of `X` (rows, *shape), each contiguous: a new tensor of that shape."""
        return torch.stack([self.project(x) for x in X])

    def contains(self, x: Tensor, tol: float = 1e-6) -> bool:
        """Whether `x` violates no defining inequality by more than `tol`; False where it holds a NaN."""
        return self.violation(x) <= tol

    def resolve(self, place: Place) -> ConstraintSet:
        """This set for the parameter at `place`.

        Raises:
            ValueError: when an automatic radius cannot be had for this parameter.
        """
        return self


class VectorSet(ConstraintSet):
    """A set whose oracle takes the entries of a parameter as a vector; the same code serves one row and many.

    Along the last dimension torch computes for each of many rows what it computes for a row by itself, to the bit, in
    operations on entries that are rounded in one way, in sums, norms, maxima, sorting and choosing. (Powers and
    exponentials are evaluated by other code at the end of a tensor than in its bulk, and matrix products by code that
    depends on the address.)
    """

    @abstractmethod
    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        """`lmo` of vectors (..., numel) along the last dimension, for parameters of that shape."""

    def lmo(self, g: Tensor) -> Tensor:
        return self._vertex(g.reshape(-1), g.shape).view_as(g)

    def lmo_rows(self, G: Tensor) -> Tensor:
        return self._vertex(as_vectors(G), G.shape[1:]).view_as(G)


def per_row(numbers: Sequence[float], X: Tensor) -> Tensor:
    """One number for each row of X (rows, *shape), (rows, 1, ...): to be combined with X."""
    return X.new_tensor(numbers).view(-1, *[1] * (X.ndim - 1))


def as_vectors(X: Tensor) -> Tensor:
    """(rows, numel) of (rows, *shape), the entries of each row one after the other in memory."""
    return with_rows(X.reshape(len(X), -1))


def with_rows(X: Tensor) -> Tensor:
    """X (rows, *shape) itself where each row is contiguous, else a copy: bits of sums depend on the order in memory."""
    return X if X[0].is_contiguous() else X.contiguous()


Radius = float | str | Callable[[str, tuple[int, ...]], float]


def check_radius(radius: Radius) -> None:
    """Raises ValueError unless `radius` is a number above 0, "auto*V" with such a V, or a function."""
    number = auto_multiple(radius) if isinstance(radius, str) else radius
    if callable(number):
        return
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < math.inf:
        raise ValueError(
            f'radius must be a number above 0, "auto*V" with such a V, or a function of (name, shape), got {radius!r}'
        )


def auto_multiple(radius: str) -> float | None:
    """V of "auto*V"; None for any other string."""
    match = _AUTO.fullmatch(radius.replace(" ", ""))
    return None if match is None else float(match[1])


@dataclass(frozen=True)
class Scaled(ConstraintSet):
    """A set that grows in proportion to its radius: C = radius C_1.

    Args:
        radius: a number above 0, ``"auto*V"`` with a number V above 0, or a function of (name, shape).

    Raises:
        ValueError: for any other radius.
    """

    radius: Radius

    def __post_init__(self) -> None:
        check_radius(self.radius)

    @property
    def r(self) -> float:
        """The radius as a number."""
        if isinstance(self.radius, (int, float)):
            return float(self.radius)
        raise ValueError(
            f"radius {self.radius!r} has to be resolved from the parameter it is for: build the optimizer with "
            "for_model(model, ...), or give a number"
        )

    def resolve(self, place: Place) -> Self:
        """The set with a number for a radius; "auto*V" gives the L2 diameter 2 V E||initial value||."""
        if callable(self.radius):
            return dataclasses.replace(self, radius=self.radius(place.name, place.shape))
        if not isinstance(self.radius, str):
            return self
        multiple = auto_multiple(self.radius)
        assert multiple is not None
        wanted = 2 * multiple * initial_norm(place, self.radius)
        unit = dataclasses.replace(self, radius=1.0).diameter(place.shape)
        if unit <= 0:
            raise ValueError(f"radius {self.radius!r}: the set is a single point for the shape {place.shape}")
        return dataclasses.replace(self, radius=wanted / unit)


@dataclass(frozen=True)
class NormBall(Scaled):
    """{x : norm(x) <= radius}, symmetric around zero."""

    @abstractmethod
    def norm(self, x: Tensor) -> Tensor:
        """The norm whose ball this is: a scalar tensor."""

    def violation(self, x: Tensor) -> float:
        return excess(self.norm(x.detach().double()) - self.r)


def as_matrix(x: Tensor) -> Tensor:
    """The matrix that a parameter is: itself in two dimensions, (out, in*k*k) for convolutions, a column else.

    >>> as_matrix(torch.zeros(8, 4, 3, 3)).shape, as_matrix(torch.zeros(5)).shape
    (torch.Size([8, 36]), torch.Size([5, 1]))
    """
    return x.reshape(matrix_shape(x.shape))


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """The shape of :func:`as_matrix` of a tensor of that shape."""
    if len(shape) < 2:
        return math.prod(shape), 1
    return shape[0], math.prod(shape[1:])


def stable_norm(x: Tensor, dim: int | None = None) -> Tensor:
    """The L2 norm, also where squares would overflow or vanish; 0 for the zero tensor.

    Squares are summed in float64: torch's own sum over 10**7 entries of float32 is off by up to 4e-4.
    """
    if x.dtype != torch.float64:
        precise: Tensor = torch.linalg.vector_norm(x, dim=dim, dtype=torch.float64)
        return precise.to(x.dtype)
    largest = x.abs().amax() if dim is None else x.abs().amax(dim, keepdim=True)
    scale = nonzero(largest)
    norm: Tensor = torch.linalg.vector_norm(x / scale, dim=dim) * (scale if dim is None else scale.squeeze(dim))
    return norm


def nonzero(norm: Tensor) -> Tensor:
    """The same, with 1 for 0: a divisor that leaves zero vectors what they are."""
    return torch.where(norm == 0, torch.ones_like(norm), norm)


def excess(*amounts: Tensor) -> float:
    """The largest of all entries of all amounts, 0 where none is above 0, NaN where one is NaN."""
    worst = float(torch.stack([amount.amax() for amount in amounts]).amax())
    return worst if not worst <= 0 else 0.0


_LINEAR = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_NORMALISATION = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def initial_norm(place: Place, radius: str = "auto") -> float:
    """The L2 norm that a parameter is expected to start with, from the kind and shapes of the module that owns it.

    Linear and convolution layers start uniformly in +-1/sqrt(fan_in), weights and biases: sqrt(numel/(3
    fan_in)). The weights of normalisation layers start at one, their biases at zero. Another module may offer
    a method ``initial_norm(param_name) -> float``. The parameter's value is not read.

    Raises:
        ValueError: when the norm is zero or not known.
    """
    module = place.module
    if module is None:
        raise ValueError(
            f"radius {radius!r} is resolved from the module that owns the parameter: build the optimizer with "
            "for_model(model, ...), or give a number"
        )
    own = getattr(module, "initial_norm", None)
    if callable(own):
        norm = float(own(place.attribute))
    elif isinstance(module, _LINEAR):
        fan_in = module.weight[0].numel()  # torch counts the same entries for transposed convolutions
        norm = math.sqrt(place.numel / (3 * fan_in))
    elif isinstance(module, _NORMALISATION):
        norm = math.sqrt(place.numel) if place.attribute == "weight" else 0.0
    else:
        raise ValueError(
            f"radius {radius!r}: how {type(module).__name__}.{place.attribute} is initialised is not known: give the "
            "radius as a number"
        )
    if not norm > 0:
        raise ValueError(
            f"radius {radius!r}: {type(module).__name__}.{place.attribute} starts at zero, so that it has no scale: "
            "give the radius as a number"
        )
    return norm
