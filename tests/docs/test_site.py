"""The documentation builds without warnings and without the network, and its references say what the code says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gossipsim.catalogue import shipped
from gossipsim.config import experiment_schema
from tests.docs.conftest import ROOT


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-f",
        str(ROOT / "mkdocs.yml"),
        "-d",
        str(folder),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_builds_and_fetches_nothing(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 13
    for page in pages:
        text = page.read_text()
        fetched = re.findall(
            r"<(?:script|img|iframe)[^>]+src=\"?(?:https?:)?//[^\">]+|<link[^>]+stylesheet[^>]+//[^>]+", text
        )
        assert fetched == [], page


def test_every_part_has_its_place_in_the_reference(site: Path) -> None:
    text = (site / "reference" / "parts" / "index.html").read_text()
    for kind in ("strategy", "optimizer", "topology", "weights", "partition", "task", "compression", "constraint"):
        for part in shipped(kind):
            assert not part.path.startswith("gossipsim.") or part.path in text, part.path


def test_every_strategy_has_a_section_with_its_source(site: Path) -> None:
    text = (site / "algorithms" / "index.html").read_text()
    for part in shipped("strategy"):
        assert f'id="{part.name.lower()}"' in text, part.path
    assert text.count("<strong>Source") >= 20


def test_every_key_is_in_the_reference(generate: ModuleType) -> None:
    text = generate.configuration()
    for key in experiment_schema()["properties"]:
        assert f"| `{key}` |" in text


def test_every_command_is_in_the_reference(generate: ModuleType) -> None:
    import typer

    from gossipsim.cli import app

    text = generate.commands()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert "```bash\ngossipsim " in section, name
        for param in command.params:
            assert param.name == "help" or f"`{param.opts[-1]}`" in section or f"`{param.name.upper()}`" in section


def test_docstrings_become_markdown(generate: ModuleType) -> None:
    text = (
        "A :class:`~gossipsim.data.IID` of x_i < 1, `a_b <`.\n\n    x_i <- W x\n\nSource: one.\n\nArgs:\n    x: hidden"
    )
    assert generate.markdown(text) == "A `IID` of x\\_i &lt; 1, `a_b <`.\n\n    x_i <- W x\n\n**Source.** one."
