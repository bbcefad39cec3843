"""What is unusual about a run, or has no effect, but is not refused: sentences, without the place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from gossipsim.network import Network
from gossipsim.spec import locate
from gossipsim.strategies import Claims, convergence_rate, stability_limit

MAX_EIGENVALUES = 500
"""Nodes up to which all eigenvalues of W are computed."""


def unlogged(requested: Iterable[str], task: Any) -> Iterator[str]:
    """Fields that `trainer.params.log` asks for, of sets that the task does not have."""
    for name in requested:
        split = name.split("_")[0]
        if split in ("val", "test") and getattr(task, split, None) is None:
            yield f"{name} is not logged: {type(task).__name__} has no {split} set"


def unstable(name: str, claims: Claims, network: Network) -> Iterator[str]:
    """An eigenvalue of W below what the strategy `name` can take."""
    bound = claims.lambda_min
    found = None if bound is None or network.period != 1 else network.certificate()["lambda_min"]
    if bound is not None and found is not None and found < bound - 1e-9:
        yield (
            f"lambda_min of W is {found:.4g}, and {name} diverges with small steps below {bound:.4g}; "
            "gossipsim.network.Lazy lifts it"
        )


def too_large(name: str, claims: Claims, network: Network, optimizer: dict[str, Any], task: Any) -> Iterator[str]:
    """A learning rate of plain SGD that is unstable for the strategy `name` on quadratics of the task's curvature."""
    params = optimizer.get("params", {})
    plain = optimizer["class"] == "torch.optim.SGD" and not params.get("momentum") and "schedule" not in optimizer
    eigenvalues = known_eigenvalues(claims, network)
    if not plain or eigenvalues is None or not hasattr(task, "curvature"):
        return
    lr = params.get("lr", torch.optim.SGD([torch.zeros(1)]).defaults["lr"])
    assert claims.characteristic is not None
    if convergence_rate(claims.characteristic, eigenvalues, lr * task.curvature) > 1 + 1e-9:
        limit = stability_limit(claims.characteristic, eigenvalues) / task.curvature
        yield (
            f"lr = {lr:g} is more than {limit:.4g}, the largest stable step of {name} here for quadratics of this "
            "curvature: expect the run to diverge"
        )


def known_eigenvalues(claims: Claims, network: Network) -> list[float] | None:
    """Those of W that decide which steps are stable; None where the theory is not known to us."""
    if claims.characteristic is None or network.period != 1 or network.nodes > MAX_EIGENVALUES:
        return None
    if claims.over != "graph":
        return [1.0]
    if not network.certificate()["symmetric"]:
        return None
    eigenvalues: list[float] = np.linalg.eigvalsh(network.matrix(0).toarray()).tolist()
    return eigenvalues


def untracked(name: str, claims: Claims, optimizer: str, data: Any) -> Iterator[str]:
    """Local oracles that the strategy `name` averages where the nodes differ; `data` is a partition or a task."""
    oracles = getattr(locate(optimizer), "lmo_based", False)
    if claims.exact_lmo is False and oracles and not getattr(data, "homogeneous", False):
        yield (
            f"{name} does not correct {optimizer} where nodes differ: steps of local linear minimisation oracles "
            "average to a wrong point, also on the complete graph; gossipsim.strategies.GradientTracking reaches the "
            "right one (DeFW, DeMuon)"
        )
