"""examples/extend, used as its README says: run, on one process and on two, and put through the laws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gossipsim
from gossipsim import testing

FOLDER = Path(__file__).parents[2] / "examples" / "extend"
SHORT = {"trainer.params.epochs": 2}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The example's experiment, shortened, as a dict: the working directory is the import path then."""
    monkeypatch.chdir(FOLDER)
    experiment: dict[str, Any] = json.loads((FOLDER / "experiment.json").read_text())
    experiment["trainer"]["params"]["epochs"] = 2
    return experiment


def test_it_runs_on_one_process_and_on_two_with_the_same_bytes(tmp_path: Path) -> None:
    alone, packed = (
        gossipsim.run(FOLDER / "experiment.json", processes=p, overrides=SHORT, workflow=tmp_path / str(p))
        for p in (1, 2)
    )
    assert [run.status for run in alone.runs] == ["complete", "complete"]
    assert [testing.fingerprint(run) for run in packed.runs] == [testing.fingerprint(run) for run in alone.runs]
    assert {"test_loss", "test_absolute_error", "local_test_absolute_error_worst"} <= set(alone.runs[0].history[-1])


def test_it_learns(tmp_path: Path) -> None:
    results = gossipsim.run(FOLDER / "experiment.json", workflow=tmp_path)
    for run in results.runs:
        assert run.history[-1]["train_loss"] < 0.6 * run.history[0]["train_loss"]


def test_the_strategy_obeys_the_laws(config: dict[str, Any]) -> None:
    testing.layout(config, processes=(1, 3))
    testing.light_cone(config, node=2)
    testing.traffic(config)
    testing.mean_preservation(config)


def test_one_node_without_momentum_is_a_plain_loop(config: dict[str, Any]) -> None:
    config["strategy"]["params"]["beta"] = 0.0
    testing.degenerate(config)


def test_a_typo_is_explained(config: dict[str, Any]) -> None:
    config["strategy"] = {"class": "my_parts.RelaxedGosip", "params": {}}
    config["partition"] = {"class": "my_parts.ByTarget", "params": {"alpha": 0.1}}
    with pytest.raises(gossipsim.ConfigError) as error:
        gossipsim.run(config)
    assert "did you mean 'RelaxedGossip'" in str(error.value)
    assert "my_parts.ByTarget takes no 'alpha'" in str(error.value)
