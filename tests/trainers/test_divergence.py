"""A node that is not finite any more ends its run and is named with its step; the mean of all rows is watched."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gossipsim
from gossipsim.mixing import Mix, kernel
from gossipsim.nodes import Nodes
from gossipsim.results import Run
from gossipsim.strategies import LocalThenGossip

VICTIM, STEP = 5, 13


class Poisoned(LocalThenGossip):
    """Node 5's row becomes infinite after step 12, so that the loss of its step 13 is not finite."""

    def round(self, nodes: Nodes, mix: Mix) -> None:
        nodes.descend()
        mix.update(nodes.X)
        if nodes.step == STEP - 1 and VICTIM in nodes.ids:
            nodes.X[VICTIM - nodes.ids.start] = math.inf


class ChangesUnderWay(LocalThenGossip):
    """Writes to rows whose exchange has begun."""

    def round(self, nodes: Nodes, mix: Mix) -> None:
        under_way = mix.begin(nodes.X)
        nodes.descend()
        under_way.finish(nodes.X)


SGD: dict[str, Any] = {"class": "torch.optim.SGD", "params": {"lr": 0.1}}


QUADRATIC: dict[str, Any] = {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 4}}


def run_of(
    folder: Path,
    processes: int = 1,
    strategy: str = "Poisoned",
    optimizer: Any = SGD,
    task: Any = QUADRATIC,
    model: Any = "gossipsim.models.Vector",
    **trainer: Any,
) -> Run:
    config = {
        "name": "poison",
        "tasks": [{"task": task, "models": [model], "optimizers": [optimizer]}],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": 30, "log_every": 10, "eval_every": 15} | trainer,
        },
        "network": {"nodes": 8, "topology": "gossipsim.network.ring"},
        "strategy": f"{__name__}.{strategy}" if strategy in globals() else f"gossipsim.strategies.{strategy}",
    }
    (run,) = gossipsim.run(config, processes=processes, workflow=folder).runs
    return run


@pytest.mark.parametrize("engine", ["loop", "stacked"])
@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_node_is_named_not_its_victims(tmp_path: Path, processes: int, engine: str) -> None:
    run = run_of(tmp_path, processes, engine=engine)
    assert run.status == "diverged"
    assert run.summary["diverged"] == {"node": VICTIM, "step": STEP}
    assert run.history[-1]["step"] == run.summary["steps"] == 15  # the next record after it happened
    assert [record["step"] for record in run.steps] == [0, 10, 15]  # the last step has one, whatever its number
    assert set(run.steps[-1]) == {"step", "batch_loss", "consensus", "suboptimality", "distance"}
    assert run.steps[-1]["batch_loss"] is None


def test_without_an_evaluation_on_the_way_a_record_of_the_steps_ends_it(tmp_path: Path) -> None:
    run = run_of(tmp_path, eval_every=None)
    assert run.status == "diverged"
    assert run.summary["diverged"] == {"node": VICTIM, "step": STEP}
    assert run.history[-1]["step"] == run.steps[-1]["step"] == 20


@pytest.mark.parametrize("processes", [1, 2])
def test_it_can_go_on_to_the_end(tmp_path: Path, processes: int) -> None:
    run = run_of(tmp_path, processes, on_divergence="record")
    assert run.status == "diverged"
    assert run.summary["diverged"] == {"node": VICTIM, "step": STEP}
    assert run.summary["steps"] == run.history[-1]["step"] == 30
    assert run.history[-1]["train_loss"] is None
    assert [record["batch_loss"] is None for record in run.steps[1:]] == [False, True, True]


BALL = {"constraint": {"class": "gossipsim.optim.constraints.SpectralBall", "params": {"radius": 5.0}}}
FACTORISING = [
    {"class": "gossipsim.optim.FrankWolfe", "params": BALL},
    {"class": "gossipsim.optim.ProjectedSGD", "params": {"lr": 0.1} | BALL},
]


@pytest.mark.parametrize("optimizer", FACTORISING, ids=["FrankWolfe", "ProjectedSGD"])
@pytest.mark.parametrize(("engine", "processes"), [("loop", 1), ("stacked", 1), ("loop", 2)])
def test_oracles_that_cannot_factorise_nan_end_as_diverged(
    tmp_path: Path, optimizer: dict[str, Any], engine: str, processes: int
) -> None:
    centers = [[[float(i), 1.0], [0.0, 2.0]] for i in range(8)]
    task = {"class": "gossipsim.tasks.QuadraticTask", "params": {"centers": centers}}
    model = {"class": "gossipsim.models.Matrix", "params": {"rows": 2, "columns": 2}}
    run = run_of(tmp_path, processes, optimizer=optimizer, task=task, model=model, engine=engine)
    assert run.status == "diverged", run.error
    assert run.summary["diverged"] == {"node": VICTIM, "step": STEP}


def test_rows_that_change_under_way_are_noticed(tmp_path: Path) -> None:
    run = run_of(tmp_path, strategy="ChangesUnderWay")
    assert run.status == "failed"
    assert "moved the mean of all rows" in str(run.error)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_message_that_is_damaged_is_noticed(tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    combine: Callable[..., None] = kernel.combine

    def damaged(plan: Any, X: Tensor, arriving: Any, out: Tensor) -> None:
        combine(plan, X, arriving, out)
        out[0, 0] += 1e-3

    monkeypatch.setattr("gossipsim.mixing.mix.combine", damaged)
    run = run_of(tmp_path, processes, strategy="LocalThenGossip")
    assert run.status == "failed"
    assert "moved the mean of all rows" in str(run.error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_not_taken_for_damage(tmp_path: Path, dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    run = run_of(tmp_path, strategy="LocalThenGossip", dtype=name, steps=400, eval_every=None)
    assert run.status == "complete"
