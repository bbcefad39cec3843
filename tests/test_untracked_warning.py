"""Local oracles that are averaged where nodes differ: said in `plan`, in the summary and so in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gossipsim
from gossipsim.cli import app
from tests.subjects import experiment

FRANK_WOLFE = "logistic regression, Frank-Wolfe"
IID = "gossipsim.data.IID"
DIRICHLET = {"class": "gossipsim.data.Dirichlet", "params": {"alpha": 0.5, "min_samples": 2}}


def _warned(config: dict[str, Any], folder: Path) -> bool:
    (run,) = gossipsim.run(config, workflow=folder).runs
    assert run.status == "complete", run.error
    found = [text for text in run.summary["warnings"] if "linear minimisation oracle" in text]
    assert len(found) <= 1
    return bool(found)


@pytest.mark.parametrize(
    ("learner", "strategy", "partition", "expected"),
    [
        (FRANK_WOLFE, "LocalThenGossip", DIRICHLET, True),
        (FRANK_WOLFE, "LocalAndGossip", DIRICHLET, True),
        (FRANK_WOLFE, "LocalThenGossip", IID, False),
        (FRANK_WOLFE, "GT-atc", DIRICHLET, False),
        (FRANK_WOLFE, "AllReduce", DIRICHLET, False),
        ("logistic task, Adam", "LocalThenGossip", DIRICHLET, False),
        ("MLP, stochastic Frank-Wolfe", "GossipThenLocal", DIRICHLET, True),
    ],
)
def test_where_it_is_said(learner: str, strategy: str, partition: Any, expected: bool, tmp_path: Path) -> None:
    config = experiment(learner, strategy, nodes=3, steps=2) | {"partition": partition}
    assert _warned(config, tmp_path) is expected


def test_one_node_has_nobody_to_differ_from(tmp_path: Path) -> None:
    config = experiment(FRANK_WOLFE, nodes=1, topology="complete", steps=2)
    assert not _warned(config, tmp_path)


@pytest.mark.parametrize(("centers", "expected"), [([0.0, 0.0, 3.0], True), ([1.0, 1.0, 1.0], False)])
def test_a_task_with_shards_of_its_own(centers: list[float], expected: bool, tmp_path: Path) -> None:
    config = experiment(FRANK_WOLFE, nodes=3, steps=2)
    config["tasks"] = [
        {
            "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"centers": centers}},
            "models": ["gossipsim.models.Vector"],
            "optimizers": config["tasks"][0]["optimizers"],
        }
    ]
    assert _warned(config, tmp_path) is expected


def test_plan_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    arguments = ["plan", "configs/experiments/lasso_defw.json"]
    output = CliRunner().invoke(app, arguments).output
    assert output.count("linear minimisation oracle") == 1
    assert "GradientTracking" in output
