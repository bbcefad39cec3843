"""`gossipsim new`: what it writes runs, passes its own tests and the linter; what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gossipsim.cli import app
from gossipsim.config import plan
from gossipsim.scaffold import KINDS, names

NAMES = {kind: f"FreshMade{kind.capitalize()}" for kind in KINDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds, written by the command into one folder."""
    made = tmp_path_factory.mktemp("new") / "parts"
    for kind, name in NAMES.items():
        done = CliRunner().invoke(app, ["new", kind, name, "-o", str(made)])
        assert done.exit_code == 0, done.output
    return made


@pytest.fixture
def fresh_modules(folder: Path) -> Iterator[None]:
    """The modules that a test imports from the folder do not stay."""
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for module in set(sys.modules) - before:
        if "fresh_made" in module:
            del sys.modules[module]


QUICK = ("optimizer",)


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
@pytest.mark.usefixtures("fresh_modules")
def test_the_tests_that_it_writes_pass(folder: Path, kind: str) -> None:
    """They run the experiment and the laws."""
    file = folder / f"test_fresh_made_{kind}.py"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", "/dev/null", "--rootdir", str(folder)]
    assert len(re.findall(r"^def test_", file.read_text(), re.MULTILINE)) >= 3
    assert pytest.main([*options, str(file)]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_its_experiment_compares_the_part_with_ones_that_ship(folder: Path, kind: str) -> None:
    runs = plan(folder / f"fresh_made_{kind}.json").runs
    texts = [json.dumps(run.resolved()) for run in runs]
    uses = [f"fresh_made_{kind}.{NAMES[kind]}" in text for text in texts]
    assert uses[0], "the laws examine the first run"
    assert len(runs) >= 2
    assert kind == "task" or not all(uses)


def test_what_it_writes_is_tidy(folder: Path) -> None:
    rules = ["--isolated", "--no-cache", "--line-length", "120"]
    check = [sys.executable, "-m", "ruff", "check", "-q", "--select", "E,F,W,I,UP", *rules, "."]
    subprocess.run(check, check=True, cwd=folder)
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", "--check", *rules, "."], check=True, cwd=folder)
    assert not any("{{" in file.read_text() for file in folder.iterdir())


def test_it_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new", "strategy", "my_gossip"])
    assert {path.name for path in tmp_path.iterdir()} == {"my_gossip.py", "my_gossip.json", "test_my_gossip.py"}
    assert [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")] == [
        "gossipsim plan my_gossip.json",
        "python -m pytest test_my_gossip.py",
        "gossipsim run my_gossip.json",
    ]
    assert "class MyGossip:" in (tmp_path / "my_gossip.py").read_text()


def test_it_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "my_gossip.json").write_text("mine")
    arguments = ["new", "task", "MyGossip", "-o", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "my_gossip.json: exists" in done.stderr
    assert "--force" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["my_gossip.json"], "nothing is written"
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert (tmp_path / "my_gossip.json").read_text() != "mine"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-gossip", "expected a class"),
        ("myGossip", "expected a class"),
        ("../evil", "expected a class"),
        ("lambda", "keyword"),
        ("None", "keyword"),
        ("torch", "hide the module"),
        ("Statistics", "hide the module"),
    ],
)
def test_names_that_will_not_do(tmp_path: Path, name: str, reason: str) -> None:
    done = CliRunner().invoke(app, ["new", "strategy", name, "-o", str(tmp_path)])
    assert done.exit_code == 2
    assert reason in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_lists_the_kinds() -> None:
    done = CliRunner().invoke(app, ["new", "strat", "MyGossip"])
    assert done.exit_code == 2
    assert all(kind in done.stderr for kind in KINDS)


def test_both_forms_of_a_name_are_one() -> None:
    assert names("MyGossip") == names("my_gossip") == ("MyGossip", "my_gossip")
