"""Iterates of constrained methods stay in their sets while a network is trained, and starts are made feasible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gossipsim
from gossipsim.models import CNN
from gossipsim.optim import AdaGradSFW, FrankWolfe, ProjectedSGD, StochasticFrankWolfe
from gossipsim.optim.constraints import (
    L1,
    L2,
    ByShape,
    ColumnNormBall,
    ConstraintSet,
    GroupL1,
    KNormBall,
    KSparsePolytope,
    Linf,
    Lp,
    NuclearBall,
    RowNormBall,
    Scaled,
    SpectralBall,
)
from gossipsim.tasks import DigitsSupervisedTask

EPOCHS, BATCH = 5, 32

BALLS: dict[str, ConstraintSet] = {
    "L1": L1("auto*5"),
    "L2": L2("auto*2"),
    "Linf": Linf("auto*2"),
    "Lp": Lp("auto*2", p=3),
    "K-sparse": KSparsePolytope("auto*2", k=0.1),
    "K-norm": KNormBall("auto*2", k=5),
    "group L1": GroupL1("auto*5"),
    "nuclear": NuclearBall("auto*5"),
    "spectral": SpectralBall("auto*2"),
    "spectral, fast": SpectralBall("auto*2", "exact_fast"),
    "rows": RowNormBall("auto*2"),
    "columns": ColumnNormBall("auto*2"),
}


def _train(optimizer: Any, model: torch.nn.Module) -> float:
    """Five epochs of the digits; the largest violation after any step, relative to the radius."""
    inputs, targets = DigitsSupervisedTask().train.tensors
    order = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs), generator=order).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            for p, one in optimizer.constraints():
                if isinstance(one, Scaled):
                    worst = max(worst, one.violation(p.detach()) / one.r)
    return worst


def _cnn() -> CNN:
    torch.manual_seed(0)
    return CNN((1, 8, 8), 10, channels=[4, 8], hidden=16)


@pytest.mark.parametrize("name", BALLS)
def test_stochastic_frank_wolfe_stays_inside(name: str) -> None:
    model = _cnn()
    worst = _train(StochasticFrankWolfe.for_model(model, BALLS[name], lr=0.2, rescale="gradient"), model)
    print(f"{name}: largest relative violation {worst:.1e}")
    assert worst <= 2e-6


@pytest.mark.parametrize(
    "make",
    [
        lambda model: FrankWolfe.for_model(model, Linf(0.3)),
        lambda model: AdaGradSFW.for_model(model, L2("auto*2"), lr=0.05),
        lambda model: ProjectedSGD.for_model(model, ByShape(SpectralBall(1.0), L2(1.0)), lr=0.2, momentum=0.9),
    ],
    ids=["Frank-Wolfe", "AdaGradSFW", "projected SGD"],
)
def test_other_methods_stay_inside(make: Any) -> None:
    model = _cnn()
    worst = _train(make(model), model)
    assert worst <= 2e-6


def test_the_sets_are_felt() -> None:
    """The same training without a set ends outside: the tests above are not about points in the middle."""
    model = _cnn()
    inside = ProjectedSGD.for_model(model, ByShape(SpectralBall(1.0), L2(1.0)), lr=0.2, momentum=0.9)
    sgd = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    sgd.constraints = inside.constraints  # type: ignore[attr-defined]
    assert _train(sgd, model) > 0.5


def _config(radius: float, **trainer: Any) -> dict[str, Any]:
    ball = {"class": "gossipsim.optim.constraints.L2", "params": {"radius": radius}}
    optimizer = {"class": "gossipsim.optim.StochasticFrankWolfe", "params": {"constraint": ball}}
    return {
        "name": "feasible",
        "tasks": [
            {
                "task": "gossipsim.tasks.DigitsSupervisedTask",
                "models": [{"class": "gossipsim.models.MLP", "params": {"hidden": [8]}}],
                "optimizers": [optimizer],
            }
        ],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": {"steps": 10} | trainer},
        "network": {"nodes": 3},
    }


def test_a_start_outside_is_projected_and_said_so(tmp_path: Path) -> None:
    (run,) = gossipsim.run(_config(0.5, log={"feasibility": 1, "fw_gap": 5}), workflow=tmp_path / "small").runs
    assert run.history[0]["feasibility"] <= 1e-6
    assert any("start was not feasible and was projected" in text for text in run.summary["warnings"])
    assert [record["feasibility"] <= 1e-6 for record in run.steps if "feasibility" in record] == [True] * 11
    assert [record["step"] for record in run.steps if "fw_gap" in record] == [0, 5, 10]
    assert run.steps[-1]["fw_gap"] == run.history[-1]["fw_gap"] > 0
    (run,) = gossipsim.run(_config(50.0), workflow=tmp_path / "large").runs
    assert not run.summary["warnings"]


def test_unconstrained_parameters_have_no_gap(tmp_path: Path) -> None:
    config = _config(0.5)
    params = config["tasks"][0]["optimizers"][0]["params"]
    sets = {"matrices": params["constraint"], "others": "gossipsim.optim.constraints.Unconstrained"}
    sets["others"] = {"class": sets["others"]}
    params["constraint"] = {"class": "gossipsim.optim.constraints.ByShape", "params": sets}
    (run,) = gossipsim.run(config, workflow=tmp_path).runs
    assert run.status == "complete", run.error
    assert run.history[-1]["fw_gap"] > 0
