"""Names that every file system takes, files that are whole or absent, and where experiments and runs live."""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gossipsim.results.disk import writing

LABELS = ("task", "model", "optimizer", "cell")

TEMPORARY = ".tmp"
"""How the names of files end that are being written."""

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


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and is on disk then; after an error nothing has
    changed.

    A temporary file beside it, fsync, rename, fsync of the folder. Makes no folder: one that somebody has removed
    while a run was under way does not come back with a part of what it had.

    Raises:
        CannotWrite: naming `path`.
    """
    with writing(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}."[:80], suffix=TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)  # mkstemp makes it private; results are to be shared
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes names that have changed in a folder outlive the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Removes what processes that were killed while they wrote have left in a folder, which nobody writes to now."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing, wherever somebody wants it: makes missing folders."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; a lone surrogate in a display name is spelled out. Makes no folder."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))


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


def experiment_of(run: Path) -> Path:
    """The experiment that a :func:`run_directory` belongs to."""
    return run.parents[len(LABELS) + 1]


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
