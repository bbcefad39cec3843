"""A check that runs in every simulation: where the columns of W sum to one, an exchange keeps the mean of all rows.

A fixed direction r of random signs is as good a witness as all columns are: r^T x_i is summed over the nodes before and
after an exchange. What differs by more than rounding was damaged on its way, or changed while it was under way, and
results that look right would be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from gossipsim.network import Matrix
from gossipsim.world import World

EVERY = 50
"""Rounds from one check to the next; it reads the rows a few times."""

ROUNDINGS = 100
"""How many times the error of rounding, which grows like the root of its terms, may be exceeded."""

_WIDE = 1 << 16
"""Numbers that are looked at in double precision at once."""


class MeanMoved(RuntimeError):
    """An exchange has not kept the mean of all rows."""


class Conservation:
    """Watches one exchange in every EVERY rounds, and tells at the next :meth:`check`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._round = -1
        self._seen: torch.Tensor | None = None

    def is_due(self, round_: int, W: Matrix) -> bool:
        """Whether the coming exchange is one to watch: the first of its round, with a W whose columns sum to one."""
        if round_ % EVERY or round_ == self._round or self._world.nodes == 1:
            return False
        self._round = round_
        return bool(np.abs(np.asarray(W.sum(axis=0)) - 1.0).max() < 1e-9)

    def watch(self, X: torch.Tensor, sent: torch.Tensor) -> Callable[[torch.Tensor], None]:
        """Looks at the hosted rows before an exchange, and at what is sent of them; what it returns, at the result.

        All are (n, d).
        """
        before, rounding = _along(X), torch.finfo(X.dtype).eps
        sizes = sum(torch.linalg.vector_norm(rows, dim=1).cpu().double().square() for rows in (X, sent))

        def look(mixed: torch.Tensor) -> None:
            self._seen = torch.stack([_along(mixed) - before, sizes * rounding**2], dim=1)

        return look

    def check(self) -> None:
        """Compares what has been seen, on all processes together.

        Raises:
            MeanMoved: where the mean was not kept.
        """
        if self._seen is None:
            return
        table, self._seen = self._world.table(self._seen, self._world.nodes), None
        moved, size = table.sum(0).tolist()
        expected = math.sqrt(size)
        if math.isfinite(moved) and abs(moved) > ROUNDINGS * expected:
            raise MeanMoved(
                f"round {self._round}: an exchange moved the mean of all rows {abs(moved) / expected:.2g} times as far "
                "as rounding does, though the columns of W sum to one: messages were damaged, or rows changed under way"
            )


def _along(X: torch.Tensor) -> torch.Tensor:
    """r^T x_i of the rows of X (n, d), (n,) float64 on the CPU."""
    along = torch.zeros(len(X), dtype=torch.float64, device=X.device)
    signs = _signs(X.shape[1]).to(X.device)
    for some, r in zip(torch.split(X, _WIDE, dim=1), torch.split(signs, _WIDE), strict=True):
        height = max(1, _WIDE // max(len(r), 1))
        for few, sums in zip(torch.split(some, height), torch.split(along, height), strict=True):
            sums.add_(few.double() @ r.double())
    return along.cpu()


@lru_cache(maxsize=4)
def _signs(d: int) -> torch.Tensor:
    stream = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (d,), generator=stream, dtype=torch.int8).mul_(2).sub_(1)
