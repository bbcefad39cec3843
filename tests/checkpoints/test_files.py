"""Checkpoints on disk are whole or absent, the two newest are there, and what is damaged is not read."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
import torch

from gossipsim.checkpoints import Checkpoint, Damaged, Folder, Packed
from gossipsim.results import CannotWrite

KEY = "a key"


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, step // 2, Packed.of([{"step": step}]), Packed.of([{"x": torch.full((50,), float(step))}]))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path, KEY)
    for step in (90, 100, 1000):
        folder.write(checkpoint(step))
    return folder


def test_the_two_newest_are_there(folder: Folder) -> None:
    assert folder.names() == ["step_000001000", "step_000000100"]
    assert len(list(folder.path.iterdir())) == 4
    found = folder.read("step_000001000")
    assert (found.step, found.round) == (1000, 500)
    assert found.shared.trees() == [{"step": 1000}]
    assert (found.nodes.trees()[0]["x"] == 1000.0).all()


def test_a_step_that_is_written_again_replaces_what_was_there(folder: Folder) -> None:
    folder.write(checkpoint(1000))
    assert folder.names() == ["step_000001000", "step_000000100"]
    folder.read("step_000001000")


def test_a_byte_that_has_changed_is_noticed_wherever_it_is(folder: Folder) -> None:
    path = folder.path / "step_000001000.pt"
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(Damaged, match="SHA-256"):
            folder.read("step_000001000")
    path.write_bytes(content[:-1])
    with pytest.raises(Damaged, match="SHA-256"):
        folder.read("step_000001000")
    path.unlink()
    with pytest.raises(Damaged, match="FileNotFoundError"):
        folder.read("step_000001000")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"key": "another"}, "another configuration"),
        ({"sha256": "0"}, "SHA-256"),
        ({"more": 1}, "TypeError"),
    ],
)
def test_a_seal_that_does_not_fit(change: dict[str, object], message: str, folder: Folder) -> None:
    path = folder.path / "step_000001000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Damaged, match=message):
        folder.read("step_000001000")
    path.write_text("{")
    with pytest.raises(Damaged, match="not valid JSON"):
        folder.read("step_000001000")


def test_nothing_that_is_pickled_is_executed(folder: Folder) -> None:
    path = folder.path / "step_000001000.pt"
    torch.save({"shared": threading.Thread}, path)
    seal = folder.path / "step_000001000.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    seal.write_text(json.dumps(json.loads(seal.read_text()) | {"sha256": digest}))
    with pytest.raises(Damaged):
        folder.read("step_000001000")


def test_what_a_killed_process_has_left_is_cleared_away(folder: Folder) -> None:
    (folder.path / ".step_000001100.pt.x.tmp").write_bytes(b"half")
    (folder.path / "step_000001100.pt").write_bytes(b"no seal")
    assert folder.names()[0] == "step_000001000"
    folder.write(checkpoint(1200))
    assert sorted(path.name for path in folder.path.iterdir()) == [
        f"step_{step:09d}{suffix}" for step in (1000, 1200) for suffix in (".json", ".pt")
    ]
    folder.clear()
    assert not folder.path.exists()


def test_a_run_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="its directory was removed"):
        Folder(tmp_path / "removed", KEY).write(checkpoint(1))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_what_is_there(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write(checkpoint(1200))
    assert folder.names() == ["step_000001000", "step_000000100"]
    assert len(list(folder.path.iterdir())) == 4
