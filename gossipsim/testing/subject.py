"""What laws are about: one run of an experiment, and what it is to break a law."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gossipsim.config import plan
from gossipsim.parts import Parts
from gossipsim.results import Run
from gossipsim.runner import run

Config = str | Path | Mapping[str, Any]


class LawBroken(AssertionError):
    """A law of the simulator does not hold for the given experiment."""


def hold(condition: bool, message: str) -> None:
    if not condition:
        raise LawBroken(message)


def fingerprint(result: Run) -> dict[str, Any]:
    """What must not depend on how a run is hosted: the bytes of its records, and the parameters' digest."""
    paths = {name: result.directory / name for name in ("history.jsonl", "steps.jsonl", "nodes.jsonl")}
    files = {name: path.read_bytes() if path.exists() else b"" for name, path in paths.items()}
    return files | {"params_sha256": result.summary["params_sha256"]}


def only_run(config: Config, processes: int, workflow: Path, overrides: Mapping[str, Any] | None = None) -> Run:
    first = plan(config, overrides=overrides or {}).runs[0]
    cell = first.cell if processes <= first.network["nodes"] else {}  # else it is another that can use so many
    alone = {**(overrides or {}), **cell, "seeds": [first.seed]}
    result = run(config, processes=processes, overrides=alone, workflow=workflow).runs[0]
    hold(
        result.status in ("complete", "diverged"),
        f"the run on {processes} processes {result.status}: {result.error}",
    )
    return result


def parts_of(config: Config, overrides: Mapping[str, Any] | None = None) -> Parts:
    return Parts(plan(config, overrides=overrides or {}).runs[0])
