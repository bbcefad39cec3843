"""Sweeps, overrides and tuning of what is crossed: tasks, models, optimizers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossipsim.config import RunSpec, plan
from tests.config.conftest import errors_of, experiment, spec

Write = Callable[[str, Any], Path]
Config = dict[str, Any]

PLAIN = spec("parts.optimizer", lr=0.1)
LINEAR = spec("parts.optimizer", lr=0.1, mode="linear")


def crossing(*optimizers: Any, models: Any = ("parts.model",), **changes: Any) -> Config:
    tasks = [{"task": "parts.Task", "models": list(models), "optimizers": list(optimizers)}]
    return experiment(tasks=tasks, **changes)


def tuned(tune: Any, name: str | None = None, **params: Any) -> Config:
    return spec("parts.optimizer", name, **params) | {"tune": tune}


def named(config: Config, **options: Any) -> list[tuple[str, str, Any]]:
    """(optimizer, cell, lr) of every run."""
    runs = plan(config, **options).runs
    return [(run.labels["optimizer"], run.labels["cell"], run.optimizer["params"].get("lr")) for run in runs]


def test_a_param_is_swept_for_every_optimizer() -> None:
    config = crossing(PLAIN, LINEAR, grid={"optimizer.params.lr": [1, 2]})
    assert named(config) == [
        ("optimizer", "lr=1", 1),
        ("optimizer(mode=linear)", "lr=1", 1),
        ("optimizer", "lr=2", 2),
        ("optimizer(mode=linear)", "lr=2", 2),
    ]
    assert plan(config).runs[2].cell == {"optimizer.params.lr": 2}


def test_a_written_name_that_tells_the_swept_value_is_not_used() -> None:
    optimizers = [spec("parts.optimizer", name=name, lr=0.1) for name in ("O(lr=0.1)", "mine")]
    grid = {"optimizer.params.lr": [1], "optimizer.clip_grad_norm": [None, 2]}
    assert [row[:2] for row in named(crossing(*optimizers, grid=grid))] == [
        ("optimizer", "lr=1, clip_grad_norm=null"),
        ("mine", "lr=1, clip_grad_norm=null"),
        ("optimizer", "lr=1, clip_grad_norm=2"),
        ("mine", "lr=1, clip_grad_norm=2"),
    ]


def test_tasks_models_and_nested_params_are_swept_too() -> None:
    ball = spec("parts.optimizer", lr=1, constraint=spec("parts.Ball", radius=3))
    config = crossing(
        ball,
        models=["parts.model", spec("parts.model", hidden=[1])],
        zip={"task.params.size": [5, 6], "optimizer.params.constraint.params.radius": [7, 8]},
        grid={"model.params.hidden": [[2]]},
    )
    (line,) = errors_of(config)
    assert "tasks[0].models[1]: the same as <config>: tasks[0].models[0] but for model.params.hidden" in line
    config["tasks"][0]["models"].pop()
    runs = plan(config).runs
    assert [run.task["params"]["size"] for run in runs] == [5, 6]
    assert [run.optimizer["params"]["constraint"]["params"]["radius"] for run in runs] == [7, 8]
    assert [run.model["params"]["hidden"] for run in runs] == [[2], [2]]
    assert runs[1].labels["cell"] == "hidden=[2], size=6, radius=8"
    assert runs[1].origins.of("optimizer.params.constraint.params.radius") == (
        '<config>: zip["optimizer.params.constraint.params.radius"][1]'
    )


def test_a_whole_spec_takes_the_place_of_the_only_one() -> None:
    values = ["torch.optim.SGD", "torch.optim.Adam"]
    config = crossing(PLAIN, grid={"optimizer": values, "network.nodes": [2, 4]})
    assert [row[:2] for row in named(config)] == [
        ("SGD", "nodes=2"),
        ("SGD", "nodes=4"),
        ("Adam", "nodes=2"),
        ("Adam", "nodes=4"),
    ]
    several = errors_of(crossing(PLAIN, LINEAR, grid={"optimizer": values}))
    assert "grid.optimizer[0]: a whole optimizer takes the place of the only one, but 2 are listed" in several[0]


def test_whole_specs_that_look_the_same_are_told_apart_by_the_cell() -> None:
    values = [spec("torch.optim.SGD", "SGD", lr=lr) for lr in (1, 2)]
    labels = [row[:2] for row in named(crossing(PLAIN, grid={"optimizer": values}))]
    assert labels == [("SGD", "optimizer=SGD"), ("SGD", "optimizer=SGD #2")]


def test_schedules_are_swept() -> None:
    schedules = [None, spec("parts.schedule", step_size=3)]
    runs = plan(crossing("torch.optim.SGD", grid={"optimizer.schedule": schedules})).runs
    assert [run.optimizer.get("schedule", {}).get("params") for run in runs] == [None, {"step_size": 3}]
    assert [run.labels["cell"] for run in runs] == ["schedule=null", "schedule=schedule(step_size=3)"]


def test_overrides_reach_every_optimizer_end_a_sweep_and_go_below_one() -> None:
    override = {"optimizer.params.lr": 9}
    both = [("optimizer(lr=9)", "default", 9), ("optimizer(lr=9, mode=linear)", "default", 9)]
    assert named(crossing(PLAIN, LINEAR), overrides=override) == both
    assert named(crossing(PLAIN, LINEAR, grid={"optimizer.params.lr": [1, 2]}), overrides=override) == both
    whole = crossing(PLAIN, grid={"optimizer": ["torch.optim.SGD", "torch.optim.Adam"]})
    assert [row[2] for row in named(whole, overrides=override)] == [9, 9]
    run = plan(crossing(PLAIN), overrides=override).runs[0]
    assert run.origins.of("optimizer.params.lr") == "--set optimizer.params.lr"
    (line,) = errors_of(crossing(PLAIN), overrides={"optimizer.params.lrr": 9})
    assert line.startswith("--set optimizer.params.lrr: parts.optimizer takes no 'lrr' (did you mean 'lr'?)")


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"optimizer.params.lrr": [1]}, "takes no 'lrr' (did you mean 'lr'?)"),
        ({"optimizer.params.lr": ["x"]}, 'expected a number, got "x"'),
        ({"optimizer.clip_grad_norm": [-1]}, "expected a number > 0, got -1"),
        ({"optimizer.schedule": [spec("parts.schedule", stp_size=3)]}, "takes no 'stp_size'"),
        ({"optimizer.lr": [1]}, "did you mean 'optimizer.params.lr'?"),
        ({"optimizer.scedule": [1]}, "optimizer has no 'scedule' (did you mean 'schedule'?)"),
        ({"optimizer.tune": [{"lr": [1]}]}, "'tune' lists candidates itself"),
        ({"model.params.hiden": [[1]]}, "takes no 'hiden' (did you mean 'hidden'?)"),
        ({"task.params.sise": [1]}, "takes no 'sise' (did you mean 'size'?)"),
        ({"task.name.x": [1]}, "task.name is a string and has no 'x'"),
    ],
)
def test_mistakes_in_a_sweep_are_told_where_it_stands(grid: Config, expected: str, write: Write) -> None:
    path = write("a.json", crossing(PLAIN, grid=grid))
    lines = errors_of(path)
    (key,) = grid
    place = 1 + next(i for i, line in enumerate(path.read_text().splitlines()) if f'"{key}"' in line)
    assert any(expected in line for line in lines), lines
    assert all(place <= int(line.split(":")[1]) <= place + 10 for line in lines), lines


def test_tuned_optimizers_become_candidates() -> None:
    plan_ = plan(
        crossing(tuned({"lr": [1, 2]}), tuned({"lr": [3, 4]}, mode="linear"), tuned({"lr": [5, 6]}, "Z(lr=?)"), PLAIN)
    )
    assert [(run.labels["optimizer"], run.tuned) for run in plan_.runs] == [
        ("optimizer(lr=1)", {"optimizer": "optimizer", "params": {"lr": 1}}),
        ("optimizer(lr=2)", {"optimizer": "optimizer", "params": {"lr": 2}}),
        ("optimizer(mode=linear, lr=3)", {"optimizer": "optimizer(mode=linear)", "params": {"lr": 3}}),
        ("optimizer(mode=linear, lr=4)", {"optimizer": "optimizer(mode=linear)", "params": {"lr": 4}}),
        ("optimizer #2(lr=5)", {"optimizer": "optimizer #2", "params": {"lr": 5}}),
        ("optimizer #2(lr=6)", {"optimizer": "optimizer #2", "params": {"lr": 6}}),
        ("optimizer(lr=0.1)", None),
    ]
    run: RunSpec = plan_.runs[3]
    assert run.optimizer["params"] == {"mode": "linear", "lr": 4}
    assert "tune" not in run.optimizer
    assert run.origins.of("optimizer.params.lr") == "<config>: tasks[0].optimizers[1].tune.lr[1]"
    assert run.key == plan(crossing(spec("parts.optimizer", lr=4, mode="linear"))).runs[0].key


def test_several_params_are_tuned_in_all_combinations_also_nested_ones() -> None:
    ball = tuned({"lr": [1, 2], "constraint.params.radius": [3, 4]}, "B", constraint=spec("parts.Ball"))
    runs = plan(crossing(ball)).runs
    assert [run.labels["optimizer"] for run in runs] == [
        "B(lr=1, radius=3)",
        "B(lr=1, radius=4)",
        "B(lr=2, radius=3)",
        "B(lr=2, radius=4)",
    ]
    assert runs[3].tuned == {"optimizer": "B", "params": {"lr": 2, "constraint.params.radius": 4}}
    assert runs[3].optimizer["params"]["constraint"]["params"] == {"radius": 4}


def test_an_override_ends_tuning_or_changes_the_candidates() -> None:
    config = crossing(tuned({"lr": [1, 2]}, "O"))
    assert [(row[0], row[2]) for row in named(config, overrides={"optimizer.params.lr": 7})] == [("O", 7)]
    changed = named(config, overrides={"optimizer.tune.lr": [7, 8, 9]})
    assert [row[2] for row in changed] == [7, 8, 9]


@pytest.mark.parametrize(
    ("optimizers", "expected"),
    [
        (
            [tuned({"lr": [1, 2]}), tuned({"lr": [1, 2, 3]}, mode="linear")],
            "<config>: tasks[0].optimizers[1].tune: 3 candidates, but 2 at <config>: tasks[0].optimizers[0].tune; "
            "tuned optimizers get the same number (an equal budget)",
        ),
        ([tuned({"lrr": [1]}, lr=1)], "optimizers[0].tune.lrr[0]: parts.optimizer takes no 'lrr' (did you mean 'lr'?)"),
        ([tuned({"lr": [1, "x"]})], "optimizers[0].tune.lr[1]: expected a number, got"),
        ([tuned({"lr": [1, 1]})], "optimizers[0].tune.lr[1]: the same value as entry 0"),
        ([tuned({"lr": [1, 2]}, lr=3)], "optimizers[0].params.lr: 'lr' is tuned as well"),
        ([tuned({"lr": []})], "optimizers[0].tune.lr: expected at least one entry, got an empty list"),
        ([tuned({}, lr=1)], "optimizers[0].tune: expected at least one entry, got an empty object"),
        ([tuned({"lr": 3})], "optimizers[0].tune.lr: expected a list, got 3"),
    ],
)
def test_mistakes_in_tuning(optimizers: list[Any], expected: str) -> None:
    (line,) = errors_of(crossing(*optimizers))
    assert expected in line


def test_a_param_is_swept_or_tuned() -> None:
    (line,) = errors_of(crossing(tuned({"lr": [1, 2]}), grid={"optimizer.params.lr": [7]}))
    assert line.startswith("<config>: grid[\"optimizer.params.lr\"][0]: 'lr' is tuned as well")


def test_targets_and_selection() -> None:
    made = plan(experiment(targets={"test_accuracy": 1, "suboptimality": [0.01, 1e-4]}, selection={}))
    assert made.targets == {"test_accuracy": [1.0], "suboptimality": [0.01, 1e-4]}
    assert made.selection == {}
    assert plan(experiment(), overrides={"selection.metric": "val_loss"}).selection == {"metric": "val_loss"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"targets": {"a": []}}, "<config>: targets.a: expected a number or a list of numbers, got []"),
        ({"targets": {"a": "0.9"}}, "<config>: targets.a: expected a number or a list of numbers"),
        ({"targets": {"a": [1, 1]}}, "<config>: targets.a: 1 stands there twice"),
        ({"selection": {"metrc": "val_loss"}}, "selection.metrc: unknown key (did you mean 'metric'?)"),
        ({"selection": {"metric": "test_loss"}}, "selection.metric: the test set is not for choosing"),
    ],
)
def test_mistakes_in_targets_and_selection(changes: Config, expected: str) -> None:
    (line,) = errors_of(experiment(**changes))
    assert expected in line
