"""Names that every file system takes, files that are whole or absent, and where experiments and runs live."""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LABELS = ("task", "model", "optimizer", "cell")

_LONGEST_NAME = 100  # bytes; file systems allow 255, but a path has six of these parts
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)  # reserved by Windows
_EXPERIMENT = re.compile(r"exp_(\d{4,})$")


def safe_name(display: str) -> str:
    """A readable path component: ASCII, never empty, hidden, reserved or with a separator.

    It is idempotent. Different displays may get one name: see :func:`unique_names`.

    >>> safe_name("Dirichlet(α=0.1)"), safe_name("../etc"), safe_name("")
    ('Dirichlet-alpha=0.1', 'etc', 'unnamed')
    """
    spelled = "".join(_spell(character) for character in unicodedata.normalize("NFKD", display))
    name = re.sub(r"[^A-Za-z0-9._+=,@-]+", "-", re.sub(r"\s+", "_", spelled))
    name = re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", name))
    if _DEVICES.match(name.strip("-._,")):
        name = f"x-{name.strip('-._,')}"
    return name.strip("-._,")[:_LONGEST_NAME].rstrip("-._,") or "unnamed"


def _spell(character: str) -> str:
    if unicodedata.combining(character):
        return ""
    words = unicodedata.name(character, "").split()
    return words[-1].lower() if words[:1] == ["GREEK"] and "LETTER" in words else character


def unique_names(displays: Sequence[str]) -> list[str]:
    """Safe names, in the same order, that differ even where the file system ignores case.

    >>> unique_names(["SGD", "sgd", "Adam", "SGD"])
    ['SGD', 'sgd_2', 'Adam', 'SGD_3']
    """
    taken: set[str] = set()
    names: list[str] = []
    for display in displays:
        stem = name = safe_name(display)
        number = 1
        while name.casefold() in taken:
            number += 1
            suffix = f"_{number}"
            name = stem[: _LONGEST_NAME - len(suffix)].rstrip("-._,") + suffix
        taken.add(name.casefold())
        names.append(name)
    return names


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing: a temporary file beside it, fsync, rename. Makes missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}."[:80], suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)  # mkstemp makes it private; results are to be shared
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; a lone surrogate in a display name is spelled out."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have; the file is left as it was.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads one JSON file.

    Raises:
        ValueError: naming the file where it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as problem:
        raise ValueError(f"{path}: not valid JSON ({problem})") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Reads one record per line; a last line that a killed process left half written is dropped.

    A file that does not exist has no records.

    Raises:
        ValueError: naming file and line where a line before the last is damaged.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().rstrip(b"\n").split(b"\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except ValueError as problem:
            if number == len(lines):
                break
            raise ValueError(f"{path}:{number}: damaged record ({problem})") from None
        records.append(record)
    return records


def run_directory(experiment: Path, labels: Mapping[str, str], seed: int) -> Path:
    """``runs/<task>/<model>/<optimizer>/<cell>/seed_<s>``, each label made safe.

    Labels that are to have directories of their own come from :func:`unique_names`.
    """
    return experiment.joinpath("runs", *(safe_name(labels[label]) for label in LABELS), f"seed_{seed}")


def find_experiments(workflow: Path) -> list[Path]:
    """The ``exp_XXXX`` directories of a workflow, lowest number first."""
    if not workflow.is_dir():
        return []
    numbers = {path: match for path in workflow.iterdir() if (match := _EXPERIMENT.match(path.name))}
    return [path for path in sorted(numbers, key=lambda path: int(numbers[path][1])) if path.is_dir()]


def next_experiment(workflow: Path) -> Path:
    """Creates the next ``exp_XXXX``; two launchers at the same moment get two different ones."""
    workflow.mkdir(parents=True, exist_ok=True)
    existing = find_experiments(workflow)
    number = int(existing[-1].name.removeprefix("exp_")) if existing else 0
    while True:
        number += 1
        directory = workflow / f"exp_{number:04d}"
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        return directory
