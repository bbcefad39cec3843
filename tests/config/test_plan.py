from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossipsim.config import Plan, experiment_schema, plan
from tests.config.conftest import experiment, spec

Write = Callable[[str, Any], Path]


def column(planned: Plan, *path: str) -> list[Any]:
    values: list[Any] = [run.resolved() for run in planned.runs]
    for part in path:
        values = [value[part] for value in values]
    return values


def test_the_smallest_experiment_is_one_supervised_node() -> None:
    planned = plan(experiment(network={"nodes": 1, "weights": "parts.Weights", "topology": "parts.ring"}))
    (run,) = planned.runs
    assert planned.workflow == "workflow/small"
    assert planned.source is None
    assert planned.swept == []
    assert run.network["nodes"] == 1
    assert run.seed == 0
    assert run.labels == {
        "task": "Task",
        "model": "model",
        "optimizer": "optimizer(lr=0.1)",
        "cell": "default",
    }
    assert run.optimizer == {"class": "parts.optimizer", "params": {"lr": 0.1}, "name": "optimizer"}


def test_order_is_cells_then_task_model_optimizer_seed() -> None:
    tasks = [
        {
            "task": spec("parts.Task", size=size),
            "models": ["parts.model", spec("parts.model", hidden=[3])],
            "optimizers": [spec("parts.optimizer", lr=1), spec("parts.optimizer", lr=2)],
        }
        for size in (1, 2)
    ]
    planned = plan(
        experiment(
            tasks=tasks,
            seeds=[5, 3],
            grid={"network.nodes": [4, 8], "strategy": ["parts.Strategy", "parts.Other"]},
            zip={"strategy.params.local_steps": [1, 2], "partition.params.alpha": [0.1, 10]},
        )
    )
    assert planned.swept == [
        "network.nodes",
        "strategy",
        "strategy.params.local_steps",
        "partition.params.alpha",
    ]
    assert len(planned.runs) == 8 * 16
    assert column(planned, "seed")[:4] == [5, 3, 5, 3]
    assert column(planned, "optimizer", "params", "lr")[:5] == [1, 1, 2, 2, 1]
    assert column(planned, "task", "params", "size")[:16] == [1] * 8 + [2] * 8
    assert column(planned, "strategy", "params", "local_steps")[::16] == [1, 2] * 4
    assert column(planned, "partition", "params", "alpha")[::16] == [0.1, 10] * 4
    assert column(planned, "strategy", "class")[::32] == ["parts.Strategy", "parts.Other"] * 2
    assert column(planned, "network", "nodes")[::64] == [4, 8]
    assert len({run.key for run in planned.runs}) == len(planned.runs)
    assert planned.runs[16].labels["cell"] == "nodes=4, strategy=Strategy, local_steps=2, alpha=10"
    assert planned.runs[16].cell == dict(zip(planned.swept, [4, "parts.Strategy", 2, 10], strict=True))


def test_an_inner_sweep_goes_into_an_outer_one_whatever_stands_first() -> None:
    planned = plan(
        experiment(grid={"strategy.params.local_steps": [1, 2], "strategy": ["parts.Strategy", "parts.Other"]})
    )
    assert column(planned, "strategy", "class") == ["parts.Strategy", "parts.Other"] * 2
    assert column(planned, "strategy", "params", "local_steps") == [1, 1, 2, 2]


def test_a_swept_network_needs_no_network_section(write: Write) -> None:
    config = experiment(
        network=...,
        grid={"network.nodes": [2], "network.topology": ["parts.ring"], "network.weights": ["parts.Weights"]},
    )
    assert plan(config).runs[0].network["nodes"] == 2


def test_overrides() -> None:
    config = experiment(grid={"network.nodes": [4, 8], "strategy": ["parts.Strategy", "parts.Other"]})
    given = copy.deepcopy(config)
    planned = plan(
        config,
        overrides={
            "network.nodes": 3,
            "strategy.params.local_steps": 7,
            "trainer.params.log.consensus": 5,
            "name": "other",
            "grid.partition.params.alpha": [1, 2],
            "tasks.0.optimizers.0.params.lr": 9,
            "description": "x",
        },
        seeds=range(2),
    )
    assert config == given == planned.document
    assert planned.workflow == "workflow/other"
    assert planned.swept == ["strategy", "partition.params.alpha"]
    assert set(column(planned, "network", "nodes")) == {3}
    assert set(column(planned, "strategy", "params", "local_steps")) == {7}
    assert set(column(planned, "optimizer", "params", "lr")) == {9}
    assert column(planned, "trainer", "params", "log")[0] == {"consensus": 5}
    assert column(planned, "seed") == [0, 1] * 4
    assert planned.overrides["seeds"] == [0, 1]
    of = planned.runs[0].origins.of
    assert of("network.nodes") == "--set network.nodes"
    assert of("strategy.params.local_steps") == "--set strategy.params.local_steps"
    assert of("strategy") == "<config>: grid.strategy[0]"
    assert of("partition.params.alpha") == "--set grid.partition.params.alpha"
    assert of("seed") == "--seeds"
    assert plan(config, overrides={"workflow": "w", "grid": {}}).workflow == "w"


def test_keys_do_not_know_names_and_do_know_everything_else() -> None:
    base = plan(experiment()).runs[0]
    renamed = experiment(
        name="renamed",
        workflow="elsewhere",
        description="x",
        strategy={"name": "mine", "class": "parts.Strategy"},
        tasks=[
            {
                "models": ["parts.model"],
                "task": spec("parts.Task", name="T"),
                "optimizers": [spec("parts.optimizer", name="O", lr=0.1)],
            }
        ],
    )
    assert plan(renamed).runs[0].key == base.key
    constraint = spec("parts.Ball", radius=1)
    named = spec("parts.Ball", name="B", radius=1)
    keys = [
        plan(
            experiment(
                tasks=[
                    {
                        "task": "parts.Task",
                        "models": ["parts.model"],
                        "optimizers": [spec("parts.optimizer", lr=0.1, constraint=each)],
                    }
                ]
            )
        )
        .runs[0]
        .key
        for each in (constraint, named)
    ]
    assert keys[0] == keys[1] != base.key
    for path, value in (
        ("network.nodes", 5),
        ("strategy", "parts.Other"),
        ("trainer.params.steps", 11),
        ("seeds", [1]),
    ):
        assert plan(experiment(), overrides={path: value}).runs[0].key != base.key


def test_resolved_is_plain_json_and_a_copy() -> None:
    run = plan(experiment()).runs[0]
    resolved = run.resolved()
    assert json.loads(json.dumps(resolved)) == resolved
    resolved["network"]["nodes"] = 99
    assert run.resolved()["network"]["nodes"] == 4
    assert list(resolved) == [
        "task",
        "model",
        "optimizer",
        "trainer",
        "strategy",
        "partition",
        "network",
        "seed",
    ]


def test_files_origins_and_import_path(write: Write, workplace: Path) -> None:
    write("exps/own.py", "class Task:\n    num_classes = 2\n    def __init__(self, size: int): ...\n")
    write("tasks/t/task.json", '{"class": "own.Task",\n "params": {\n"size": 3}}')
    write("tasks/t/models.json", '["parts.model",\n {"class": "parts.model", "params": {"hidden": [1]}}]')
    write(
        "tasks/t/optimizers.json",
        '[{"class": "torch.optim.SGD", "params":\n {"lr": 0.1},\n "schedule": {"class": '
        '"torch.optim.lr_scheduler.StepLR", "params": {"step_size": 3}}, "clip_grad_norm": 1}]',
    )
    config = experiment(tasks=..., task_dirs=["../tasks/t"], grid={"network.nodes": [4, 8]}, **{"$schema": "x"})
    path = write("exps/a.json", config)
    planned = plan("exps/a.json")
    assert planned.source == path
    assert planned.search_paths == [path.parent, workplace]
    run = planned.runs[3]
    assert run.optimizer["schedule"] == {
        "class": "torch.optim.lr_scheduler.StepLR",
        "params": {"step_size": 3},
        "name": "StepLR",
        "every": "epoch",
    }
    assert run.labels["optimizer"] == "SGD(lr=0.1, schedule=StepLR(step_size=3), clip_grad_norm=1)"
    of = run.origins.of
    lines = path.read_text().splitlines()
    assert of("task.params.size") == "tasks/t/task.json:3: params.size"
    assert of("task") == "tasks/t/task.json:1"
    assert of("model.params.hidden") == "tasks/t/models.json:2: [1].params.hidden"
    assert of("optimizer.params.lr") == "tasks/t/optimizers.json:2: [0].params.lr"
    assert of("optimizer.params.momentum") == "tasks/t/optimizers.json:1: [0].params"
    nodes_line = 1 + next(i for i, line in enumerate(lines) if line.strip() == "8")
    assert of("network.nodes") == f'exps/a.json:{nodes_line}: grid["network.nodes"][1]'
    topology_line = 1 + next(i for i, line in enumerate(lines) if "cycle_graph" in line)
    assert of("network.topology.params.seed") == f"exps/a.json:{topology_line}: network.topology"
    assert of("seed") == "exps/a.json:1: seeds"


def test_same_name_gets_a_number() -> None:
    optimizers = [spec("parts.optimizer", name="O", lr=lr) for lr in (1, 2, 3)]
    planned = plan(experiment(tasks=[{"task": "parts.Task", "models": ["parts.model"], "optimizers": optimizers}]))
    assert [run.labels["optimizer"] for run in planned.runs] == ["O", "O #2", "O #3"]
    cells = plan(experiment(grid={"strategy": [spec("parts.Strategy", name="S", local_steps=k) for k in (1, 2)]}))
    assert [run.labels["cell"] for run in cells.runs] == ["strategy=S", "strategy=S #2"]


def test_functions_that_are_parts_themselves() -> None:
    """A partition or weights may be a function that is called later, with the params of its spec bound."""
    network = {"nodes": 2, "topology": "parts.ring", "weights": spec("parts.uniform", lazy=True)}
    planned = plan(experiment(partition=spec("parts.split", alpha=2), network=network))
    assert planned.runs[0].partition["params"] == {"alpha": 2}


def test_schema_describes_the_experiment() -> None:
    schema = experiment_schema()
    assert {"name", "task_dirs", "network", "grid", "$schema"} <= set(schema["properties"])
    assert schema["required"] == ["name"]
    assert json.dumps(schema)
    assert "class" in schema["$defs"]["Spec"]["anyOf"][1]["properties"]


@pytest.mark.parametrize("kind", ["json", "dict"])
def test_file_and_dict_agree(kind: str, write: Write) -> None:
    config = experiment(grid={"network.nodes": [4, 8]})
    planned = plan(config if kind == "dict" else write("a.json", config))
    assert [run.key for run in planned.runs] == [
        run.key for run in plan(experiment(grid={"network.nodes": [4, 8]})).runs
    ]
