"""What history, steps, timing, parameters and summary say, against a recursion of the same run in numpy."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gossipsim
from gossipsim.results import Run
from gossipsim.tasks import QuadraticTask
from gossipsim.trainers import SupervisedTrainer

NODES, DIM, ETA = 5, 4, 0.1
Array = np.ndarray[Any, Any]


def _quadratic(strategy: Any = "gossipsim.strategies.LocalThenGossip", **trainer: Any) -> dict[str, Any]:
    params = {"batch_size": None, "dtype": "float64", "log_every": 1, "eval_every": 1} | trainer
    return {
        "name": "quadratic",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": DIM}},
                "models": [{"class": "gossipsim.models.Vector", "params": {"init": 1.0}}],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": ETA}}],
            }
        ],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": params},
        "network": {"nodes": NODES},
        "strategy": strategy,
    }


def _logistic(samples: int, nodes: int, **trainer: Any) -> dict[str, Any]:
    return {
        "name": "logistic",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.LogisticTask", "params": {"samples": samples, "dim": 3}},
                "models": ["gossipsim.models.Vector"],
                "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": 0.1}}],
            }
        ],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": trainer},
        "network": {"nodes": nodes},
    }


def _only(config: dict[str, Any], folder: Path) -> Run:
    (run,) = gossipsim.run(config, workflow=folder).runs
    assert run.status == "complete", run.error
    return run


def _column(records: list[dict[str, Any]], name: str) -> list[Any]:
    return [record[name] for record in records]


def _states(steps: int, local_steps: int) -> list[Array]:
    """X_0 ... X_steps of local SGD on the ring."""
    task = QuadraticTask(dim=DIM, nodes=NODES)
    A, b = task.A.numpy(), task.b.numpy()
    W = (np.eye(NODES) + np.roll(np.eye(NODES), 1, 1) + np.roll(np.eye(NODES), -1, 1)) / 3
    states = [np.ones((NODES, DIM))]
    for k in range(1, steps + 1):
        X = states[-1]
        residuals = np.einsum("nmd,nd->nm", A, X) - b
        X = X - ETA * np.einsum("nmd,nm->nd", A, residuals)
        states.append(W @ X if k % local_steps == 0 else X)
    return states


def _objective(x: Array) -> float:
    """f(x), the mean over nodes of 1/2 ||A_i x - b_i||^2."""
    task = QuadraticTask(dim=DIM, nodes=NODES)
    return float(0.5 * ((task.A.numpy() @ x - task.b.numpy()) ** 2).sum(1).mean())


def _local_objective(X: Array) -> float:
    """The mean over nodes of f_i(x_i)."""
    task = QuadraticTask(dim=DIM, nodes=NODES)
    residuals = np.einsum("nmd,nd->nm", task.A.numpy(), X) - task.b.numpy()
    return float(0.5 * (residuals**2).sum(1).mean())


@pytest.mark.parametrize("local_steps", [1, 3])
def test_record_k_is_the_state_after_k_steps(local_steps: int, tmp_path: Path) -> None:
    """Also in the middle of a round; the incomplete round at the end is not mixed."""
    strategy = {"class": "gossipsim.strategies.LocalThenGossip", "params": {"local_steps": local_steps}}
    run = _only(_quadratic(strategy, steps=7), tmp_path)
    states = _states(7, local_steps)
    means = [X.mean(0) for X in states]
    optimum = QuadraticTask(dim=DIM, nodes=NODES).optimum()
    expected = {
        "consensus": [float(((X - m) ** 2).sum(1).mean()) for X, m in zip(states, means, strict=True)],
        "suboptimality": [_objective(m) - optimum.value for m in means],
        "distance": [float(np.linalg.norm(m - optimum.x.numpy())) for m in means],
    }
    for records in (run.history, run.steps):
        assert _column(records, "step") == list(range(8))
        for name, values in expected.items():
            np.testing.assert_allclose(_column(records, name), values, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(_column(run.history, "train_loss"), [_objective(m) for m in means], rtol=1e-12)
    assert _column(run.history, "round") == [k // local_steps for k in range(8)]
    assert _column(run.history, "messages") == [k // local_steps * 2 * NODES for k in range(8)]
    assert _column(run.history, "bytes_sent") == [k // local_steps * 2 * NODES * DIM * 8 for k in range(8)]
    assert _column(run.history, "gradient_evals") == [k * NODES for k in range(8)]
    np.testing.assert_allclose(run.parameters(), states[-1], rtol=1e-12)


def test_the_batch_loss_is_that_of_the_batch_which_the_step_used(tmp_path: Path) -> None:
    run = _only(_quadratic(steps=4), tmp_path)
    assert "batch_loss" not in run.steps[0]
    expected = [_local_objective(X) for X in _states(4, 1)[:-1]]
    np.testing.assert_allclose(_column(run.steps[1:], "batch_loss"), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("samples", "nodes", "batch", "epoch"), [(100, 3, 8, 5), (96, 3, 8, 4), (97, 3, 8, 5), (10, 3, 64, 1)]
)
def test_an_epoch_is_a_pass_over_the_data_of_all_nodes(
    samples: int, nodes: int, batch: int, epoch: int, tmp_path: Path
) -> None:
    assert SupervisedTrainer(batch_size=batch).epoch_length(samples, nodes) == epoch
    run = _only(_logistic(samples, nodes, epochs=2, batch_size=batch), tmp_path)
    assert _column(run.history, "epoch") == [0, 1, 2]
    assert _column(run.history, "step") == [0, epoch, 2 * epoch]
    assert run.summary["steps"] == 2 * epoch


def test_a_full_batch_is_an_epoch_of_one_step(tmp_path: Path) -> None:
    run = _only(_logistic(100, 3, epochs=3, batch_size=None), tmp_path)
    assert _column(run.history, "step") == _column(run.history, "epoch") == [0, 1, 2, 3]


def test_steps_override_epochs_and_are_the_unit_of_eval_every(tmp_path: Path) -> None:
    run = _only(_logistic(100, 3, epochs=50, steps=7, batch_size=8, eval_every=3, log_every=4), tmp_path)
    assert _column(run.history, "step") == [0, 3, 6, 7]
    assert _column(run.history, "epoch") == pytest.approx([0, 0.6, 1.2, 1.4])
    assert _column(run.steps, "step") == [0, 4, 7]


def test_the_first_and_the_last_state_are_always_evaluated(tmp_path: Path) -> None:
    run = _only(_logistic(100, 3, epochs=5, batch_size=8, eval_every=2, log_every=1000), tmp_path / "2")
    assert _column(run.history, "epoch") == [0, 2, 4, 5]
    assert _column(run.steps, "step") == [0, 25]
    run = _only(_logistic(100, 3, epochs=5, batch_size=8, eval_every=None), tmp_path / "null")
    assert _column(run.history, "epoch") == [0, 5]


def test_fields_have_frequencies_of_their_own(tmp_path: Path) -> None:
    log = {"train_loss": 3, "consensus": 1, "batch_loss": 4, "learning_rate": 5}
    run = _only(_quadratic(steps=8, log_every=2, log=log), tmp_path)
    steps_with = {name: [r["step"] for r in run.steps if name in r] for name in (*log, "suboptimality", "distance")}
    assert steps_with == {
        "train_loss": [0, 3, 6, 8],
        "consensus": list(range(9)),
        "batch_loss": [4, 8],
        "learning_rate": [0, 5, 8],
        "suboptimality": [0, 2, 4, 6, 8],
        "distance": [0, 2, 4, 6, 8],
    }
    by_step = {record["step"]: record["train_loss"] for record in run.history}
    assert all(r["train_loss"] == by_step[r["step"]] for r in run.steps if "train_loss" in r)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"log": {"loss": 3}}, "log: unknown field 'loss'"),
        ({"log": {"consensus": 0}}, "log.consensus must be a number of steps >= 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"local_eval": 0}, "local_eval must be true, false or a number of nodes, got 0"),
        ({"dtype": "float16"}, "float16"),
        ({"device": "tpu"}, 'device must be "cpu" or "cuda"'),
    ],
)
def test_wrong_params_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(gossipsim.ConfigError) as error:
        gossipsim.run(_quadratic(**params))
    assert message in str(error.value)


def test_timings_are_cumulative_and_there_for_every_evaluation(tmp_path: Path) -> None:
    run = _only(_quadratic(steps=7, eval_every=2), tmp_path)
    first, *others = run.timing
    assert list(first) == ["step", "train_seconds", "eval_seconds", "engine"]
    assert first["engine"].startswith(("loop", "stacked"))
    assert all(list(record) == ["step", "train_seconds", "eval_seconds"] for record in others)
    assert _column(run.timing, "step") == _column(run.history, "step") == [0, 2, 4, 6, 7]
    for name in ("train_seconds", "eval_seconds"):
        values = _column(run.timing, name)
        assert values == sorted(values)
        assert values[0] >= 0
        assert values[-1] > values[0]
    assert run.timing[0]["train_seconds"] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_and_their_digest(dtype: str, tmp_path: Path) -> None:
    run = _only(_quadratic(steps=3, dtype=dtype), tmp_path)
    rows = run.parameters()
    assert rows.shape == (NODES, DIM) == (run.summary["nodes"], run.summary["parameters"])
    assert rows.dtype == dtype
    little_endian = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<"))
    assert run.summary["params_sha256"] == hashlib.sha256(little_endian.tobytes()).hexdigest()


def test_the_summary_has_the_last_and_the_best(tmp_path: Path) -> None:
    run = _only(_logistic(100, 3, epochs=3), tmp_path)
    assert run.summary["last"] == run.history[-1]
    assert run.summary["best"]["train_loss"] == min(_column(run.history, "train_loss"))
    assert run.summary["best"]["test_accuracy"] == max(_column(run.history, "test_accuracy"))
    assert "bytes_sent" not in run.summary["best"]
    assert run.summary["shard_sizes"] == [34, 33, 33]
    assert run.summary["rounds"] == run.history[-1]["round"]


class TestDivergence:
    """It is a result: shown with its status, exit code 0, and no NaN in any file."""

    @pytest.fixture
    def config(self) -> dict[str, Any]:
        config = _quadratic(steps=30, dtype="float32", log_every=1, eval_every=1)
        config["tasks"][0]["optimizers"] = [{"class": "torch.optim.SGD", "params": {"lr": 1e6}}]
        return config

    @pytest.mark.parametrize("processes", [1, 2])
    def test_files(self, config: dict[str, Any], processes: int, tmp_path: Path) -> None:
        (run,) = gossipsim.run(config, workflow=tmp_path, processes=processes).runs
        assert run.status == run.summary["status"] == "diverged"
        assert run.error is None
        assert 0 < run.summary["steps"] < 30
        assert run.history[-1]["step"] == run.steps[-1]["step"] == run.summary["steps"]
        assert run.history[-1]["train_loss"] is None
        assert run.summary["best"]["train_loss"] == run.history[0]["train_loss"]
        assert run.timing[-1]["train_seconds"] > run.timing[-2]["train_seconds"]
        for name in ("history.jsonl", "steps.jsonl", "timing.jsonl"):
            for line in (run.directory / name).read_text().splitlines():
                json.loads(line, parse_constant=pytest.fail)
        json.loads((run.directory / "summary.json").read_text(), parse_constant=pytest.fail)

    def test_exit_code_and_resumption(
        self, config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from gossipsim.runner import Options, run_options

        options = Options(config, processes=1, overrides={"workflow": str(tmp_path)}, report=False)
        assert run_options(options) == 0
        assert "diverged" in capsys.readouterr().out
        again = Options(config, processes=1, overrides={"workflow": str(tmp_path)}, report=False, exp_id=1)
        assert run_options(again) == 0
        assert "1/1" not in capsys.readouterr().out  # a diverged run is not run again


def test_initial_states(tmp_path: Path) -> None:
    """`same`: one seeded draw for all nodes; `independent`: one for each, of which node 0's is the same draw."""

    def consensus(init: str, nodes: int) -> float:
        config = _logistic(60, nodes, steps=1, init=init)
        config["tasks"][0]["models"] = ["gossipsim.models.LogisticRegression"]
        return float(_only(config, tmp_path / f"{init}{nodes}").history[0]["consensus"])

    assert consensus("same", 4) == pytest.approx(0, abs=1e-12)
    assert consensus("independent", 4) > 0.01
    assert math.isclose(consensus("independent", 1), 0)
