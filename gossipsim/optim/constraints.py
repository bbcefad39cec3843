"""Feasible sets: what a set C can do, and the norm balls L1, L2, Linf.

    lmo(g)     = argmin_{v in C} <g, v>       linear minimisation oracle; a feasible point, never NaN, at g =
    0 support(g) = max_{v in C} <g, v>          so <g, lmo(g)> = -support(-g), = -support(g) for symmetric
    sets project(x) = argmin_{v in C} ||v - x||_2

A tensor of any shape is one vector here: a set constrains a whole parameter. Sets are immutable and know
nothing of the parameters they are applied to, except that a radius may be given as ``"auto*V"``: V times the
L2 norm that the parameter is expected to start with. :meth:`ConstraintSet.resolve` turns it into a number
from the module that owns the parameter, looking at the module's kind and shapes only (no weight is read or
changed, nothing is drawn). With the same V all sets get the same L2 diameter: L1 has the radius of L2, Linf
radius/sqrt(numel).
Source: Pokutta, Spiegel, Zimmer, Deep Neural Network Training with Frank-Wolfe, 2020, arXiv 2010.07243.
"""

from __future__ import annotations

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_AUTO = re.compile(r"auto\*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)")


class ConstraintSet(ABC):
    """A convex compact set of tensors of one shape.

    A set defines `lmo`, `support`, `project`, `violation` and `diameter`; one that needs to know the
    parameter it is for also `resolve`.
    """

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
        """The largest L2 distance between two points of the set of tensors of that shape."""

    def contains(self, x: Tensor, tol: float = 1e-6) -> bool:
        """Whether `x` violates no defining inequality by more than `tol`; False where it holds a NaN."""
        return self.violation(x) <= tol

    def resolve(self, param_name: str, module: nn.Module) -> ConstraintSet:
        """This set for the parameter `param_name` of the module that owns it.

        Raises:
            ValueError: when an automatic radius cannot be had for this parameter.
        """
        return self


def _stable_norm(x: Tensor) -> Tensor:
    """The L2 norm, also where squares would overflow or vanish; 0 for the zero tensor."""
    largest = x.abs().amax()
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    norm: Tensor = torch.linalg.vector_norm(x / scale) * scale
    return norm


@dataclass(frozen=True)
class NormBall(ConstraintSet):
    """The ball of a norm around zero.

    Args:
        radius: a number above 0, or ``"auto*V"`` with a number V above 0.

    Raises:
        ValueError: for any other radius.
    """

    radius: float | str

    def __post_init__(self) -> None:
        number = self._multiple if isinstance(self.radius, str) else self.radius
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < math.inf:
            raise ValueError(f'radius must be a number above 0 or "auto*V" with such a V, got {self.radius!r}')

    @property
    def _multiple(self) -> float | None:
        """V of "auto*V"."""
        match = _AUTO.fullmatch(str(self.radius).replace(" ", ""))
        return None if match is None else float(match[1])

    @property
    def r(self) -> float:
        """The radius as a number."""
        if isinstance(self.radius, str):
            raise ValueError(
                f"radius {self.radius!r} has to be resolved from the module that owns the parameter: build the "
                "optimizer with for_model(model, ...), or give a number"
            )
        return float(self.radius)

    def resolve(self, param_name: str, module: nn.Module) -> NormBall:
        """The ball with the L2 diameter 2 V E||initial value||, where the radius is "auto*V"; else itself."""
        if not isinstance(self.radius, str):
            return self
        multiple = self._multiple
        assert multiple is not None
        l2_radius = multiple * initial_norm(param_name, module, self.radius)
        numel = getattr(module, param_name).numel()
        return dataclasses.replace(self, radius=self.from_l2_radius(l2_radius, numel))

    @abstractmethod
    def norm(self, x: Tensor) -> Tensor:
        """The norm whose ball this is."""

    def from_l2_radius(self, radius: float, numel: int) -> float:
        """The radius that gives this ball the L2 diameter of the L2 ball with `radius`, in `numel` dimensions."""
        return radius

    def violation(self, x: Tensor) -> float:
        excess = float(self.norm(x.detach().double())) - self.r
        return excess if not excess <= 0 else 0.0


@dataclass(frozen=True)
class L1(NormBall):
    """Sum of magnitudes <= radius. The oracle's answer has one entry: -radius sign(g_k) at the first largest |g_k|."""

    def norm(self, x: Tensor) -> Tensor:
        return x.abs().sum()

    def lmo(self, g: Tensor) -> Tensor:
        flat = g.reshape(-1)
        k = flat.abs().argmax(dim=0, keepdim=True)
        vertex = -torch.copysign(torch.full_like(flat[k], self.r), flat[k])
        return torch.zeros_like(flat).scatter(0, k, vertex).view(g.shape)

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.abs().amax()

    def project(self, x: Tensor) -> Tensor:
        """By sorting (Duchi et al., ICML 2008, figure 1), in float64."""
        if self.violation(x) <= 0:
            return x.clone()
        magnitude = x.reshape(-1).double().abs()
        below = magnitude - magnitude.amax()  # <= 0; so that huge entries do not swallow the radius
        largest = below.sort(descending=True).values
        excess = largest.cumsum(0) - self.r
        count = torch.arange(1, len(largest) + 1, device=x.device, dtype=torch.float64)
        last = (largest * count > excess).nonzero()[-1]
        shrunk = (below - excess[last] / count[last]).clamp(min=0).view(x.shape)
        return (shrunk * x.sign()).to(x.dtype)

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r


@dataclass(frozen=True)
class L2(NormBall):
    """Euclidean (Frobenius) norm <= radius. The oracle's answer is -radius g/||g||; 0 for g = 0."""

    def norm(self, x: Tensor) -> Tensor:
        return _stable_norm(x)

    def lmo(self, g: Tensor) -> Tensor:
        largest = g.abs().amax()
        direction = g / torch.where(largest > 0, largest, torch.ones_like(largest))
        norm = torch.linalg.vector_norm(direction)  # 1 ... sqrt(numel), or 0
        return direction * (-self.r / torch.where(norm > 0, norm, torch.ones_like(norm)))

    def support(self, g: Tensor) -> Tensor:
        return self.r * _stable_norm(g)

    def project(self, x: Tensor) -> Tensor:
        if self.violation(x) <= 0:
            return x.clone()
        precise = x.double()
        return (precise * (self.r / _stable_norm(precise))).to(x.dtype)

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r


@dataclass(frozen=True)
class Linf(NormBall):
    """Largest magnitude <= radius: a box. The oracle's answer is -radius sign(g), 0 where g is 0."""

    def norm(self, x: Tensor) -> Tensor:
        return x.abs().amax()

    def from_l2_radius(self, radius: float, numel: int) -> float:
        return radius / math.sqrt(numel)

    def lmo(self, g: Tensor) -> Tensor:
        return g.sign() * -self.r

    def support(self, g: Tensor) -> Tensor:
        return self.r * g.abs().sum()

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(-self.r, self.r)

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r * math.sqrt(math.prod(shape))


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


def initial_norm(param_name: str, module: nn.Module, radius: str = "auto") -> float:
    """The L2 norm that a parameter is expected to start with, from the kind and shapes of the module that owns it.

    Linear and convolution layers start uniformly in +-1/sqrt(fan_in), weights and biases: sqrt(numel/(3
    fan_in)). The weights of normalisation layers start at one, their biases at zero. Another module may offer
    a method ``initial_norm(param_name) -> float``. The parameter's value is not read.

    Raises:
        ValueError: when the norm is zero or not known.
    """
    numel = getattr(module, param_name).numel()
    own = getattr(module, "initial_norm", None)
    if callable(own):
        norm = float(own(param_name))
    elif isinstance(module, _LINEAR):
        fan_in = module.weight[0].numel()  # torch counts the same entries for transposed convolutions
        norm = math.sqrt(numel / (3 * fan_in))
    elif isinstance(module, _NORMALISATION):
        norm = math.sqrt(numel) if param_name == "weight" else 0.0
    else:
        raise ValueError(
            f"radius {radius!r}: how {type(module).__name__}.{param_name} is initialised is not known: give the "
            "radius as a number"
        )
    if not norm > 0:
        raise ValueError(
            f"radius {radius!r}: {type(module).__name__}.{param_name} starts at zero, so that it has no scale: give "
            "the radius as a number"
        )
    return norm
