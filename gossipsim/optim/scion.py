"""Scion: steps towards the answer of a linear minimisation oracle that fits the layer; constrained and not.

    d <- mu d + (1 - mu) g                       from zero
    constrained:     W <- (1 - lr) W + lr lmo(d)
    unconstrained:   W <- W + lr lmo(d)

**momentum is mu, the weight of the old value**, as in all of this package; the paper's alpha, which is the authors'
``momentum``, is 1 - mu: their 0.1 is 0.9 here. Their code started d at zero until February 2026 and starts it at the
first gradient since.

The oracle of a ball of radius rho in the layer's norm; `in` and `out` are the layer's widths:

| norm        | answer for rho = 1, up to sign        | set                                | for                       |
|-------------|---------------------------------------|------------------------------------|---------------------------|
| Spectral    | sqrt(out/in) U V^T                    | SpectralBall(rho sqrt(out/in))     | linear layers             |
|             | sqrt(out/in)/k^2 U V^T, (out, in k^2) | SpectralBall(rho sqrt(out/in)/k^2) | conv layers: SpectralConv |
| SpectralMax | max(1, sqrt(out/in)) U V^T            | SpectralBall(rho max(1, ...))      | the input layer           |
| Sign        | sign(g)/in                            | Linf(rho/in)                       | the output layer          |
| ColNorm     | sqrt(out) g_j/||g_j||, columns        | ColumnNormBall(rho sqrt(out))      | the input layer           |
| RowNorm     | g_i/(||g_i|| sqrt(in)), rows          | RowNormBall(rho/sqrt(in))          | the output layer          |
| Embedding   | sqrt(out) g_i/||g_i||, rows           | RowNormBall(rho sqrt(out))         | (tokens, out): ColNorm^T  |
| BiasRMS     | g/rms(g)                              | L2(rho sqrt(numel))                | biases, gains             |

One node: the cited method, with an exact orthogonalisation; the authors' Newton-Schulz steps leave the ball by up to
20 % (``method="newton_schulz"``). Scion with a SpectralBall(rho) is Muon without Nesterov: lr there times weight decay
is lr here, and its c/wd is rho. In a network: as for Muon, behind gradient tracking where the nodes differ.

Pethick, Xie, Antonakopoulos, Zhu, Silveti-Falls, Cevher, Training Deep Learning Models with Norm-Constrained LMOs,
ICML 2025, arXiv 2502.07529; radii and recipes from https://github.com/LIONS-EPFL/scion.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from torch import Tensor, nn

from gossipsim.optim.constrained import Block, Member, Params, Sets
from gossipsim.optim.constraints import L2, ColumnNormBall, ConstraintSet, Linf, RowNormBall, SpectralBall
from gossipsim.optim.constraints.base import matrix_shape
from gossipsim.optim.lmo_based import LmoOptimizer
from gossipsim.optim.muon import weight_matrices
from gossipsim.optim.orthogonalize import Method

Role = Literal["input", "hidden", "output", "embedding", "vector"]
Norm = Literal["Spectral", "SpectralMax", "Sign", "ColNorm", "RowNorm", "Embedding", "BiasRMS"]


def _gain(shape: Sequence[int]) -> float:
    """sqrt(out/in), over the number of positions of a convolution's kernel."""
    return math.sqrt(shape[0] / shape[1]) / math.prod(shape[2:])


_NORMS: dict[str, Callable[[Sequence[int], float, Method], ConstraintSet]] = {
    "Spectral": lambda shape, rho, method: SpectralBall(rho * _gain(shape), method),
    "SpectralMax": lambda shape, rho, method: SpectralBall(rho * max(1.0, _gain(shape)), method),
    "Sign": lambda shape, rho, _: Linf(rho / matrix_shape(shape)[1]),
    "ColNorm": lambda shape, rho, _: ColumnNormBall(rho * math.sqrt(shape[0])),
    "RowNorm": lambda shape, rho, _: RowNormBall(rho / math.sqrt(matrix_shape(shape)[1])),
    "Embedding": lambda shape, rho, _: RowNormBall(rho * math.sqrt(matrix_shape(shape)[1])),
    "BiasRMS": lambda shape, rho, _: L2(rho * math.sqrt(math.prod(shape))),
}


def scion_set(norm: Norm, shape: Sequence[int], radius: float = 1.0, method: Method = "exact_fast") -> ConstraintSet:
    """The ball of that radius in one of Scion's norms, for a parameter of that shape; see the top of this module.

    Raises:
        ValueError: for an unknown norm, and a matrix norm for a vector.

    >>> scion_set("Sign", (10, 64), radius=16.0)
    Linf(radius=0.25)
    """
    _check_norm("norm", norm)
    if len(shape) < 2 and norm != "BiasRMS":
        raise ValueError(
            f'norm {norm!r} is for matrices, and this is a parameter of the shape {tuple(shape)}: "BiasRMS"'
        )
    return _NORMS[norm](shape, radius, method)


def _check_norm(field: str, norm: object) -> None:
    if norm not in _NORMS:
        raise ValueError(f"{field} must be one of {', '.join(map(repr, _NORMS))}, got {norm!r}")


@dataclass(frozen=True)
class _Recipe:
    radius: float
    output_radius: float
    norms: Mapping[Role, Norm]


_COMMON: dict[Role, Norm] = {
    "input": "Spectral",
    "hidden": "Spectral",
    "output": "Sign",
    "embedding": "Embedding",
    "vector": "BiasRMS",
}
RECIPES = {
    "mlp": _Recipe(1.0, 1024.0, {**_COMMON, "input": "SpectralMax"}),
    "cnn": _Recipe(8.0, 128.0, _COMMON),
    "transformer": _Recipe(50.0, 3000.0, _COMMON),
}
"""The authors' choices: for an MLP lr = 2^-6 and momentum = 0.9, for a CNN 2^-4 and 0.5, for nanoGPT 2^-12 and 0.9."""


def scion_sets(
    model: nn.Module,
    recipe: Literal["auto", "mlp", "cnn", "transformer"] = "auto",
    radius: float | None = None,
    output_radius: float | None = None,
    norms: Mapping[Role, Norm] | None = None,
    method: Method = "exact_fast",
) -> list[ConstraintSet]:
    """A set for each trainable parameter of a model, in the order of ``named_parameters()``.

    The roles: "output" is the layer whose weight comes last, "embedding" are tables (nn.Embedding), "input" is the
    first other weight of two or more dimensions, "hidden" are the rest of those, "vector" is everything else.

    Args:
        recipe: of :data:`RECIPES`. "auto": "cnn" where a module is a convolution, "transformer" where one is an
            embedding or an attention, else "mlp".
        radius, output_radius: rho of the output layer and of all others; None: those of the recipe.
        norms: a norm per role, instead of the recipe's.
        method: how spectral balls orthogonalise.

    Raises:
        ValueError: for an unknown recipe, role or norm.

    >>> from gossipsim.models import MLP
    >>> scion_sets(MLP((1, 8, 8), 10, hidden=[16]), output_radius=32.0)  # doctest: +NORMALIZE_WHITESPACE
    [SpectralBall(radius=1.0, method='exact_fast'), L2(radius=4.0), Linf(radius=2.0), L2(radius=3.1622776601683795)]
    """
    if recipe not in ("auto", *RECIPES):
        raise ValueError(f"recipe must be one of 'auto', {', '.join(map(repr, RECIPES))}, got {recipe!r}")
    chosen = RECIPES[_kind(model) if recipe == "auto" else recipe]
    by_role = {**chosen.norms, **(norms or {})}
    for name, norm in by_role.items():
        if name not in chosen.norms:
            raise ValueError(f"norms: a role is one of {', '.join(map(repr, chosen.norms))}, got {name!r}")
        _check_norm(f"norms: the norm of {name!r}", norm)
    sizes = dict.fromkeys(by_role, chosen.radius if radius is None else radius)
    sizes["output"] = chosen.output_radius if output_radius is None else output_radius
    role = _roles(model)
    return [scion_set(by_role[role(p)], p.shape, sizes[role(p)], method) for p in model.parameters() if p.requires_grad]


def _kind(model: nn.Module) -> str:
    modules = list(model.modules())
    if any(isinstance(module, nn.modules.conv._ConvNd) for module in modules):
        return "cnn"
    tokens = (nn.Embedding, nn.MultiheadAttention)
    return "transformer" if any(isinstance(module, tokens) for module in modules) else "mlp"


def _roles(model: nn.Module) -> Callable[[nn.Parameter], Role]:
    matrices, output = weight_matrices(model)
    inner = set(matrices)
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}

    def role(p: nn.Parameter) -> Role:
        if p is output:
            return "output"
        if p in tables:
            return "embedding"
        if p not in inner:
            return "vector"
        return "input" if p is matrices[0] else "hidden"

    return role


class _Scion(LmoOptimizer):
    """What both have in common: sets from the layers, and momentum."""

    def __init__(self, params: Params, constraint: Sets, lr: float = 2**-8, momentum: float = 0.9) -> None:
        super().__init__(params, constraint, {"lr": lr, "momentum": momentum})

    @classmethod
    def for_model(
        cls,
        model: nn.Module,
        constraint: Sets | None = None,
        *,
        recipe: Literal["auto", "mlp", "cnn", "transformer"] = "auto",
        radius: float | None = None,
        output_radius: float | None = None,
        norms: Mapping[Role, Norm] | None = None,
        method: Method = "exact_fast",
        **params: Any,
    ) -> Self:
        """The optimizer of a model's trainable parameters, over :func:`scion_sets`, or over the sets that are given.

        Raises:
            ValueError: for a wrong recipe, and for sets together with a recipe.
        """
        given = (recipe, radius, output_radius, norms, method)
        if constraint is None:
            constraint = scion_sets(model, *given)
        elif given != ("auto", None, None, None, "exact_fast"):
            raise ValueError("constraint: sets are given, so that recipe, radius, norms and method have no meaning")
        return super().for_model(model, constraint, **params)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not 0 <= group["lr"] <= self._largest_lr():
            raise ValueError(f"lr must lie in [0, {self._largest_lr()}], got {group['lr']}")
        if not 0 <= group["momentum"] < 1:
            raise ValueError(
                f"momentum must lie in [0, 1), got {group['momentum']}: it is the weight of the old value, 1 - alpha"
            )

    def _update(self, block: Block) -> None:
        lr, momentum = block.group["lr"], block.group["momentum"]
        for member in block.members:
            if "momentum" not in member.state:
                member.state["momentum"] = member.x.new_zeros(member.x.shape)
            member.state["momentum"].lerp_(member.g, 1 - momentum)
            for part, _ in member._replace(g=member.state["momentum"]).parts():
                self._move(part, lr)

    @abstractmethod
    def _largest_lr(self) -> float:
        """The largest learning rate that makes sense."""

    @abstractmethod
    def _move(self, member: Member, lr: float) -> None:
        """Takes the step of one parameter along the oracle's answer to `member.g`."""


class Scion(_Scion):
    """Constrained Scion: W <- (1 - lr) W + lr lmo(d). The parameters stay in their sets.

    Args:
        params: tensors, or parameter groups.
        constraint: the feasible set of each parameter, a list with one set per parameter, or a rule that chooses by
            (name, shape). :meth:`for_model` chooses by the layers.
        lr: the paper's gamma, in [0, 1]; lr * radius is the length of a step. With 2^-8, momentum=0.5 and a linear
            decay to zero a CNN has 97 % of the held-out digits right after five epochs; 98 % with 2^-4 over the sets
            ByShape(SpectralBall(1.0), L2(1.0)).
        momentum: mu in [0, 1), the weight of the old value; 0.9 is the paper's alpha = 0.1.

    Raises:
        ValueError: for a parameter out of range.
    """

    def _largest_lr(self) -> float:
        return 1.0

    def _move(self, member: Member, lr: float) -> None:
        v = self._vertex(member)
        if v is None:
            member.x.add_(member.g, alpha=-lr)
        else:
            member.x.lerp_(v, lr)


class UnconstrainedScion(_Scion):
    """Unconstrained Scion: W <- W + lr lmo(d). The sets give the shape and the length of a step; none is feasible.

    `constraints()` is empty, and `fw_gap` is nan: there is no feasible set that it could be the gap of.

    Args:
        params, constraint, momentum: as for :class:`Scion`.
        lr: the paper's gamma; a step has the length lr * radius.

    Raises:
        ValueError: for a parameter out of range.
    """

    def constraints(self) -> list[tuple[Tensor, ConstraintSet]]:
        """Nothing: no parameter is constrained."""
        return []

    def _largest_lr(self) -> float:
        return math.inf

    def _move(self, member: Member, lr: float) -> None:
        member.x.add_(self._oracle(member), alpha=lr)
