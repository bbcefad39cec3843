"""A working directory with a configuration and the user's module beside it, and `gossipsim` called in-process."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gossipsim.report
from gossipsim.cli import app
from gossipsim.spec import use_import_path

MINE = Path(__file__).with_name("mine.py").read_text()

Config = dict[str, Any]

QUADRATIC = {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 5}}
DIGITS = {"class": "gossipsim.tasks.DigitsSupervisedTask", "params": {"train_size": 200, "val_size": 20}}
SGD = {"class": "torch.optim.SGD", "params": {"lr": 0.05}}


def config(
    task: Any = QUADRATIC, model: Any = "gossipsim.models.Vector", optimizer: Any = SGD, **changes: Any
) -> Config:
    """Six full-batch steps of four nodes on a ring."""
    params = {"steps": 6, "batch_size": None, "dtype": "float64", "log_every": 1}
    whole = {
        "name": "small",
        "tasks": [{"task": task, "models": [model], "optimizers": [optimizer]}],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": params},
        "network": {"nodes": 4, "topology": "gossipsim.network.ring"},
        "workflow": "wf",
    }
    return copy.deepcopy(whole | changes)


def with_params(section: Config, **params: Any) -> Config:
    """A spec with further params."""
    return section | {"params": section["params"] | params}


@dataclass
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return self.err.splitlines()


class Workplace:
    """A folder with files, in which commands are called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("mine.py", MINE)

    def write(self, name: str, content: Any) -> Path:
        """Text as it is, anything else as JSON with a line per value."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return path

    def line(self, text: str, name: str = "c.json") -> int:
        """The line of a file where a text stands for the first time."""
        lines = (self.folder / name).read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)

    def call(self, *arguments: Any) -> Outcome:
        """`gossipsim ARGUMENTS`."""
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def run(self, content: Any, *arguments: Any, processes: int | str = 1) -> Outcome:
        """`gossipsim run c.json`."""
        self.write("c.json", content)
        return self.call("run", "c.json", "--processes", processes, *arguments)

    def refused(self, content: Any, *arguments: Any, processes: int | str = 1) -> list[str]:
        """The lines of a refusal: exit code 2, nothing on stdout, no traceback, nothing written."""
        self.write("c.json", content)
        before = sorted(self.folder.rglob("*"))
        outcome = self.call("run", "c.json", "--processes", processes, *arguments)
        assert outcome.code == 2, outcome
        assert outcome.out == ""
        assert "Traceback" not in outcome.err
        assert sorted(self.folder.rglob("*")) == before
        return outcome.errors

    def records(self, experiment: int = 1) -> list[dict[str, Any]]:
        """run.json of every run, in the order of their paths."""
        pattern = f"wf/exp_{experiment:04d}/runs/**/run.json"
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob(pattern))]

    def experiments(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "wf").iterdir())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(gossipsim.report, "build", lambda directory: directory)  # 2 s of plots per experiment
    before = list(sys.path)
    yield Workplace(tmp_path)
    use_import_path([])
    sys.path[:] = before
