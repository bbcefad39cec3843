"""The lock of an experiment: one alone or several together, free again when its holder is dead, and who that is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossipsim.results import Occupied, Process, holders, lock, occupied
from gossipsim.results.lock import LOCK

FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def held(directory: Path, *, shared: bool = False) -> Iterator[Any]:
    """By another process."""
    ours, theirs = FORK.Pipe()

    def hold() -> None:
        with occupied(directory, shared=shared, patience=5):
            theirs.send("held")
            theirs.recv()

    process = FORK.Process(target=hold)
    process.start()
    assert ours.recv() == "held"
    try:
        yield process
    finally:
        with contextlib.suppress(OSError):
            ours.send("leave")
        process.join()


def test_a_second_one_is_told_who_has_it_and_since_when(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        began = time.monotonic()
        with pytest.raises(Occupied) as refusal, occupied(tmp_path):
            pass
        assert time.monotonic() - began < 0.5
        (holder,) = holders(tmp_path)
        assert holder.process.pid == process.pid
        who = f"pid {process.pid} on {platform.node()}, since {holder.since}"
        expected = f"{tmp_path}: another launcher is at work here ({who}); wait for it, or begin anew with --new"
        assert str(refusal.value) == expected
    assert holders(tmp_path) == []


def test_it_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        process.kill()
        process.join()
        assert (tmp_path / LOCK).read_bytes(), "its name stays"
        assert holders(tmp_path) == [], "but is not believed"
        with occupied(tmp_path):
            (holder,) = holders(tmp_path)
            assert holder.process.pid == os.getpid()


def test_what_a_killed_holder_has_left_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has inherited the lock, and dies a moment later."""
    ours, theirs = FORK.Pipe()

    def hold() -> None:
        with occupied(tmp_path):
            child = FORK.Process(target=time.sleep, args=(0.7,))
            child.start()
            theirs.send("held")
            time.sleep(60)

    process = FORK.Process(target=hold)
    process.start()
    assert ours.recv() == "held"
    process.kill()
    process.join()
    with occupied(tmp_path):
        pass
    monkeypatch.setattr(lock, "AFTERMATH", 0.1)
    with (tmp_path / LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Occupied, match="a process that does not say who it is locks it"), occupied(tmp_path):
            pass


def test_several_hold_it_together(tmp_path: Path) -> None:
    with held(tmp_path, shared=True) as first, held(tmp_path, shared=True) as second:
        with pytest.raises(Occupied) as refusal, occupied(tmp_path):
            pass
        assert f"pid {first.pid} on" in str(refusal.value)
        assert f"pid {second.pid} on" in str(refusal.value)
        with occupied(tmp_path, shared=True):
            assert len(holders(tmp_path)) == 3
    assert holders(tmp_path) == []
    with occupied(tmp_path):
        pass


@pytest.mark.parametrize("patience", [0, 5])
def test_patience(patience: float, tmp_path: Path) -> None:
    with held(tmp_path, shared=True):
        began = time.monotonic()
        if patience:
            with occupied(tmp_path, shared=True, patience=patience):
                pass
        else:
            with pytest.raises(Occupied), occupied(tmp_path, patience=0.5):
                pass
            assert time.monotonic() - began > 0.5


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Occupied, match=r"its file system cannot lock files \(No locks available\)"), occupied(tmp_path):
        pass


def test_who_lives() -> None:
    this = Process.this()
    assert this.lives() is True
    assert Process.of(json.loads(json.dumps(this.as_json()))) == this
    changed = {
        "host": ("elsewhere", None),
        "boot": ("another", False),
        "namespace": ("pid:[1]", None),
        "began": (this.began + 1, False),
        "pid": (1 << 30, False),
    }
    for name, (value, lives) in changed.items():
        other = Process.of(this.as_json() | {name: value})
        assert other is not None
        assert other.lives() is lives, name
    assert Process.of({"pid": 1}) is None
    assert Process.of(None) is None


def test_a_process_that_is_dead_but_not_yet_counted() -> None:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=lambda: theirs.send(Process.this().as_json()))
    process.start()
    other = Process.of(ours.recv())
    deadline = time.monotonic() + 10
    while other is not None and other.lives() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert other is not None
    assert other.lives() is False
    process.join()
