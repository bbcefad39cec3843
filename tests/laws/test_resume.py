"""Subjects crossed with law 7: cut off and resumed, by other processes or another engine, the bytes are the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gossipsim import testing

sys.path.insert(0, str(Path(__file__).parents[1]))
from subjects import CLOSURES, LEARNERS, OPTIMIZERS, STRATEGIES, TREES, experiment

CNN, QUADRATIC = "CNN with dropout, SGD momentum", "noisy quadratic, SGD with schedule and clipping"
STACKABLE = [
    "logistic regression, Frank-Wolfe",
    "MLP, stochastic Frank-Wolfe",
    "logistic task, Adam",
    "SFW, K-sparse",
    "AdaGradSFW",
    "projected SGD, OWL ball",
    "Muon, exact",
    "unconstrained Scion",
]
"""Learners whose nodes can be stacked to the bits of the loop."""

LOOP, STACKED = (1, "loop"), (1, "stacked")


def _on_its_graph(strategy: str) -> str:
    return "star" if strategy in TREES else "Erdos-Renyi"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("learner", [pytest.param(CNN, marks=pytest.mark.slow), QUADRATIC])
def test_every_strategy(learner: str, strategy: str) -> None:
    assert testing.resume(experiment(learner, strategy, _on_its_graph(strategy), nodes=5)) in (2, 3)


@pytest.mark.parametrize("learner", LEARNERS | OPTIMIZERS | CLOSURES)
def test_every_optimizer(learner: str) -> None:
    assert testing.resume(experiment(learner, nodes=4)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("learner", OPTIMIZERS)
def test_every_optimizer_with_every_strategy(learner: str, strategy: str) -> None:
    assert testing.resume(experiment(learner, strategy, "star", nodes=3)) in (2, 3)


@pytest.mark.parametrize("hosted", [(LOOP, STACKED, LOOP), (STACKED, LOOP, STACKED)], ids=["loop", "stacked"])
@pytest.mark.parametrize("learner", STACKABLE)
def test_an_engine_goes_on_with_what_the_other_has_written(learner: str, hosted: Any) -> None:
    assert testing.resume(experiment(learner, "GT-atc", nodes=5, local_eval=False), hosted=hosted) == 3


@pytest.mark.parametrize("hosted", [((2, "auto"), LOOP, LOOP), (LOOP, (3, "loop"), (2, "loop"))], ids=["2-1", "1-3"])
@pytest.mark.parametrize(("learner", "strategy"), [(CNN, "SCAFFOLD"), ("away steps", "AD-PSGD"), ("STORM", "D2")])
def test_any_number_of_processes(learner: str, strategy: str, hosted: Any) -> None:
    assert testing.resume(experiment(learner, strategy, nodes=4), hosted=hosted) in (2, 3)


_TORCH: dict[str, dict[str, Any]] = {
    "Adadelta": {},
    "Adagrad": {"initial_accumulator_value": 0.1},
    "Adam": {"amsgrad": True},
    "Adamax": {},
    "AdamW": {"foreach": True},
    "ASGD": {"t0": 2},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "Rprop": {},
    "SGD": {"momentum": 0.5, "nesterov": True},
}


def _mlp(optimizer: Any, **changes: Any) -> dict[str, Any]:
    config = experiment("MLP, stochastic Frank-Wolfe", nodes=5, local_eval=False)
    config["tasks"][0] = config["tasks"][0] | {"optimizers": [optimizer]}
    return config | changes


@pytest.mark.parametrize("kind", _TORCH)
def test_optimizers_of_torch_on_both_engines(kind: str) -> None:
    optimizer = {"class": f"torch.optim.{kind}", "params": {"lr": 0.01} | _TORCH[kind]}
    for hosted in ((LOOP, STACKED, LOOP), (STACKED, LOOP, LOOP)):
        assert testing.resume(_mlp(optimizer), hosted=hosted) == 3


def test_lbfgs_whose_state_has_lists() -> None:
    assert testing.resume(_mlp({"class": "torch.optim.LBFGS", "params": {"lr": 0.1, "history_size": 3}})) == 3


@pytest.mark.parametrize(
    "schedule",
    [
        {"class": "torch.optim.lr_scheduler.OneCycleLR", "params": {"max_lr": 0.1, "total_steps": 9}},
        {"class": "torch.optim.lr_scheduler.MultiStepLR", "params": {"milestones": [2, 5]}},
        {"class": "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", "params": {"T_0": 3}},
        {"class": "torch.optim.lr_scheduler.CyclicLR", "params": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2}},
    ],
    ids=lambda spec: spec["class"].rpartition(".")[2],
)
def test_schedules(schedule: dict[str, Any]) -> None:
    sgd = {"class": "torch.optim.SGD", "params": {"lr": 0.05, "momentum": 0.9}}
    scheduled = sgd | {"schedule": schedule | {"every": "step"}}
    for hosted in ((LOOP, STACKED, LOOP), (STACKED, LOOP, LOOP)):
        assert testing.resume(_mlp(scheduled), hosted=hosted) == 3


def test_networks_with_a_clock_with_losses_and_with_absences() -> None:
    durations = {"compute": {"class": "gossipsim.network.durations.LogNormal", "params": {"median": 1.0, "sigma": 0.5}}}
    links = {"drop": 0.2, "churn": {"leave": 0.2, "back": 0.5}, "latency": 0.01}
    config = experiment(CNN, "3 local steps", nodes=4, batch_size=4)
    config["network"]["links"] = {"class": "gossipsim.network.Links", "params": links}
    assert testing.resume(config) == 3
    asynchronous = experiment(QUADRATIC, "AD-PSGD", nodes=4)
    asynchronous["network"]["links"] = {"class": "gossipsim.network.Links", "params": durations}
    assert testing.resume(asynchronous) == 3


def test_compressed_messages_and_mixed_optimizer_state() -> None:
    config = experiment(CNN, nodes=4, optimizer_state="mixed")
    config["network"]["compression"] = {"class": "gossipsim.compression.RandK", "params": {"fraction": 0.5}}
    assert testing.resume(config, hosted=((2, "loop"), LOOP, LOOP)) == 3


class TestClassesOfOthers:
    """What keeps its state where torch would is resumed; a strategy that hides it is found out."""

    @pytest.mark.parametrize("optimizer", ["Counting", "Wrapping", "SpeaksForItself"])
    def test_optimizers(self, optimizer: str, theirs: None) -> None:
        assert testing.resume(_mlp({"class": f"theirs.{optimizer}", "params": {"lr": 0.05}})) == 3

    def test_a_model_with_buffers(self, theirs: None) -> None:
        config = experiment(CNN, nodes=4)
        config["tasks"][0] = config["tasks"][0] | {"models": ["theirs.Normalised"]}
        assert testing.resume(config) == 3

    def test_a_strategy_that_says_what_it_keeps(self, theirs: None) -> None:
        assert testing.resume(experiment(QUADRATIC) | {"strategy": "theirs.SaysSo"}) == 3

    @pytest.mark.parametrize("engine", [LOOP, STACKED], ids=["loop", "stacked"])
    def test_a_strategy_with_a_batch_under_way(self, engine: Any, theirs: None) -> None:
        config = _mlp({"class": "torch.optim.SGD", "params": {"lr": 0.1}}, strategy="theirs.LooksAhead")
        assert testing.resume(config, hosted=(LOOP, engine, engine)) == 3

    def test_a_strategy_that_forgets(self, theirs: None) -> None:
        with pytest.raises(testing.LawBroken, match=r"resume: history\.jsonl is another where the run was cut off"):
            testing.resume(experiment(QUADRATIC) | {"strategy": "theirs.Forgets"})


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text(_THEIRS)
    monkeypatch.chdir(tmp_path)


_THEIRS = '''
import torch
from torch import nn


class Counting(torch.optim.SGD):
    """Keeps numbers, tensors and a list of its own."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.steps, self.recent = 0, []
        self.kept = [torch.zeros_like(p) for p in self.param_groups[0]["params"]]

    def step(self, closure=None):
        self.steps += 1
        self.recent = [*self.recent, 1.0 / self.steps][-2:]
        for p, kept in zip(self.param_groups[0]["params"], self.kept):
            kept.mul_(0.9).add_(p.grad)
            p.grad = kept * sum(self.recent)
        super().step()


class Wrapping(torch.optim.Optimizer):
    """Steps another optimizer, as lookahead methods do."""

    def __init__(self, params, lr):
        super().__init__(list(params), {"lr": lr})
        self.inner = torch.optim.Adam(self.param_groups[0]["params"], lr=lr)
        self.slow, self.calls = [p.detach().clone() for p in self.inner.param_groups[0]["params"]], 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        self.inner.step()
        if self.calls % 2 == 0:
            for p, slow in zip(self.inner.param_groups[0]["params"], self.slow):
                slow.lerp_(p, 0.5)
                p.copy_(slow)


class Memory:
    def __init__(self):
        self.total = 0.0


class SpeaksForItself(torch.optim.SGD):
    """What it keeps is no plain value, but it has a state_dict that says so."""

    def __init__(self, params, lr):
        super().__init__(params, lr, momentum=0.5)
        self.memory = Memory()

    def step(self, closure=None):
        self.memory.total += float(self.param_groups[0]["params"][0].grad.abs().sum())
        self.param_groups[0]["lr"] = 0.1 / (1 + self.memory.total)
        super().step()

    def state_dict(self):
        return super().state_dict() | {"total": self.memory.total}

    def load_state_dict(self, state):
        self.memory.total = state.pop("total")
        super().load_state_dict(state)


class Normalised(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, num_classes))

    def forward(self, x):
        return self.layers(x)


class _Decaying:
    claims = {"sends": 1}

    def init(self, nodes, mix):
        self.scale = 1.0

    def round(self, nodes, mix):
        self.scale *= 0.9
        nodes.apply(self.scale * nodes.grad())
        nodes.X[:] = mix(nodes.X)


class Forgets(_Decaying):
    pass


class SaysSo(_Decaying):
    def state_dict(self):
        return {"scale": self.scale}

    def load_state_dict(self, state):
        self.scale = state["scale"]


class LooksAhead:
    """Draws the next round's batch at the end of a round."""

    claims = {"sends": 1}

    def init(self, nodes, mix):
        nodes.rows("G")[:] = nodes.grad()

    def round(self, nodes, mix):
        nodes.apply((nodes.rows("G") + nodes.grad()) / 2)
        nodes.X[:] = mix(nodes.X)
        nodes.rows("G")[:] = nodes.grad()
'''
