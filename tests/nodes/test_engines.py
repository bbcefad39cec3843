"""The engines: `auto` and `loop` leave the same bytes, and what cannot be stacked says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gossipsim
from gossipsim import testing
from gossipsim.config import plan
from gossipsim.nodes import Nodes
from gossipsim.parts import Parts
from gossipsim.world import World

DIGITS = "gossipsim.tasks.DigitsSupervisedTask"
SGD = {"class": "torch.optim.SGD", "params": {"lr": 0.05, "momentum": 0.9}}


def _config(
    task: Any = DIGITS, model: Any = "gossipsim.models.MLP", optimizer: Any = SGD, *, nodes: int = 6, **trainer: Any
) -> dict[str, Any]:
    params = {"steps": 7, "batch_size": 8, "log_every": 2, "eval_every": 3, "local_eval": 2} | trainer
    return {
        "name": "engines",
        "tasks": [{"task": task, "models": [model], "optimizers": [optimizer]}],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": params},
        "network": {"nodes": nodes, "topology": "networkx.cycle_graph"},
    }


def _nodes(config: dict[str, Any]) -> Nodes:
    parts = Parts(plan(config).runs[0])
    world = World(parts.count)
    train, _ = parts.tensors(world.device, parts.dtype)
    return Nodes(world, parts.task, parts.recipe(), parts.shards, train)


def _fingerprint(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    (run,) = gossipsim.run(config, workflow=folder, processes=1).runs
    assert run.status == "complete", run.error
    return testing.fingerprint(run)


LOGISTIC = {"class": "gossipsim.tasks.LogisticTask", "params": {"samples": 190, "dim": 7}}
QUADRATIC = {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 5, "noise": 0.1}}
FRANK_WOLFE = {
    "class": "gossipsim.optim.FrankWolfe",
    "params": {"constraint": {"class": "gossipsim.optim.constraints.L1", "params": {"radius": "auto*3"}}},
}
STOCHASTIC_FRANK_WOLFE = {
    "class": "gossipsim.optim.StochasticFrankWolfe",
    "params": {
        "constraint": {"class": "gossipsim.optim.constraints.L2", "params": {"radius": "auto*2"}},
        "rescale": "gradient",
    },
}
SCHEDULED = SGD | {"schedule": {"class": "torch.optim.lr_scheduler.ExponentialLR", "params": {"gamma": 0.9}}}


@pytest.mark.parametrize(
    "config",
    [
        _config(),
        _config(LOGISTIC, "gossipsim.models.Vector", SCHEDULED, dtype="float64"),
        _config(LOGISTIC, "gossipsim.models.LogisticRegression", "torch.optim.Adam", init="independent"),
        _config(QUADRATIC, "gossipsim.models.Vector", SGD),
        _config(augment={"class": "gossipsim.data.RandomShift"}),
        _config(nodes=11, batch_size=None),
        _config(optimizer=FRANK_WOLFE),
        _config(optimizer=STOCHASTIC_FRANK_WOLFE),
        _config(optimizer="gossipsim.optim.Muon"),
        _config(optimizer="gossipsim.optim.Scion"),
    ],
    ids=[
        "MLP",
        "logistic",
        "independent",
        "noise",
        "augment",
        "full batches",
        "Frank-Wolfe",
        "stochastic Frank-Wolfe",
        "Muon",
        "Scion",
    ],
)
@pytest.mark.parametrize("strategy", ["LocalThenGossip", "GradientTracking"])
def test_stacked_nodes_leave_the_bytes_of_the_loop(config: dict[str, Any], strategy: str, tmp_path: Path) -> None:
    config = config | {"strategy": f"gossipsim.strategies.{strategy}"}
    prints = {}
    for engine in ("loop", "stacked"):
        config["trainer"]["params"]["engine"] = engine
        prints[engine] = _fingerprint(config, tmp_path / engine)
    assert prints["loop"] == prints["stacked"]


def test_auto_takes_what_is_faster_and_says_so() -> None:
    nodes = _nodes(_config(LOGISTIC, "gossipsim.models.Vector", nodes=40))
    assert nodes.engine.name == "stacked", nodes.engine_choice
    assert "equal bits" in nodes.engine_choice


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (_config(nodes=3), "fewer than 4 nodes"),
        (_config(model="gossipsim.models.CNN"), "conv2d has other bits"),
        (_config(model={"class": "gossipsim.models.CNN", "params": {"dropout": 0.5}}), "conv2d has other bits"),
        (_config(optimizer=SGD | {"clip_grad_norm": 1.0}), "clip_grad_norm looks at each node's own gradient"),
        (_config(optimizer={"class": "torch.optim.LBFGS"}), "LBFGS"),
        (_config(optimizer=FRANK_WOLFE | {"params": FRANK_WOLFE["params"] | {"lazy": True}}), "keeps the vertices"),
        (_config(optimizer="gossipsim.optim.Muon", init="independent"), "Muon may depend on where a node starts"),
        (_config(optimizer_state="mixed"), 'optimizer_state is "mixed"'),
        (_config() | {"strategy": "gossipsim.strategies.RandomParticipation"}, "nodes miss steps"),
    ],
)
def test_auto_falls_back_to_the_loop_and_says_why(config: dict[str, Any], reason: str) -> None:
    nodes = _nodes(config)
    assert nodes.engine.name == "loop"
    assert reason in nodes.engine_choice


def test_stacked_by_choice_is_refused_with_the_reason(tmp_path: Path) -> None:
    config = _config(optimizer=SGD | {"clip_grad_norm": 1.0}, engine="stacked")
    with pytest.raises(gossipsim.ConfigError, match=r"trainer.params.engine: .*clip_grad_norm.*\"auto\" or \"loop\""):
        gossipsim.run(config, workflow=tmp_path)
    assert not list(tmp_path.iterdir())


def test_stacked_convolutions_stay_near_the_loop(tmp_path: Path) -> None:
    rows = {}
    for engine in ("loop", "stacked"):
        config = _config(model="gossipsim.models.CNN", engine=engine, dtype="float64")
        (run,) = gossipsim.run(config, workflow=tmp_path / engine).runs
        rows[engine] = torch.from_numpy(run.parameters())
    torch.testing.assert_close(rows["stacked"], rows["loop"], rtol=0, atol=1e-10)


def test_a_strategy_that_leaves_nodes_out_is_told() -> None:
    nodes = _nodes(_config(engine="stacked"))
    some = torch.arange(6).numpy() < 3
    with nodes.only(some), pytest.raises(ValueError, match=r"set trainer\.params\.engine to .loop."):
        nodes.grad()
