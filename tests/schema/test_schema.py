"""The JSON Schemas: shipped files are valid, mistakes seen at a glance are not, and editors have what to show."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from gossipsim.catalogue import KIND_NAMES, shipped
from gossipsim.cli import app
from gossipsim.schema import DOCUMENTS, schema_of
from gossipsim.schema.params import params_schema
from gossipsim.spec.signature import accepted_by

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(
    [*ROOT.glob("configs/experiments/*.json"), *ROOT.glob("configs/sweeps/*.json"), *ROOT.glob("examples/*/*.json")]
)
TASK_FILES = sorted(ROOT.glob("configs/tasks/*/*.json"))


@functools.cache
def validator(document: str) -> Any:
    schema = schema_of(document)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.name)
def test_shipped_experiments_are_valid(file: Path) -> None:
    validator("experiment").validate(json.loads(file.read_text()))


@pytest.mark.parametrize("file", TASK_FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_shipped_task_directories_are_valid(file: Path) -> None:
    validator(file.stem).validate(json.loads(file.read_text()))


SFW = "gossipsim.optim.StochasticFrankWolfe"
WRONG: dict[str, tuple[str, Any]] = {
    "a key": ("experiment", {"name": "x", "sedes": [0]}),
    "no name": ("experiment", {"seeds": [0]}),
    "a string for a number": ("experiment", {"name": "x", "network": {"nodes": "8"}}),
    "a key of the network": ("experiment", {"name": "x", "network": {"nodes": 8, "topolgy": "gossipsim.network.ring"}}),
    "a param": (
        "experiment",
        {"name": "x", "strategy": {"class": "gossipsim.strategies.LocalThenGossip", "params": {"local_step": 4}}},
    ),
    "a choice": (
        "experiment",
        {"name": "x", "strategy": {"class": "gossipsim.strategies.GradientTracking", "params": {"variant": "act"}}},
    ),
    "a required param": ("experiment", {"name": "x", "partition": {"class": "gossipsim.data.Dirichlet"}}),
    "a param of the trainer": (
        "experiment",
        {"name": "x", "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": {"epoch": 4}}},
    ),
    "a param inside params": (
        "optimizers",
        [{"class": SFW, "params": {"constraint": {"class": "gossipsim.optim.constraints.L2", "params": {"radus": 1}}}}],
    ),
    "a value of a grid": ("experiment", {"name": "x", "grid": {"network.nodes": ["4"]}}),
    "a model that is no list": ("models", {"class": "gossipsim.models.MLP"}),
    "a key of an optimizer": ("optimizers", [{"class": "torch.optim.SGD", "schedul": {}}]),
    "a key of a task": ("task", {"class": "gossipsim.tasks.DigitsSupervisedTask", "param": {}}),
}


@pytest.mark.parametrize(("document", "value"), WRONG.values(), ids=WRONG)
def test_mistakes_are_not_valid(document: str, value: Any) -> None:
    assert not validator(document).is_valid(value)


def test_classes_of_ones_own_and_of_other_packages_take_what_they_like() -> None:
    own = {"class": "my_parts.MyStrategy", "params": {"anything": [1, {"class": "my_parts.Other"}]}}
    experiment = {"name": "x", "strategy": own, "network": {"topology": "my_parts.ring"}, "grid": {"my.own.path": [1]}}
    validator("experiment").validate(experiment)
    validator("optimizers").validate([{"class": "torch.optim.SGD", "params": {"lr": 0.1, "of_a_later_torch": 1}}])


def test_null_stands_where_it_is_the_default() -> None:
    trainer = {"class": "gossipsim.trainers.SupervisedTrainer", "params": {"steps": None, "batch_size": None}}
    validator("experiment").validate({"name": "x", "network": {"nodes": None}, "trainer": trainer})


def _keys(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        for key, each in value.get("properties", {}).items():
            yield f"{path}.{key}", each
        for key, each in value.items():
            yield from _keys(each, f"{path}/{key}")
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each, path)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_key_is_described(document: str) -> None:
    """Those of the files; a class's own params have what its docstring says."""
    skipped = ("/params-", "/if", "/then")
    keys = [(path, key) for path, key in _keys(validator(document).schema) if not any(one in path for one in skipped)]
    assert len(keys) >= 3
    assert [path for path, key in keys if not key.get("description")] == []


def test_class_paths_are_suggested_with_what_they_are() -> None:
    definitions = validator("experiment").schema["$defs"]
    for kind in ("strategy", "topology", "weights", "partition", "task", "model", "optimizer", "compression"):
        offered = {
            each["const"]: each["description"]
            for each in definitions[f"{kind}_object"]["properties"]["class"]["anyOf"][:-1]
        }
        assert {part.path for part in shipped(kind)} == set(offered)
        assert all(offered.values()), [path for path, text in offered.items() if not text]
    strategies = [each["const"] for each in definitions["strategy"]["anyOf"][0]["anyOf"][:-1]]
    assert "gossipsim.strategies.EXTRA" in strategies
    assert "gossipsim.strategies.CHOCO" not in strategies, "it needs a compressor, so that the bare path will not do"


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_params_are_those_of_the_signatures(kind: str) -> None:
    for part in shipped(kind):
        schema, accepted = params_schema(part), accepted_by(part.target, part.leading)
        if accepted is None:
            continue
        assert schema is not None
        assert set(schema["properties"]) == set(accepted.hints), part.path
        for name, default in accepted.defaults.items():
            if isinstance(default, bool | int | float | str):
                told = schema["properties"][name]
                assert told["default"] == default, (part.path, name)
                assert "$ref" in str(told) or jsonschema.Draft202012Validator(told).is_valid(default), (part.path, name)


def test_the_args_of_a_docstring_describe_its_params() -> None:
    choco = next(part for part in shipped("strategy") if part.name == "CHOCO")
    schema = params_schema(choco)
    assert schema is not None
    assert all(each.get("description") for each in schema["properties"].values())


def test_the_command_prints_each() -> None:
    for document in DOCUMENTS:
        done = CliRunner().invoke(app, ["schema", "--of", document])
        assert done.exit_code == 0
        assert json.loads(done.stdout)["title"].startswith("gossipsim: ")
    assert CliRunner().invoke(app, ["schema", "--of", "model"]).exit_code == 2
