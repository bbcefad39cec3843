"""nodes.jsonl: the nodes one by one while a run trains, against a recursion of the same run in numpy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gossipsim
from gossipsim import testing
from gossipsim.results import Run
from gossipsim.tasks import QuadraticTask
from gossipsim.trainers.frames import Frames

NODES, DIM, ETA = 5, 4, 0.1


def _config(task: str, nodes: int = NODES, lr: float = ETA, **trainer: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"dim": DIM} if task == "QuadraticTask" else {"samples": 100, "dim": DIM}
    return {
        "name": "frames",
        "tasks": [
            {
                "task": {"class": f"gossipsim.tasks.{task}", "params": params},
                "models": [{"class": "gossipsim.models.Vector", "params": {"init": 1.0}}],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": lr}}],
            }
        ],
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {"batch_size": None, "dtype": "float64"} | trainer,
        },
        "network": {"nodes": nodes},
    }


def _only(config: dict[str, Any], folder: Path) -> Run:
    (run,) = gossipsim.run(config, workflow=folder).runs
    return run


def test_a_frame_has_the_distance_of_each_node_to_the_mean(tmp_path: Path) -> None:
    run = _only(_config("QuadraticTask", steps=6, log_every=100, eval_every=None), tmp_path)
    task = QuadraticTask(dim=DIM, nodes=NODES)
    A, b = task.A.numpy(), task.b.numpy()
    W = (np.eye(NODES) + np.roll(np.eye(NODES), 1, 1) + np.roll(np.eye(NODES), -1, 1)) / 3
    X = np.ones((NODES, DIM))
    frames = run.frames()
    assert [(frame["step"], frame["round"]) for frame in frames] == [(k, k) for k in range(7)]
    for frame in frames:
        np.testing.assert_allclose(frame["distance"], np.linalg.norm(X - X.mean(0), axis=1), rtol=1e-5, atol=1e-12)
        residuals = np.einsum("nmd,nd->nm", A, X) - b
        X = W @ (X - ETA * np.einsum("nmd,nm->nd", A, residuals))


def test_evaluations_add_what_the_nodes_own_models_reach(tmp_path: Path) -> None:
    run = _only(_config("LogisticTask", steps=6, eval_every=3, local_eval=2), tmp_path)
    evaluated = [frame for frame in run.frames() if "local_test_loss" in frame]
    assert [frame["step"] for frame in evaluated] == [0, 3, 6]
    for frame, record in zip(evaluated, run.history, strict=True):
        for metric in ("loss", "accuracy"):
            values = frame[f"local_test_{metric}"]
            assert [value is None for value in values] == [False, True, False, True, True]
            mean = np.mean([value for value in values if value is not None])
            assert mean == pytest.approx(record[f"local_test_{metric}_mean"], rel=1e-5)


def test_numbers_have_six_digits(tmp_path: Path) -> None:
    run = _only(_config("LogisticTask", steps=4), tmp_path)
    values = [v for f in run.frames() for key in ("distance", "local_test_loss") for v in f.get(key, [])]
    assert max(values) > 0
    assert all(value == float(f"{value:.6g}") for value in values)


@pytest.mark.parametrize(
    ("total", "evaluation"), [(1, None), (60, 6), (199, 1), (1000, 7), (12_345, 100), (100_000, 1), (300, None)]
)
def test_there_are_at_most_about_200(total: int, evaluation: int | None) -> None:
    frames = Frames.plan(nodes=8, total=total, evaluation=evaluation, asked=None)
    due = [step for step in range(total + 1) if frames.due(step) or step == total]
    assert min(total + 1, 51) <= len(due) <= 202
    assert due[0] == 0
    if evaluation is not None and total // evaluation <= 100:
        assert set(range(0, total, evaluation)) <= set(due)


@pytest.mark.parametrize(("nodes", "asked", "expected"), [(1, None, []), (257, None, []), (1, 3, [0, 3, 6, 7])])
def test_one_node_and_very_many_have_frames_where_they_are_asked_for(
    nodes: int, asked: int | None, expected: list[int], tmp_path: Path
) -> None:
    log = {} if asked is None else {"log": {"nodes": asked}}
    run = _only(_config("QuadraticTask", nodes=nodes, steps=7, eval_every=5, **log), tmp_path)
    assert run.status == "complete"
    assert [frame["step"] for frame in run.frames()] == expected
    assert (run.directory / "nodes.jsonl").exists() == bool(expected)
    assert run.steps[-1].keys() == {"step", "batch_loss", "consensus", "suboptimality", "distance"}


def test_the_last_frame_of_a_run_that_diverges_is_where_it_ended(tmp_path: Path) -> None:
    run = _only(_config("QuadraticTask", lr=1e30, steps=2000, eval_every=None, log_every=1), tmp_path)
    assert run.status == "diverged"
    last = run.frames()[-1]
    assert last["step"] == run.steps[-1]["step"]
    assert None in last["distance"]
    assert all(v is None or math.isfinite(v) for frame in run.frames() for v in frame["distance"])


@pytest.mark.parametrize("value", [0, -3])
def test_a_wrong_frequency_is_refused(value: int) -> None:
    with pytest.raises(gossipsim.ConfigError, match=r"log\.nodes must be a number of steps >= 1"):
        gossipsim.run(_config("QuadraticTask", log={"nodes": value}))


def test_running_again_replaces_what_an_earlier_attempt_left(tmp_path: Path) -> None:
    config = _config("QuadraticTask", steps=3)
    run = _only(config, tmp_path)
    before = run.frames()
    stale = run.directory / "nodes.jsonl"
    stale.write_text(json.dumps(before[0]) + "\n")
    record = json.loads((run.directory / "run.json").read_text())
    (run.directory / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    assert _only(config, tmp_path).frames() == before


def test_frames_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    config = _config("LogisticTask", nodes=4, steps=5)
    fingerprint = testing.fingerprint(_only(config, tmp_path))
    assert fingerprint["nodes.jsonl"].count(b"\n") == 6
    testing.layout(config, processes=(1, 2, 4))
