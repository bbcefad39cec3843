"""Where theory says that a run diverges, it is warned: D2 where lambda_min(W) < -1/3, SGD where lr is too large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gossipsim
from gossipsim.results import Run


def _run(folder: Path, topology: str, weights: str, strategy: str = "D2", sgd: dict[str, float] | None = None) -> Run:
    config: dict[str, Any] = {
        "name": "unstable",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 3, "condition": 1.0}},
                "models": ["gossipsim.models.Vector"],
                "optimizers": [{"class": "torch.optim.SGD", "params": sgd or {"lr": 0.05}}],
            }
        ],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": 400, "batch_size": None, "dtype": "float64", "eval_every": 50},
        },
        "network": {"nodes": 8, "topology": f"gossipsim.network.{topology}", "weights": f"gossipsim.network.{weights}"},
        "strategy": f"gossipsim.strategies.{strategy}",
    }
    (run,) = gossipsim.run(config, workflow=folder).runs
    return run


@pytest.mark.parametrize(
    ("topology", "weights", "strategy", "stable"),
    [
        ("hypercube", "MetropolisHastings", "D2", False),  # lambda_min = -1/2
        ("hypercube", "Lazy", "D2", True),
        ("ring", "MetropolisHastings", "D2", True),  # lambda_min = -1/3, just within
        ("hypercube", "MetropolisHastings", "ExactDiffusion", True),
        ("hypercube", "MetropolisHastings", "EXTRA", True),
    ],
)
def test_stability(topology: str, weights: str, strategy: str, stable: bool, tmp_path: Path) -> None:
    run = _run(tmp_path, topology, weights, strategy)
    warned = [text for text in run.summary["warnings"] if "diverges with small steps" in text]
    assert len(warned) == (0 if stable else 1)
    if stable:
        assert run.last["consensus"] < 1e-12
        assert run.last["distance"] < 1e-6
    else:
        assert run.last["consensus"] > 1e6


@pytest.mark.parametrize(
    ("lr", "momentum", "strategy", "warned"),
    [
        (1.9, 0.0, "GossipThenLocal", False),  # |1 - a| < 1 up to a = 2
        (2.1, 0.0, "GossipThenLocal", True),
        (2.1, 0.9, "GossipThenLocal", False),  # what momentum allows is not known for every strategy
        (0.65, 0.0, "LocalAndGossip", False),  # |lambda_min - a| < 1 with lambda_min = -1/3
        (0.7, 0.0, "LocalAndGossip", True),
        (2.1, 0.0, "AllReduce", True),
    ],
)
def test_a_step_size_that_is_known_to_be_too_large(
    lr: float, momentum: float, strategy: str, warned: bool, tmp_path: Path
) -> None:
    run = _run(tmp_path, "ring", "MetropolisHastings", strategy, {"lr": lr, "momentum": momentum})
    said = [text for text in run.summary["warnings"] if "largest stable step" in text]
    assert len(said) == warned
    if warned:
        assert f"lr = {lr:g} is more than" in said[0]
        assert run.last["consensus"] + run.last["distance"] > 1e3
    elif not momentum:
        assert run.last["distance"] < 1e2
