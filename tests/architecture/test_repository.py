"""What is shipped beside the package: configurations, launch scripts, the README and the lock file."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from gossipsim.config import experiment_schema, plan

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    file
    for pattern in ("configs/experiments/*.json", "configs/sweeps/*.json", "configs/papers/*.json", "examples/*/*.json")
    for file in ROOT.glob(pattern)
)
SCRIPTS = sorted(file for file in (ROOT / "launch").iterdir() if file.suffix in (".sh", ".sbatch"))
REGISTRY = re.compile(r"https?://|index-url|\[\[tool\.uv\.index\]\]")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: str(file.relative_to(ROOT)))
def test_shipped_experiments_are_valid(file: Path) -> None:
    """Read and checked without building anything, so that the data need not be there."""
    assert plan(file).runs


def test_the_schema_knows_the_keys_of_every_shipped_experiment() -> None:
    known = set(experiment_schema()["properties"])
    for file in CONFIGS:
        assert set(plan(file).document) <= known, file


def test_the_launch_scripts_of_the_design_are_there() -> None:
    assert {"torchrun.sh", "multihost.sh", "slurm.sbatch", "debug.sh"} <= {file.name for file in SCRIPTS}


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_launch_scripts(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 20
    assert text.splitlines()[1].startswith("# "), "the second line says what it is for"
    assert os.access(file, os.X_OK)
    subprocess.run(["bash", "-n", file], check=True)
    for config in re.findall(r"\bconfigs/[\w/]+\.json\b", text):
        assert (ROOT / config).is_file(), config
    for module in re.findall(r"-m (gossipsim[\w.]*)", text):
        assert importlib.util.find_spec(module), module


def test_no_registry_is_named() -> None:
    """Hosts of package registries belong to a machine; the lock file carries hashes."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "uv.lock" in ignored
    assert not REGISTRY.search((ROOT / "pyproject.toml").read_text())
    lock = ROOT / "requirements" / "lock.txt"
    if lock.exists():
        assert "://" not in lock.read_text()


def test_the_lock_file_has_every_dependency() -> None:
    lock = ROOT / "requirements" / "lock.txt"
    if not lock.exists():
        pytest.skip("no requirements/lock.txt")
    locked = {re.split(r"[=\[ ]", line)[0].lower() for line in lock.read_text().splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[><=\[ ]", name)[0] for name in project["dependencies"]} <= locked


def test_files_that_the_readme_names_exist() -> None:
    named = re.findall(
        r"\b(?:configs|launch|examples|tests|docs|requirements)/[\w./-]*\w", (ROOT / "README.md").read_text()
    )
    assert [name for name in dict.fromkeys(named) if not (ROOT / name).exists()] == []
