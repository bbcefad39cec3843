"""D2 takes W as it is: where lambda_min(W) < -1/3 small steps diverge, and the run is warned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gossipsim
from gossipsim.results import Run


def _run(folder: Path, topology: str, weights: str, strategy: str = "D2") -> Run:
    config: dict[str, Any] = {
        "name": "unstable",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 3, "condition": 1.0}},
                "models": ["gossipsim.models.Vector"],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": 0.05}}],
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
