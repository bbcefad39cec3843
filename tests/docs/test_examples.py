"""The examples in docs/ and the README: Python runs, experiments can be planned, command lines are understood.

A block with a title is written to a file of that name first, so that later blocks of the page can use it; the Python
blocks of a page share their names.
"""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from gossipsim.cli import app
from gossipsim.config import plan
from gossipsim.schema import schema_of
from tests.docs.blocks import Block, blocks
from tests.docs.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUICK = ("topology", "schema", "new", "cite")
"""Commands that are run; of the others the arguments are read."""


def of(language: str) -> list[Any]:
    found = [block for page in PAGES for block in blocks(page) if block.language == language]
    return [pytest.param(block, id=str(block)) for block in found]


def write_titled(page: Path) -> None:
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text)


WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
@pytest.mark.usefixtures("clone")
def test_python_runs(page: Path) -> None:
    """In order, after what `gossipsim new` has written before."""
    write_titled(page)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
        for name, *arguments in command_lines(block.text) if block.language == "bash" else []:
            if name == "new":
                assert CliRunner().invoke(app, [name, *arguments]).exit_code == 0


def as_experiment(text: str) -> dict[str, Any]:
    """A block that shows a part of an experiment is put into one, which has what the part may refer to."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = json.loads(f"{{{text}}}")
    shown: dict[str, Any] = {"optimizers": value} if isinstance(value, list) else value
    if "name" in shown:
        return shown
    task = {
        "task": "gossipsim.tasks.DigitsSupervisedTask",
        "models": ["gossipsim.models.MLP"],
        "optimizers": shown.pop("optimizers", ["torch.optim.SGD"]),
    }
    partition = {"class": "gossipsim.data.Dirichlet", "params": {"alpha": 1.0, "min_samples": 1}}
    return {"name": "shown", "tasks": [task], "network": {"nodes": 8}, "partition": partition, **shown}


@pytest.mark.parametrize("block", of("json"))
def test_experiments_can_be_planned(block: Block, clone: Path) -> None:
    write_titled(next(page for page in PAGES if page.name == block.page))
    experiment = as_experiment(block.text)
    file = clone / "mine" / "experiment.json"
    file.write_text(json.dumps(experiment))
    assert plan(file).runs
    jsonschema.Draft202012Validator(schema_of("experiment")).validate(experiment)


def command_lines(text: str) -> list[list[str]]:
    """The gossipsim commands of a block, without what the shell does with their output."""
    found = []
    for line in text.splitlines():
        words = shlex.split(line.split(" && ")[-1].split(" > ")[0], comments=True)
        words = words[words.index("run") + 1 :] if words[:1] == ["python3"] and "run" in words else words
        if words[:1] == ["gossipsim"]:
            found.append(words[1:])
        elif "gossipsim.runner" in words:
            found.append(["run", *words[words.index("gossipsim.runner") + 1 :]])
    return found


@pytest.mark.parametrize("block", of("bash"))
def test_command_lines_are_understood(block: Block, clone: Path) -> None:
    write_titled(next(page for page in PAGES if page.name == block.page))
    group = typer.main.get_command(app)
    for name, *arguments in command_lines(block.text):
        command = group.commands[name]  # type: ignore[attr-defined]
        command.make_context(name, list(arguments))
        for before, word in itertools.pairwise(["", *arguments]):
            if word.endswith(".json") and before not in ("-o", "--output"):
                assert (clone / word).is_file(), word
        if name in QUICK and not any(word.startswith("workflow/") for word in arguments):
            done = CliRunner().invoke(app, [name, *arguments])
            assert done.exit_code == 0, done.output


def test_there_are_examples_of_each_kind() -> None:
    counts = {language: len(of(language)) for language in ("python", "json", "bash")}
    assert min(counts.values()) >= 8, counts
