from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gossipsim.config import ConfigError, plan
from gossipsim.spec import use_import_path

PARTS = Path(__file__).with_name("parts.py").read_text()


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with parts.py; the import path is given back."""
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    use_import_path([])
    sys.path[:] = before


def experiment(**changes: Any) -> dict[str, Any]:
    """A valid experiment without files; a change to ... removes a key."""
    config = {
        "name": "small",
        "tasks": [{"task": "parts.Task", "models": ["parts.model"], "optimizers": [spec("parts.optimizer", lr=0.1)]}],
        "trainer": spec("parts.Trainer", steps=10),
        "network": {"nodes": 4, "topology": "networkx.cycle_graph", "weights": "parts.Weights"},
        "strategy": "parts.Strategy",
        "partition": "parts.Partition",
    } | changes
    return {key: value for key, value in config.items() if value is not ...}


def spec(path: str, name: str | None = None, **params: Any) -> dict[str, Any]:
    return {"class": path, "params": params} | ({"name": name} if name else {})


@pytest.fixture
def write(workplace: Path) -> Callable[[str, Any], Path]:
    """Writes a file: text as it is, anything else as JSON, one key a line."""

    def write_file(name: str, content: Any) -> Path:
        path = workplace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return path

    return write_file


def errors_of(config: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan(config, **options)
    assert str(caught.value) == "\n".join(caught.value.errors)
    assert all("\n" not in line and "Traceback" not in line for line in caught.value.errors)
    return caught.value.errors
