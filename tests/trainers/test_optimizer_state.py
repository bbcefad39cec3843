"""`optimizer_state`: momentum stays with its node, or is averaged like the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import gossipsim
from gossipsim import testing
from gossipsim.tasks import QuadraticTask

NODES, DIM, ETA, BETA, STEPS = 5, 4, 0.05, 0.9, 12


def _config(
    policy: str, optimizer: Any = None, strategy: Any = "gossipsim.strategies.LocalThenGossip"
) -> dict[str, Any]:
    sgd = {"class": "torch.optim.SGD", "params": {"lr": ETA, "momentum": BETA}}
    trainer = {"steps": STEPS, "batch_size": None, "dtype": "float64", "optimizer_state": policy}
    return {
        "name": "state",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": DIM}},
                "models": [{"class": "gossipsim.models.Vector", "params": {"init": 1.0}}],
                "optimizers": [optimizer or sgd],
            }
        ],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": trainer},
        "network": {"nodes": NODES},
        "strategy": strategy,
    }


@pytest.mark.parametrize("policy", ["local", "mixed"])
@pytest.mark.parametrize("local_steps", [1, 5])
def test_momentum_against_a_recursion(policy: str, local_steps: int, tmp_path: Path) -> None:
    strategy = {"class": "gossipsim.strategies.LocalThenGossip", "params": {"local_steps": local_steps}}
    (run,) = gossipsim.run(_config(policy, strategy=strategy), workflow=tmp_path).runs
    task = QuadraticTask(dim=DIM, nodes=NODES)
    A, b = task.A.numpy(), task.b.numpy()
    W = (nx.to_numpy_array(nx.cycle_graph(NODES)) + np.eye(NODES)) / 3
    X, M = np.ones((NODES, DIM)), np.zeros((NODES, DIM))
    for step in range(1, STEPS + 1):
        G = np.einsum("nmd,nm->nd", A, np.einsum("nmd,nd->nm", A, X) - b)
        M = BETA * M + G
        X = X - ETA * M
        if step % local_steps == 0:  # the last, incomplete round is not mixed
            X = W @ X
            M = W @ M if policy == "mixed" else M
    assert np.abs(run.parameters() - X).max() < 1e-12
    rows = 2 if policy == "mixed" else 1
    assert run.history[-1]["bytes_sent"] == (STEPS // local_steps) * rows * 2 * NODES * DIM * 8


ADAM = {"class": "torch.optim.Adam", "params": {"lr": 0.05}}


@pytest.mark.parametrize("optimizer", [None, ADAM], ids=["SGD", "Adam"])
def test_layout(optimizer: Any) -> None:
    testing.layout(_config("mixed", optimizer), processes=(1, 2, 5))


def test_surplus_ranks_have_no_state_to_mix() -> None:
    config = _config("mixed")
    config["grid"] = {"network.nodes": [2, 5]}
    testing.layout(config, processes=(1, 4))


def test_only_two_policies(tmp_path: Path) -> None:
    with pytest.raises(gossipsim.ConfigError, match=r"optimizer_state: .*local.*mixed"):
        gossipsim.run(_config("averaged"), workflow=tmp_path)
