"""Display names as people know them from gossip-fw-bench work everywhere a name shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gossipsim
from gossipsim import report
from gossipsim.results import write_tables

NAMES = ["SFW-L2(r=auto*5,step=harmonic)", "SFW-Linf(r=auto*5,step=harmonic)", "SGD(lr=0.1)"]


def _optimizer(name: str) -> dict[str, Any]:
    if name.startswith("SGD"):
        return {"class": "torch.optim.SGD", "params": {"lr": 0.1}, "name": name}
    kind = name.removeprefix("SFW-").partition("(")[0]
    ball = {"class": f"gossipsim.optim.constraints.{kind}", "params": {"radius": "auto*5"}}
    params = {"constraint": ball, "step_size": "harmonic"}
    return {"class": "gossipsim.optim.StochasticFrankWolfe", "params": params, "name": name}


def test_names_from_config_to_report(tmp_path: Path) -> None:
    config = {
        "name": "names",
        "tasks": [
            {
                "task": {
                    "class": "gossipsim.tasks.DigitsSupervisedTask",
                    "params": {"train_size": 200, "val_size": 50},
                },
                "models": ["gossipsim.models.LogisticRegression"],
                "optimizers": [_optimizer(name) for name in NAMES],
            }
        ],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": {"epochs": 2}},
    }
    results = gossipsim.run(config, workflow=tmp_path)
    assert [run.status for run in results.runs] == ["complete"] * 3
    assert [run.labels["optimizer"] for run in results.runs] == NAMES
    write_tables(results)
    table = (results.directory / "results.csv").read_text()
    page = report.build(results.directory).read_text()
    for name in NAMES:
        assert f'"{name}"' in table or f",{name}," in table
        assert name in page
    assert all("*" not in str(run.directory.relative_to(tmp_path)) for run in results.runs)
