"""Files that params of a configuration name: a partition, a graph, a table of durations, data of one's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from gossipsim.spec import is_spec


def named_files(value: Any) -> list[str]:
    """What stands in params called `path`, `file`, `..._path` or `..._file`, sorted.

    >>> named_files({"partition": {"class": "gossipsim.data.FromFile", "params": {"path": "owners.csv"}}})
    ['owners.csv']
    """
    return sorted(set(_named(value)))


def _named(value: Any) -> Iterator[str]:
    if is_spec(value):
        for name, param in value.get("params", {}).items():
            if isinstance(param, str) and name.rpartition("_")[2] in ("path", "file"):
                yield param
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _named(item)


def digest_of(path: str) -> str | None:
    """The SHA-256 of what a file holds; None where it cannot be read, which whoever needs it will tell."""
    file = os.path.expanduser(path)
    try:
        found = os.stat(file)
        return _digest(file, found.st_ino, found.st_size, found.st_mtime_ns) if os.path.isfile(file) else None
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _digest(file: str, *_: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
