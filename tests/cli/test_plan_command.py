"""`gossipsim plan`: what exists, what a run costs, and how long it will take."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import gossipsim
from gossipsim.estimate import kind_of
from gossipsim.parts import Parts
from tests.cli.conftest import DIGITS, SGD, Workplace, config

ADAM = {"class": "torch.optim.Adam", "name": "Adam", "tune": {"lr": [0.01, 0.1]}}


def _plan(place: Workplace, content: Any, *arguments: Any) -> dict[str, Any]:
    place.write("c.json", content)
    outcome = place.call("plan", "c.json", "--json", *arguments)
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def test_memory_rounds_and_bytes_by_hand(place: Workplace) -> None:
    """Adam on two processes of two nodes each: 4 rows, two moments and a step count per node; tracking keeps 2 rows."""
    tracking = {"class": "gossipsim.strategies.GradientTracking"}
    adam = {"class": "torch.optim.Adam"}
    loop = ("--set", "trainer.params.engine=loop")  # an optimizer, and a step count, for each node
    found = _plan(place, config(optimizer=adam, strategy=tracking), "--no-time", "--processes", 2, *loop)
    (cell,) = found["cells"]
    dim, row, count = 5, 5 * 8, 4
    data = sum(t.nbytes for t in Parts(_first_run(config(optimizer=adam))).task.train.tensors)
    state = 2 * row
    own = 4 * row + state + 2 * row + 4
    assert cell["cost"]["memory"] == 2 * own + row + data
    assert (cell["parameters"], cell["processes"]) == (dim, 2)
    assert (cell["cost"]["steps"], cell["cost"]["rounds"]) == (6, 6)
    assert cell["cost"]["bytes_sent"] == 6 * 2 * (2 * count) * row == found["bytes_sent"]
    assert cell["cost"]["seconds"] is found["seconds"] is None


def _first_run(content: Any) -> Any:
    from gossipsim.config import plan

    return plan(content).runs[0]


def test_planned_steps_rounds_and_bytes_are_those_of_the_run(place: Workplace) -> None:
    content = config(
        task=DIGITS,
        model="gossipsim.models.LogisticRegression",
        trainer={"class": "gossipsim.trainers.SupervisedTrainer", "params": {"epochs": 2, "batch_size": 16}},
        strategy={"class": "gossipsim.strategies.LocalThenGossip", "params": {"local_steps": 2}},
    )
    (cell,) = _plan(place, content, "--no-time")["cells"]
    assert place.run(content).code == 0
    last = gossipsim.load("wf").runs[0].history[-1]
    assert (cell["cost"]["steps"], cell["cost"]["rounds"]) == (last["step"], last["round"])
    assert cell["cost"]["bytes_sent"] == last["bytes_sent"]


def test_what_exists_is_counted(place: Workplace) -> None:
    content = config(seeds=[0, 1], grid={"optimizer.params.lr": [0.05, 0.1]})
    assert place.run(content, "--set", "optimizer.params.lr=0.05").code == 0
    assert [(c["complete"], c["missing"]) for c in _plan(place, content, "--no-time")["cells"]] == [(0, 2), (0, 2)]
    found = _plan(place, content, "--no-time", "--set", "grid.optimizer.params.lr=[0.05]", "--exp-id", 1)
    assert found["to_do"] == 2  # its label differs: the value is swept now
    place.run(content)
    found = _plan(place, content | {"seeds": [0, 1, 2]}, "--no-time", "--exp-id", 2)
    assert [(c["complete"], c["missing"]) for c in found["cells"]] == [(2, 1), (2, 1)]
    assert [c["cell"] for c in found["cells"]] == ["lr=0.05", "lr=0.1"]


def test_times_are_estimated_and_grow_with_the_work(place: Workplace) -> None:
    found = _plan(place, config(seeds=[0, 1], grid={"trainer.params.steps": [10, 1000]}))
    short, long = (cell["cost"]["seconds"] for cell in found["cells"])
    assert 0 < short < long < 60
    assert found["seconds"] == pytest.approx(2 * (short + long))
    assert found["untimed"] == 0
    halved = _plan(place, config(seeds=[0, 1], grid={"trainer.params.steps": [10, 1000]}), "--jobs", 2)
    assert halved["seconds"] < 2 * max(cell["cost"]["seconds"] for cell in halved["cells"])


def test_a_measurement_is_shared_by_runs_of_one_kind(place: Workplace) -> None:
    from gossipsim.config import plan

    def kinds(grid: dict[str, list[Any]]) -> int:
        return len({kind_of(run) for run in plan(config(grid=grid)).runs})

    same = {"network.topology": ["gossipsim.network.ring", "gossipsim.network.star"], "optimizer.params.lr": [1, 2]}
    assert kinds(same | {"trainer.params.steps": [1, 2]}) == 1
    assert kinds({"network.nodes": [2, 4], "trainer.params.batch_size": [1, 2]}) == 4
    assert kinds({"optimizer.params.nesterov": [True, False], "optimizer.params.momentum": [0.9]}) == 2


def test_a_strategy_that_breaks_does_not_end_the_plan(place: Workplace) -> None:
    place.write("c.json", config(strategy="mine.Breaks"))
    outcome = place.call("plan", "c.json")
    assert outcome.code == 0
    assert "could not be tried: SGD" in outcome.out
    assert "1 of 1 runs to do; nothing was written" in outcome.out


def test_candidates_are_told(place: Workplace) -> None:
    tasks = [
        {"task": "gossipsim.tasks.QuadraticTask", "models": ["gossipsim.models.Vector"], "optimizers": [ADAM, SGD]}
    ]
    content = config() | {"tasks": tasks}
    content["tasks"][0]["models"] = [{"class": "gossipsim.models.Vector", "params": {"dim": 10}}]
    content["tasks"][0]["task"] = {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 10}}
    assert _plan(place, content, "--no-time")["candidates"] == {"Adam": 2, "SGD(lr=0.05)": 1}
    assert "candidates: Adam 2, SGD(lr=0.05) 1" in place.call("plan", "c.json", "--no-time").out
    assert place.run(content, "--set", "targets.distance=0.1").code == 0
    resolved = json.loads((place.folder / "wf/exp_0001/resolved.json").read_text())
    assert resolved["targets"] == {"distance": [0.1]}
    assert resolved["selection"] == {}
    assert [run.get("tuned") for run in resolved["runs"]] == [
        {"optimizer": "Adam", "params": {"lr": 0.01}},
        {"optimizer": "Adam", "params": {"lr": 0.1}},
        None,
    ]


def test_a_selection_among_nothing_warns(place: Workplace) -> None:
    found = _plan(place, config(selection={"metric": "distance"}), "--no-time")
    (warning,) = found["warnings"]
    where = f"c.json:{place.line('selection')}: selection"
    assert warning == f"{where}: no optimizer has 'tune', so that nothing is selected"


def test_a_dry_run_as_json(place: Workplace) -> None:
    place.write("c.json", config(seeds=[0, 1]))
    found = json.loads(place.call("run", "c.json", "--dry-run", "--json").out)
    assert [(run["seed"], run["status"], run["to_do"]) for run in found["runs"]] == [
        (0, "missing", True),
        (1, "missing", True),
    ]
    assert place.call("run", "c.json", "--json").code == 2


def test_seeds_are_common_random_numbers_across_cells(place: Workplace) -> None:
    """Cells with the same seed start from the same parameters and deal out the same shards."""
    grid = {
        "network.topology": ["gossipsim.network.ring", "gossipsim.network.star"],
        "optimizer.params.lr": [0.01, 0.1],
    }
    content = config(
        task=DIGITS,
        model={"class": "gossipsim.models.MLP", "params": {"hidden": [4]}},
        partition={"class": "gossipsim.data.Dirichlet", "params": {"alpha": 0.5, "min_samples": 1}},
        trainer={"class": "gossipsim.trainers.SupervisedTrainer", "params": {"steps": 1, "batch_size": 8}},
        seeds=[3, 4],
        grid=grid,
    )
    assert place.run(content).code == 0
    results = gossipsim.load("wf")
    starts = {(run.seed, run.history[0]["train_loss"]) for run in results.runs}
    shards = {(run.seed, json.dumps(run.summary["class_histogram"])) for run in results.runs}
    first_batch = {(run.seed, run.steps[-1]["batch_loss"]) for run in results.runs}
    assert len(results.runs) == 8
    assert len(starts) == len(shards) == len(first_batch) == 2
    ends = {np.asarray(run.parameters()).tobytes() for run in results.runs}
    assert len(ends) == 8
