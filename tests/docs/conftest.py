"""A folder as a reader has it: the configurations and examples of a clone, and room for files of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossipsim.spec import use_import_path

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("configs", "examples", "launch"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tasks").symlink_to(ROOT / "configs" / "tasks")
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    use_import_path([])  # what an earlier test has left is not to come back below
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    use_import_path([])
    sys.path[:] = path
    for module in set(sys.modules) - before:
        found = sys.modules[module]
        places = [getattr(found, "__file__", None), *getattr(found, "__path__", ())]  # a folder may be a package too
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[module]
