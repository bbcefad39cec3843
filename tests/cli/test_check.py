"""`gossipsim check`: gates of a configuration, and those that ship with the simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gossipsim
from gossipsim.checks import judge
from gossipsim.config import Gate, plan
from tests.cli.conftest import Workplace, config


def _gates(*gates: dict[str, Any]) -> dict[str, Any]:
    return config() | {"gates": list(gates)}


def test_passes_and_fails(place: Workplace) -> None:
    passing = {"metric": "train_loss", "threshold": 1e9, "name": "finite"}
    place.write("mine.json", _gates(passing))
    outcome = place.call("check", "mine.json", "--processes", "1")
    assert outcome.code == 0, outcome.out + outcome.err
    assert "PASS" in outcome.out
    (report,) = place.folder.rglob("check.md")
    assert "1 of 1 gates passed" in report.read_text()

    place.write("mine.json", _gates(passing, {"metric": "train_loss", "comparison": "<", "threshold": -1}))
    outcome = place.call("check", "mine.json", "--processes", "1")
    assert outcome.code == 1
    assert "FAIL" in outcome.out
    assert len(list(place.folder.rglob("check.md"))) == 2  # a gate judges a new run, never an old result


def test_json_says_the_same(place: Workplace) -> None:
    gates = _gates(
        {"metric": "train_loss", "threshold": 1e9, "name": "finite"},
        {"metric": "rounds_to_train_loss_1e+09", "threshold": 0},
        {"metric": "rounds_to_train_loss_-1", "threshold": 100},
    )
    place.write("mine.json", gates | {"targets": {"train_loss": [1e9, -1]}})
    outcome = place.call("check", "mine.json", "--processes", "1", "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)
    assert found["passed"] is False
    assert [gate["passed"] for gate in found["gates"]] == [True, True, False]
    assert found["gates"][1]["found"] == 0
    assert "has no rounds_to_train_loss_-1" in found["gates"][2]["reason"]
    assert (place.folder / found["directory"] / "check.md").is_file()


def test_nothing_to_check(place: Workplace) -> None:
    place.write("mine.json", config())
    outcome = place.call("check", "mine.json")
    assert outcome.code == 2
    assert '"gates"' in outcome.err
    assert not list(place.folder.rglob("exp_*"))


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"threshold": 1}, "gates[0].metric: missing"),
        ({"metric": "train_loss", "threshold": [1, 2]}, "gates[0]: '<=' takes one number as threshold"),
        ({"metric": "train_loss", "comparison": "between", "threshold": 1}, "'between' takes two numbers"),
        ({"metric": "train_loss", "comparison": "~", "threshold": 1}, "gates[0].comparison: expected"),
        ({"metric": "train_loss", "threshold": 1, "aggregate": "sum"}, "gates[0].aggregate: expected"),
        ({"metric": "train_loss", "threshold": 1, "were": {}}, "gates[0].were: unknown key (did you mean 'where'?)"),
    ],
)
def test_bad_gates(gate: dict[str, Any], message: str) -> None:
    with pytest.raises(gossipsim.ConfigError) as caught:
        plan(_gates(gate))
    assert message in str(caught.value)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> gossipsim.Results:
    """Four runs: two seeds with each of two strategies, on a quadratic."""
    described = {
        "name": "judged",
        "tasks": [
            {
                "task": "gossipsim.tasks.QuadraticTask",
                "models": ["gossipsim.models.Vector"],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": 0.1}, "name": "plain"}],
            }
        ],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"steps": 30, "eval_every": 10, "batch_size": None},
        },
        "network": {"nodes": 3},
        "seeds": [0, 1],
        "grid": {"strategy": ["gossipsim.strategies.LocalThenGossip", "gossipsim.strategies.GradientTracking"]},
    }
    return gossipsim.run(described, workflow=tmp_path_factory.mktemp("judged"))


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({}, 4),
        ({"optimizer": "plain"}, 4),
        ({"optimizer": "SGD"}, 4),
        ({"optimizer": "Adam"}, 0),
        ({"strategy": "GradientTracking"}, 2),
        ({"strategy": "gossipsim.strategies.GradientTracking", "seed": 1}, 1),
        ({"network.nodes": 3}, 4),
        ({"network.nodes": 4}, 0),
        ({"network.topology": "ring"}, 4),
    ],
)
def test_where_selects_runs(results: gossipsim.Results, where: dict[str, Any], count: int) -> None:
    (verdict,) = judge(results, [Gate(metric="train_loss", threshold=1e9, where=where)])
    assert verdict.runs == count
    assert verdict.passed == (count > 0)


def test_values_and_aggregates(results: gossipsim.Results) -> None:
    last = [run.last["distance"] for run in results.runs]
    best = [run.best["distance"] for run in results.runs]

    def verdict(**gate: Any) -> Any:
        return judge(results, [Gate(metric="distance", **gate)])[0]

    assert verdict(threshold=max(last)).passed
    assert not verdict(threshold=max(last) * 0.999).passed
    assert verdict(threshold=0).value == max(last)
    assert verdict(threshold=0, comparison=">=").value == min(last)
    assert verdict(threshold=0, aggregate="mean").value == pytest.approx(sum(last) / 4)
    assert verdict(threshold=0, value="best").value == max(best)
    assert verdict(threshold=[min(last), max(last)], comparison="between").passed
    assert not verdict(threshold=[min(last) * 1.001, max(last)], comparison="between").passed
    (without,) = judge(results, [Gate(metric="nothing", threshold=0)])
    assert not without.passed
    assert without.reason.endswith("has no nothing")


MEDIAN_VERSUS_MEAN = Path(__file__).parents[2] / "configs" / "experiments" / "median_versus_mean.json"


@pytest.mark.slow
def test_median_versus_mean(place: Workplace) -> None:
    outcome = place.call("check", str(MEDIAN_VERSUS_MEAN), "--processes", "1")
    assert outcome.code == 0, outcome.out + outcome.err
    verdicts = [line for line in outcome.out.splitlines() if "PASS" in line or "FAIL" in line]
    assert len(verdicts) == len(json.loads(MEDIAN_VERSUS_MEAN.read_text())["gates"])


def test_a_shipped_gate_can_fail(place: Workplace) -> None:
    """Without steps nothing has moved yet, and every gate notices."""
    outcome = place.call("check", str(MEDIAN_VERSUS_MEAN), "--processes", "1", "--set", "trainer.params.steps=1")
    assert outcome.code == 1
    assert "PASS" not in outcome.out
