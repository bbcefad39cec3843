"""Mutated configurations give a plan or a ConfigError, never another exception."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossipsim.config import ConfigError, Plan, plan
from tests.config.conftest import experiment, spec

_PIECES: list[Any] = [
    None,
    True,
    0,
    -1,
    4,
    1.5,
    "",
    "x",
    "8",
    "parts.Strategy",
    "networkx.cycle_graph",
    "parts.number",
    "a.b.c",
    [],
    {},
    [1, 1],
    ["parts.Strategy"],
    {"class": "parts.Ball"},
    {"class": 3},
    {"class": "parts.Trainer", "params": 3},
    {"network.nodes": [1, 2]},
    {"strategy.params": [{}, {"local_steps": 2}]},
    {"": [1]},
    {"network": [{"nodes": 2}]},
    {"network.topology": ["parts.ring"]},
    {"optimizer.params": [{"lr": 3}, 3]},
    {"model": ["parts.model", 3], "optimizer.params.mode": ["exact"]},
    {"lr": [1, "x"]},
    {"strategy": ["parts.Other", None]},
    float("nan"),
    object(),
    "a\0b",
    "\ud800",
]
_KEYS = [
    "name",
    "tasks",
    "task_dirs",
    "network",
    "nodes",
    "topology",
    "strategy",
    "params",
    "class",
    "grid",
    "zip",
    "seeds",
    "models",
    "optimizers",
    "schedule",
    "every",
    "tune",
    "x",
    "",
]


def _mutate(value: Any, data: st.DataObject) -> Any:
    """One change somewhere in a document."""
    inside = isinstance(value, dict | list) and value and data.draw(st.integers(0, 3))
    if not inside:
        if isinstance(value, dict) and data.draw(st.booleans()):
            return {
                **value,
                data.draw(st.sampled_from(_KEYS)): copy.copy(data.draw(st.sampled_from(_PIECES))),
            }
        return copy.copy(data.draw(st.sampled_from(_PIECES)))
    if isinstance(value, list):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], _mutate(value[at], data), *value[at + 1 :]]
    key = data.draw(st.sampled_from(sorted(value)))
    if data.draw(st.integers(0, 5)) == 0:
        return {other: item for other, item in value.items() if other != key}
    return {**value, key: _mutate(value[key], data)}


_SEED_CONFIG = experiment(
    tasks=[
        {
            "task": "parts.Task",
            "models": ["parts.model"],
            "optimizers": [{"class": "parts.optimizer", "params": {}, "tune": {"lr": [1, 2]}}],
        }
    ],
    grid={
        "network.nodes": [4, 8],
        "strategy": ["parts.Strategy", spec("parts.Other", local_steps=2)],
        "task.params.size": [1, 2],
    },
    zip={"strategy.params.local_steps": [1, 2], "trainer.params.log.x": [1, 2]},
    seeds=[0, 1],
    task_dirs=[],
)


def _outcome(config: Any, overrides: dict[str, Any]) -> Plan | list[str]:
    """A plan or the lines of a ConfigError; any other exception is a failure."""
    try:
        return plan(config, overrides=overrides)
    except ConfigError as error:
        return error.errors


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_config_gives_a_plan_or_a_config_error(data: st.DataObject) -> None:
    config: Any = _SEED_CONFIG
    for _ in range(data.draw(st.integers(1, 3))):
        config = _mutate(config, data)
    paths = st.sampled_from(
        [
            "network",
            "network.nodes",
            "strategy.params.local_steps",
            "optimizer",
            "optimizer.params.lr",
            "optimizer.tune",
            "optimizer.tune.lr",
            "model.params",
            "grid",
            "seeds",
            "tasks.0.task",
            "zip.trainer.params.steps",
            "a.b",
            "",
            "name.x",
            "task_dirs",
        ]
    )
    overrides = data.draw(st.dictionaries(paths, st.sampled_from(_PIECES), max_size=2))
    found = _outcome(config, overrides)
    if isinstance(found, Plan):
        assert found.runs
        assert all(len(run.key) == 64 and run.origins.of("network.topology") for run in found.runs)
    else:
        assert found
        assert all(line and "\n" not in line for line in found)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_file_gives_a_plan_or_a_config_error(data: st.DataObject, workplace: Path) -> None:
    text = json.dumps(_SEED_CONFIG, indent=1)
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 5))
    noise = data.draw(st.text(alphabet='{}[]",:0x\\ \n', max_size=4))
    path = workplace / "fuzz.json"
    path.write_text(text[:at] + noise + text[at + cut :])
    found = _outcome(path, {})
    assert isinstance(found, Plan) or (found and all(line.startswith("fuzz.json:") for line in found))
