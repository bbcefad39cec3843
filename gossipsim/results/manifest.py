"""manifest.json: size and SHA-256 of each file of a result, so that nobody takes for it what has changed since.

It is written when those files are on disk, and run.json after it: a run that run.json calls a result has a manifest.
Results of earlier versions have none; there is nothing that they could be compared with.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from gossipsim.results.disk import writing
from gossipsim.results.files import read_json, write_json

MANIFEST = "manifest.json"

SEALED = ("history.jsonl", "steps.jsonl", "nodes.jsonl", "timing.jsonl", "parameters.npz", "summary.json")
"""The files of a result, of which a run may leave some out."""


def seal(directory: Path, key: str, status: str) -> None:
    """Brings the files of a run to disk and writes its manifest.

    Raises:
        CannotWrite: naming the file.
    """
    files = {}
    for path in (directory / name for name in SEALED):
        with writing(path):
            if path.exists():
                _sync(path)
                found = path.stat()
                files[path.name] = {"bytes": found.st_size, "sha256": _sha256(str(path), found)}
    write_json(directory / MANIFEST, {"key": key, "status": status, "files": files})


def is_sealed(directory: Path) -> bool:
    return (directory / MANIFEST).exists()


def doubts(directory: Path, key: str, status: str) -> list[str]:
    """What speaks against a result: for each file that is not what the manifest says, how it differs."""
    try:
        manifest = read_json(directory / MANIFEST)
        if (manifest["key"], manifest["status"]) != (key, status):
            return [f"{MANIFEST} is that of another run"]
        found = [_difference(f"{directory}/{name}", name, sealed) for name, sealed in manifest["files"].items()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{MANIFEST} is damaged ({type(error).__name__})"]
    return [difference for difference in found if difference]


def _difference(path: str, name: str, sealed: dict[str, Any]) -> str:
    """In words; "" where there is none."""
    try:
        found = os.stat(path)
        if found.st_size != sealed["bytes"]:
            return f"{name} has {found.st_size:,} bytes, {sealed['bytes']:,} were written"
        return "" if _sha256(path, found) == sealed["sha256"] else f"{name} has another SHA-256 than what was written"
    except FileNotFoundError:
        return f"{name} is gone"


def _sha256(path: str, found: os.stat_result) -> str:
    """A process looks at a file of an experiment more than once, and reads it once as long as it stays the same."""
    return _sha256_of(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1 << 20)
def _sha256_of(path: str, *_: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
