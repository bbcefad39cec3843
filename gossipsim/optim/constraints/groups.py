"""Norms over groups of entries: the sum of their L2 norms, or the largest one for rows or columns of a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gossipsim.optim.constraints.base import NormBall, VectorSet, as_matrix, matrix_shape, nonzero, stable_norm
from gossipsim.optim.constraints.projection import clip_to_sum, project_rows_with, project_with

Groups = Literal["rows", "columns"] | int | Sequence[Sequence[int]]


@dataclass(frozen=True)
class GroupL1(VectorSet, NormBall):
    """The sum over groups of the group's L2 norm <= radius (group lasso).

    The oracle's answer is -radius g_G/||g_G|| in the first group with the largest ||g_G||; 0 for g = 0.

    Args:
        radius: as everywhere.
        groups: "rows" or "columns" of the parameter as a matrix (:func:`as_matrix`); an integer: so many
            consecutive entries each (the last group may be smaller); or lists of indices into the flat parameter,
            each index in one of them.

    Raises:
        ValueError: for other groups; by `diameter` and all else when lists of indices do not fit the parameter.

    >>> GroupL1(1.0, groups=2).lmo(torch.tensor([1.0, 0.0, 3.0, -4.0]))
    tensor([ 0.0000,  0.0000, -0.6000,  0.8000])
    """

    groups: Groups = "rows"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.groups
        if given in ("rows", "columns") or (isinstance(given, int) and not isinstance(given, bool) and given >= 1):
            return
        if isinstance(given, list | tuple) and given and all(isinstance(each, list | tuple) for each in given):
            indices = [k for each in given for k in each]
            whole = all(isinstance(k, int) and not isinstance(k, bool) for k in indices)
            if whole and all(given) and sorted(indices) == list(range(len(indices))):
                object.__setattr__(self, "groups", tuple(map(tuple, given)))
                return
        raise ValueError(
            'groups must be "rows", "columns", an integer >= 1, or lists that hold each of the indices 0, 1, ... once, '
            f"got {given!r}"
        )

    def _indices(self, shape: Sequence[int], device: torch.device | None = None) -> Tensor:
        """(groups, largest size): flat indices, padded by the first index after the parameter."""
        numel = math.prod(shape)
        if isinstance(self.groups, int):
            return torch.nn.functional.pad(
                torch.arange(numel, device=device), (0, -numel % self.groups), value=numel
            ).view(-1, self.groups)
        if isinstance(self.groups, str):
            matrix = torch.arange(numel, device=device).view(matrix_shape(shape))
            return matrix if self.groups == "rows" else matrix.T
        if sum(map(len, self.groups)) != numel:
            raise ValueError(
                f"groups hold {sum(map(len, self.groups))} indices, a parameter of the shape {tuple(shape)} {numel}"
            )
        longest = max(map(len, self.groups))
        return torch.tensor([[*each, *[numel] * (longest - len(each))] for each in self.groups], device=device)

    def _split(self, x: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The entries of vectors (..., numel) by group, (..., groups, largest size), padded by 0; their indices."""
        indices = self._indices(shape, x.device)
        return torch.nn.functional.pad(x, (0, 1))[..., indices], indices

    def norm(self, x: Tensor) -> Tensor:
        return stable_norm(self._split(x.reshape(-1), x.shape)[0], -1).sum()

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        entries, indices = self._split(g, shape)
        norms = stable_norm(entries, -1)
        best = norms.argmax(-1, keepdim=True)
        chosen = entries.take_along_dim(best.unsqueeze(-1), -2).squeeze(-2)
        values = chosen / nonzero(norms.gather(-1, best)) * -self.r
        padded = g.new_zeros(*g.shape[:-1], g.shape[-1] + 1).scatter_(-1, indices[best.squeeze(-1)], values)
        return padded[..., :-1].contiguous()

    def support(self, g: Tensor) -> Tensor:
        return self.r * stable_norm(self._split(g.reshape(-1), g.shape)[0], -1).amax()

    def project(self, x: Tensor) -> Tensor:
        """The group norms are projected onto the L1 ball, and the groups rescaled."""
        return project_with(self._nearest, x, self.violation(x) / self.r)

    def _nearest(self, x: Tensor) -> Tensor:
        entries, indices = self._split(x.reshape(-1), x.shape)
        norms = stable_norm(entries, -1)
        factors = clip_to_sum(norms, self.r, self.r)
        flat = x.new_zeros(x.numel() + 1)
        flat[indices] = entries / nonzero(norms).unsqueeze(1) * factors.unsqueeze(1)
        return flat[:-1].view(x.shape)

    def diameter(self, shape: Sequence[int]) -> float:
        self._indices(shape)
        return 2 * self.r


@dataclass(frozen=True)
class _LineNormBall(VectorSet, NormBall):
    """The L2 norm of every row (`along` = 1) or column (0) of the parameter as a matrix <= radius."""

    along: ClassVar[int]

    def _norms(self, matrix: Tensor) -> Tensor:
        """Of matrices (..., rows, columns), with the dimension that they are along as one of size 1."""
        return stable_norm(matrix, self.along - 2).unsqueeze(self.along - 2)

    def norm(self, x: Tensor) -> Tensor:
        return self._norms(as_matrix(x)).amax()

    def _vertex(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        matrix = g.view(*g.shape[:-1], *matrix_shape(shape))
        return (matrix / nonzero(self._norms(matrix))).mul_(-self.r).flatten(-2)

    def support(self, g: Tensor) -> Tensor:
        return self.r * self._norms(as_matrix(g)).sum()

    def project(self, x: Tensor) -> Tensor:
        return project_with(self._nearest, x, self.violation(x) / self.r)

    def _nearest(self, x: Tensor) -> Tensor:
        return self._shortened(as_matrix(x)).view(x.shape)

    def project_rows(self, X: Tensor) -> Tensor:
        def matrices(points: Tensor) -> Tensor:
            return points.reshape(len(points), *matrix_shape(X.shape[1:]))

        norms = self._norms(matrices(X.detach().double())).flatten(1).amax(1)
        return project_rows_with(
            lambda points: self._shortened(matrices(points)).view_as(points), X, (norms - self.r) / self.r
        )

    def _shortened(self, matrix: Tensor) -> Tensor:
        norms = self._norms(matrix)
        return torch.where(norms > self.r, matrix / nonzero(norms) * self.r, matrix)

    def diameter(self, shape: Sequence[int]) -> float:
        return 2 * self.r * math.sqrt(matrix_shape(shape)[1 - self.along])


@dataclass(frozen=True)
class RowNormBall(_LineNormBall):
    """Every row of the parameter as a matrix (:func:`as_matrix`) has an L2 norm <= radius; the ball Linf on vectors.

    The oracle's answer is -radius g_i/||g_i|| in every row, 0 where the row is 0.
    """

    along: ClassVar[int] = 1


@dataclass(frozen=True)
class ColumnNormBall(_LineNormBall):
    """Every column of the parameter as a matrix (:func:`as_matrix`) has an L2 norm <= radius; the ball L2 on vectors.

    The oracle's answer is -radius g_j/||g_j|| in every column, 0 where the column is 0.
    """

    along: ClassVar[int] = 0
