"""Every bad input gives lines ``file:line: path: what is wrong``, all at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from gossipsim.config import ConfigError, plan
from tests.config.conftest import errors_of, experiment, spec

Write = Callable[[str, Any], Path]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ...}, "<config>: name: missing"),
        ({"nmae": "x"}, "<config>: nmae: unknown key (did you mean 'name'?)"),
        ({"name": "a/b"}, "<config>: name: expected up to 100 characters"),
        ({"name": ".."}, "<config>: name: "),
        ({"seeds": [1, 1]}, "<config>: seeds: 1 stands there twice"),
        ({"seeds": []}, "<config>: seeds: expected at least one entry"),
        ({"seeds": [-1]}, "<config>: seeds[0]: expected an integer >= 0, got -1"),
        ({"seeds": [True]}, "<config>: seeds[0]: expected an integer, got true"),
        ({"seeds": 3}, "<config>: seeds: expected a list, got 3"),
        ({"seeds": [2**63]}, "<config>: seeds[0]: too large"),
        ({"seeds": [numpy.int64(3)]}, "<config>: seeds[0]: a numpy.int64 is not JSON"),
        ({"network": {"nodes": "8"}}, '<config>: network.nodes: expected an integer, got "8" (a string)'),
        ({"network": {"nodes": True}}, "<config>: network.nodes: expected an integer, got true"),
        ({"network": {"nodes": 0}}, "<config>: network.nodes: expected an integer >= 1, got 0"),
        ({"network": {"nodes": -3}}, "<config>: network.nodes: expected an integer >= 1, got -3"),
        ({"network": {"nodes": 10**9}}, "<config>: network.nodes: expected an integer <= 1,000,000, got 1000000000"),
        ({"network": {"topology": "networkx.cycle_graph"}}, "<config>: network.nodes: missing"),
        ({"network": {"nodse": 3}}, "<config>: network.nodse: unknown key (did you mean 'nodes'?)"),
        ({"network": []}, "<config>: network: expected an object, got [] (a list)"),
        (
            {"strategy": 3},
            "<config>: strategy: expected a class path (a string) or an object with a 'class', got 3",
        ),
        ({"strategy": {"params": {}}}, "<config>: strategy.class: missing"),
        (
            {"strategy": "parts.Stratgy"},
            "<config>: strategy: 'parts' has no 'Stratgy' (did you mean 'Strategy'?)",
        ),
        ({"strategy": "part.Strategy"}, "<config>: strategy: no module 'part' (did you mean 'parts'?)"),
        (
            {"strategy": "parts.NoRound"},
            "<config>: strategy: 'parts.NoRound' cannot be a strategy: it has no method round",
        ),
        ({"partition": "parts.Ball"}, "it has no method __call__"),
        ({"partition": {"class": "parts.split", "params": {"alfa": 1}}}, "did you mean 'alpha'?"),
        ({"trainer": "parts.Ball"}, "cannot be a trainer: it has no method fit"),
        (
            {"strategy": spec("parts.Strategy", locl_steps=3)},
            "<config>: strategy.params.locl_steps: parts.Strategy takes no 'locl_steps' (did you mean 'local_steps'?)",
        ),
        (
            {"strategy": spec("parts.Strategy", local_steps="3")},
            "<config>: strategy.params.local_steps: expected an int",
        ),
        ({"strategy": spec("parts.Strategy", local_steps=float("inf"))}, "inf is not a number that JSON has"),
        (
            {"strategy": {"class": "parts.Strategy", "parms": 3}},
            "<config>: strategy.parms: unknown key (did you mean 'params'?)",
        ),
        (
            {"grid": {"networks.nodes": [4]}},
            "<config>: grid[\"networks.nodes\"]: unknown key 'networks' (did you mean 'network'?)",
        ),
        ({"grid": {"network.ndes": [4]}}, "network has no 'ndes' (did you mean 'nodes'?)"),
        ({"grid": {"strategy.local_steps": [4]}}, "did you mean 'strategy.params.local_steps'?"),
        ({"grid": {"seeds": [4]}}, "seeds are always crossed"),
        ({"grid": {"optimizers.params.lr": [4]}}, "unknown key 'optimizers' (did you mean 'optimizer'?)"),
        ({"grid": {"network.nodes": 4}}, '<config>: grid["network.nodes"]: expected a list, got 4'),
        ({"grid": {"network.nodes": []}}, '<config>: grid["network.nodes"]: expected at least one entry'),
        (
            {"grid": {"network.nodes": [4, 4]}},
            '<config>: grid["network.nodes"][1]: the same value as entry 0',
        ),
        (
            {"grid": {"network.nodes": [4, 0]}},
            '<config>: grid["network.nodes"][1]: expected an integer >= 1, got 0',
        ),
        (
            {"grid": {"strategy.params.lcal_steps": [4]}},
            '<config>: grid["strategy.params.lcal_steps"][0]: parts.Strategy takes no',
        ),
        ({"grid": {"trainer.params.steps.x": [4]}}, "'trainer.params.steps' is 10 and has no 'x'"),
        (
            {"grid": {f"trainer.params.log.f{i}": [*range(10)] for i in range(9)}},
            "<config>: grid: 1000000000 runs are more than",
        ),
        (
            {"zip": {"network.nodes": [4, 5], "strategy.params.local_steps": [1]}},
            "<config>: zip: lists differ in length",
        ),
        ({"grid": {"network.nodes": [4]}, "zip": {"network.nodes": [5]}}, "is swept by 'grid' already"),
        ({"tasks": ...}, "<config>: task_dirs: missing"),
        ({"tasks": [], "task_dirs": []}, "<config>: task_dirs: missing"),
        ({"task_dirs": ["nowhere"]}, "<config>: task_dirs[0]: no such directory: looked for /"),
        ({"task_dirs": ["a\0b"]}, "<config>: task_dirs[0]: no such directory"),
        (
            {"tasks": [{"task": "parts.Task", "models": ["parts.model"]}]},
            "<config>: tasks[0].optimizers: missing",
        ),
        ({"workflow": 3}, "<config>: workflow: expected a string, got 3"),
    ],
)
def test_a_mistake_in_a_dict(changes: dict[str, Any], expected: str) -> None:
    errors = errors_of(experiment(**changes))
    assert any(expected in line for line in errors), errors
    assert len(errors) == 1, errors


def _optimizers(*specs: Any, model: Any = "parts.model") -> dict[str, Any]:
    return experiment(tasks=[{"task": "parts.Task", "models": [model], "optimizers": list(specs)}])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            _optimizers("torch.optim.SDG"),
            "<config>: tasks[0].optimizers[0]: 'torch.optim' has no 'SDG' (did you mean 'SGD'?)",
        ),
        (
            _optimizers("torch.nn.Linear"),
            "'torch.nn.Linear' cannot be an optimizer: it is not a subclass of torch.optim.Optimizer",
        ),
        (
            _optimizers("torch.optim.SGD", model="torch.optim.SGD"),
            "cannot be a model: it is not a subclass of torch.nn.Module",
        ),
        (
            _optimizers(spec("torch.optim.SGD", momentm=0.9)),
            "params.momentm: torch.optim.SGD takes no 'momentm' (did you mean 'momentum'?)",
        ),
        (
            _optimizers(spec("parts.optimizer")),
            "optimizers[0].params.lr: missing: parts.optimizer requires 'lr' (a number)",
        ),
        (
            _optimizers({"class": "torch.optim.SGD", "clip_grad_norm": 0}),
            "clip_grad_norm: expected a number > 0, got 0",
        ),
        (_optimizers({"class": "torch.optim.SGD", "clip_gradnorm": 1}), "did you mean 'clip_grad_norm'?"),
        (
            _optimizers({"class": "torch.optim.SGD", "schedule": "torch.optim.lr_scheduler.StepLR"}),
            "optimizers[0].schedule.params.step_size: missing",
        ),
        (
            _optimizers(
                {
                    "class": "torch.optim.SGD",
                    "schedule": {"class": "parts.schedule", "params": {"step_size": 1}, "every": "week"},
                }
            ),
            "schedule.every: expected 'epoch' or 'step'",
        ),
        (
            _optimizers("torch.optim.SGD", "torch.optim.SGD"),
            "tasks[0].optimizers[1]: the same as <config>: tasks[0].optimizers[0]",
        ),
    ],
)
def test_a_mistake_in_an_optimizer_or_model(config: dict[str, Any], expected: str) -> None:
    errors = errors_of(config)
    assert len(errors) == 1
    assert expected in errors[0]


def test_all_mistakes_of_all_files_at_once_sorted(write: Write) -> None:
    write("tasks/digits/task.json", '{"class": "parts.Task",\n "params": {"sise": 3}}')
    write("tasks/digits/models.json", '[\n"parts.modle",\n"parts.model"]')
    write(
        "tasks/digits/optimizers.json",
        '[\n{"class": "parts.optimizer",\n "params": {"lr": "x", "lr": 3}},\n]',
    )
    path = write(
        "exps/a.json",
        '{\n "nmae": "x",\n "task_dirs": ["../tasks/digits", "../tasks/digist"],\n "trainer": "parts.Trainer",\n'
        ' "strategy": "parts.Strategy", "partition": "parts.Partition",\n'
        ' "network": {"nodes": 0,\n "topology": "networkx.cycle_grph", "weights": "parts.Weights"},\n "seeds": [NaN]}',
    )
    errors = errors_of(path)
    assert [line.split(": ")[:2] for line in errors] == [
        ["exps/a.json:1", "name"],
        ["exps/a.json:2", "nmae"],
        ["exps/a.json:3", "task_dirs[1]"],
        ["exps/a.json:6", "network.nodes"],
        ["exps/a.json:7", "network.topology"],
        ["exps/a.json:8", "seeds[0]"],
        ["tasks/digits/models.json:2", "[0]"],
        ["tasks/digits/optimizers.json:3", "[0].params.lr"],
        ["tasks/digits/optimizers.json:3", "not valid JSON"],
        ["tasks/digits/optimizers.json:3", "[0].params.lr"],
        ["tasks/digits/task.json:2", "params.sise"],
    ]
    assert "(did you mean 'digits'?)" in errors[2]


def test_missing_files(write: Write, workplace: Path) -> None:
    path = write("exps/a.json", experiment(task_dirs=["../tasks/digits"]))
    assert errors_of("exps/b.json") == [
        f"exps/b.json: no such file: looked for {workplace}/exps/b.json (did you mean 'a.json'?)"
    ]
    assert "is a directory" in errors_of("exps")[0]
    assert "no such file" in errors_of("a\0b")[0]
    write("tasks/digits/task.json", "parts.Task")
    write("tasks/digits/model.json", ["parts.model"])
    errors = errors_of(str(path))
    assert "task_dirs[0]: no models.json in tasks/digits (did you mean 'model.json'?)" in errors[0]
    assert "task_dirs[0]: no optimizers.json in tasks/digits" in errors[1]
    assert "tasks/digits/task.json:1: not valid JSON" in errors[2]


@pytest.mark.parametrize("value", [[], 3, None, "x"])
def test_an_experiment_is_an_object(value: Any, write: Write) -> None:
    path = write("a.json", json.dumps(value))
    assert errors_of(path)[0].startswith("a.json:1: an experiment is a JSON object")


def test_not_even_a_config() -> None:
    assert errors_of(3) == ["<config>: expected a path or a dict, got 3"]


def test_overrides_have_errors_of_their_own() -> None:
    errors = errors_of(
        experiment(),
        overrides={
            "netwrok.nodes": 3,
            "network.nodes": "8",
            "strategy.params.local_stps": 3,
            "partition.params.alpha": float("nan"),
            "tasks.3.task": "x",
            "trainer.params": {"batch_size": "32"},
        },
    )
    assert [line.partition(": ")[0] for line in errors] == [
        "--set network.nodes",
        "--set netwrok.nodes",
        "--set partition.params.alpha",
        "--set strategy.params.local_stps",
        "--set tasks.3.task",
        "--set trainer.params",
    ]
    assert errors[-1] == '--set trainer.params: batch_size: expected an integer or null, got "32" (a string)'
    assert any("--set netwrok.nodes: unknown key 'netwrok' (did you mean 'network'?)" in line for line in errors)
    assert errors_of(experiment(), seeds=[-1])[0].startswith("--seeds: [0]: expected an integer >= 0")


def test_config_error_survives_pickling() -> None:
    import pickle

    with pytest.raises(ConfigError) as caught:
        plan({})
    assert pickle.loads(pickle.dumps(caught.value)).errors == caught.value.errors
