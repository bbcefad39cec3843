"""What a node does on its own: batches, schedules, clipping, closures; and optimizers that cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gossipsim
from gossipsim.config import plan
from gossipsim.data.batches import Batches
from gossipsim.parts import Parts
from gossipsim.results import Run
from gossipsim.streams import generator, global_stream
from gossipsim.tasks import QuadraticTask

NODES, DIM = 4, 3


class Rebinding(torch.optim.Optimizer):
    """Does to the first parameter what an optimizer must not do here."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        (p,) = self.param_groups[0]["params"]
        p.data = p.data - 0.1 * p.grad


class _Strategy:
    claims: ClassVar = {"sends": 1}

    def init(self, nodes: Any, mix: Any) -> None:
        pass


class Rebinds(_Strategy):
    def round(self, nodes: Any, mix: Any) -> None:
        nodes.apply(nodes.grad())
        nodes.X = mix(nodes.X)


class AppliesOneRow(_Strategy):
    def round(self, nodes: Any, mix: Any) -> None:
        nodes.apply(nodes.grad()[0])


class NeverSteps(_Strategy):
    def round(self, nodes: Any, mix: Any) -> None:
        nodes.X[:] = mix(nodes.X)


class InPlace(_Strategy):
    def round(self, nodes: Any, mix: Any) -> None:
        nodes.apply(nodes.grad())
        nodes.X += mix(nodes.X) - nodes.X


def _quadratic(optimizer: dict[str, Any], nodes: int = NODES, **trainer: Any) -> dict[str, Any]:
    params = {"batch_size": None, "dtype": "float64", "log_every": 1, "eval_every": None} | trainer
    return {
        "name": "quadratic",
        "tasks": [
            {
                "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": DIM}},
                "models": ["gossipsim.models.Vector"],
                "optimizers": [optimizer],
            }
        ],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": params},
        "network": {"nodes": nodes},
    }


def _only(config: dict[str, Any], folder: Path, processes: int = 1) -> Run:
    (run,) = gossipsim.run(config, workflow=folder, processes=processes).runs
    return run


@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 40))
def test_batches_are_full_and_cover_every_sample_equally(samples: int, batch_size: int, count: int) -> None:
    shard = torch.arange(100, 100 + samples)
    stream = Batches([shard], batch_size, seed=0, keys=[0])
    batches = [stream.next(0) for _ in range(count)]
    assert {len(batch) for batch in batches} == {min(batch_size, samples)}
    drawn = torch.bincount(torch.cat(batches) - 100, minlength=samples)
    assert int(drawn.max() - drawn.min()) <= 1
    assert len(drawn) == samples


def test_every_pass_has_an_order_of_its_own() -> None:
    stream = Batches([torch.arange(50)], 50, seed=0, keys=[0])
    first, second = stream.next(0), stream.next(0)
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, second.sort().values)


@pytest.mark.parametrize(
    ("every", "expected"),
    [("step", [0.1 * 0.5**k for k in range(8)]), ("epoch", [0.1 * 0.5 ** (k // 3) for k in range(8)])],
)
def test_a_schedule_advances_per_step_or_per_epoch(every: str, expected: list[float], tmp_path: Path) -> None:
    """Record k has the rate of the next step. An epoch of 4 x 3 rows in batches of one is 3 steps."""
    schedule = {
        "class": "torch.optim.lr_scheduler.StepLR",
        "params": {"step_size": 1, "gamma": 0.5},
        "every": every,
    }
    optimizer = {"class": "torch.optim.SGD", "params": {"lr": 0.1}, "schedule": schedule}
    run = _only(_quadratic(optimizer, steps=7, batch_size=1, log={"learning_rate": 1}), tmp_path)
    assert [record["learning_rate"] for record in run.steps] == pytest.approx(expected)


def test_a_schedule_moves_the_rows_as_it_says(tmp_path: Path) -> None:
    """One node, eta_k = 0.1 / 2^k, against the recursion."""
    schedule = {"class": "torch.optim.lr_scheduler.StepLR", "params": {"step_size": 1, "gamma": 0.5}}
    optimizer = {"class": "torch.optim.SGD", "params": {"lr": 0.1}, "schedule": schedule}
    run = _only(_quadratic(optimizer, nodes=1, epochs=4), tmp_path)
    task = QuadraticTask(dim=DIM, nodes=1)
    A, b, x = task.A[0].numpy(), task.b[0].numpy(), np.zeros(DIM)
    for k in range(4):
        x = x - 0.1 * 0.5**k * A.T @ (A @ x - b)
    np.testing.assert_allclose(run.parameters()[0], x, rtol=1e-12)


def test_clipping_bounds_each_nodes_direction(tmp_path: Path) -> None:
    optimizer = {"class": "torch.optim.SGD", "params": {"lr": 1.0}, "clip_grad_norm": 0.01}
    config = _quadratic(optimizer, steps=1) | {
        "strategy": {"class": "gossipsim.strategies.LocalThenGossip", "params": {"local_steps": 2}}
    }
    rows = _only(config, tmp_path).parameters()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 0.01, rtol=1e-3)


LBFGS = {"class": "torch.optim.LBFGS", "params": {"lr": 0.5, "max_iter": 3, "history_size": 4}}


def _plain_lbfgs(config: dict[str, Any], steps: int, clip: float | None) -> np.ndarray[Any, Any]:
    parts = Parts(plan(config).runs[0])
    (inputs, targets), _ = parts.tensors(torch.device("cpu"), parts.trainer.dtype)
    with global_stream(generator(0, 0, "init")):
        model = parts.model()
    optimizer = torch.optim.LBFGS(model.parameters(), **config["tasks"][0]["optimizers"][0]["params"])
    batches = Batches(parts.shards[:1], parts.trainer.batch_size, seed=0, keys=[0])
    for _ in range(steps):
        batch = batches.next(0)

        def closure(batch: torch.Tensor = batch) -> float:
            optimizer.zero_grad()
            loss = parts.task.loss_fn(model(inputs[batch]), targets[batch])
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            return loss.item()

        optimizer.step(closure)
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("strategy", ["LocalThenGossip", "GossipThenLocal"])
def test_lbfgs_on_one_node_is_plain_lbfgs(strategy: str, clip: float | None, tmp_path: Path) -> None:
    """The closure evaluates the node's same batch again, clipped like the first gradient."""
    optimizer = LBFGS if clip is None else {**LBFGS, "clip_grad_norm": clip}
    config = _quadratic(optimizer, nodes=1, steps=6, batch_size=2)
    config["strategy"] = f"gossipsim.strategies.{strategy}"
    run = _only(config, tmp_path)
    assert run.status == "complete", run.error
    assert np.array_equal(run.parameters()[0], _plain_lbfgs(config, 6, clip))
    assert run.history[-1]["gradient_evals"] > 6


def test_lbfgs_on_a_ring_has_the_same_bytes_on_two_processes(tmp_path: Path) -> None:
    runs = [_only(_quadratic(LBFGS, steps=4), tmp_path / str(p), p) for p in (1, 2)]
    assert runs[0].status == "complete", runs[0].error
    assert runs[0].summary["params_sha256"] == runs[1].summary["params_sha256"]
    assert runs[0].history == runs[1].history


def test_a_corrected_direction_and_a_closure_do_not_go_together() -> None:
    config = _quadratic(LBFGS) | {"strategy": "gossipsim.strategies.GradientTracking"}
    with pytest.raises(gossipsim.ConfigError, match=r"torch\.optim\.LBFGS needs a closure.*GradientTracking"):
        gossipsim.run(config)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_optimizer_that_rebinds_its_parameters_is_found_out(processes: int, tmp_path: Path) -> None:
    run = _only(_quadratic({"class": f"{__name__}.Rebinding"}), tmp_path, processes)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["message"].startswith("ValueError: Rebinding rebound the data of a parameter")
    assert "p.copy_" in run.error["message"]
    assert run.error["node"] in ((0,) if processes == 1 else (0, 2))
    assert run.error["rank"] in range(processes)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("Rebinds", "nodes.X[:] = ..."),
        ("AppliesOneRow", "apply: G must be (4, 3), a row per hosted node, not (3,)"),
        ("NeverSteps", "NeverSteps took no step in 1000 rounds"),
    ],
)
def test_mistakes_in_a_strategy_fail_loudly(strategy: str, message: str, tmp_path: Path) -> None:
    """Each of them would otherwise train on, or not end, without a word."""
    config = _quadratic({"class": "torch.optim.SGD", "params": {"lr": 0.1}}, steps=3)
    run = _only(config | {"strategy": f"{__name__}.{strategy}"}, tmp_path)
    assert run.status == "failed"
    assert run.error is not None
    assert message in run.error["message"]


def test_rows_may_be_changed_by_an_operator_in_place(tmp_path: Path) -> None:
    config = _quadratic({"class": "torch.optim.SGD", "params": {"lr": 0.1}}, steps=3)
    run = _only(config | {"strategy": f"{__name__}.InPlace"}, tmp_path / "in place")
    reference = _only(config, tmp_path / "reference")
    np.testing.assert_allclose(run.parameters(), reference.parameters(), rtol=1e-12)
