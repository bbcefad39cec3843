"""The resolved runs of a run directory, an experiment, a workflow or a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gossipsim.results import find_experiments, read_json


def specs_of(path: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The runs and the versions of packages that they ran with; a configuration has no versions.

    Raises:
        FileNotFoundError: where there is nothing of the kind.
        ValueError: for a damaged file, and for an experiment of which no run has started.
    """
    if path.is_file():
        from gossipsim.config import plan

        return [run.resolved() for run in plan(path).runs], {}
    if (path / "run.json").is_file():
        return [read_json(path / "run.json")["spec"]], _packages(path)
    experiment = path if (path / "resolved.json").is_file() else _newest(path)
    records = [
        experiment / entry["directory"] / "run.json" for entry in read_json(experiment / "resolved.json")["runs"]
    ]
    specs = [read_json(record)["spec"] for record in records if record.is_file()]
    if not specs:
        raise ValueError(f"{experiment}: no run has started; give its configuration file instead")
    return specs, _packages(experiment)


def _newest(path: Path) -> Path:
    for candidate in reversed(find_experiments(path)):
        if (candidate / "resolved.json").is_file():
            return candidate
    raise FileNotFoundError(
        f"{path}: neither a run (run.json), nor an experiment (resolved.json), nor a workflow of them, nor a file"
    )


def _packages(directory: Path) -> dict[str, str]:
    """From the env.json of the experiment that a directory is, or lies in."""
    for folder in (directory, *directory.resolve().parents):
        if (folder / "resolved.json").is_file():
            environment = folder / "env.json"
            packages: dict[str, str] = read_json(environment)["packages"] if environment.is_file() else {}
            return packages
    return {}
