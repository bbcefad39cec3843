"""A result is one only while its files are those that were written; a kill between any two writes loses none."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gossipsim
from gossipsim.config import plan
from gossipsim.results import MANIFEST, ChangedResult, Process, read_json, write_json
from tests.cli.conftest import Workplace, config
from tests.cli.test_resume import elsewhere

SEEDS = [0, 1]


def runs() -> list[Path]:
    return sorted(path.parent for path in Path("wf").rglob("run.json"))


def contents(directory: Path) -> dict[str, bytes]:
    """All but the seconds, and what the manifest says of these."""
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    manifest = json.loads(files.pop(MANIFEST))
    timing = manifest["files"].pop("timing.jsonl")
    assert len(files.pop("timing.jsonl")) == timing["bytes"]
    return files | {MANIFEST: json.dumps(manifest).encode()}


def truncate(path: Path) -> str:
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    return f"has {len(content) - 10:,} bytes, {len(content):,} were written"


def flip(path: Path) -> str:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return "has another SHA-256 than what was written"


def remove(path: Path) -> str:
    path.unlink()
    return "is gone"


@pytest.mark.parametrize("harm", [truncate, flip, remove])
@pytest.mark.parametrize("name", ["history.jsonl", "steps.jsonl", "parameters.npz", "summary.json", "timing.jsonl"])
def test_what_has_changed_is_named_and_run_again(harm: Callable[[Path], str], name: str, place: Workplace) -> None:
    content = config(seeds=SEEDS)
    assert place.run(content).code == 0
    first, second = runs()
    before, other = contents(first), {path.name: path.stat().st_mtime_ns for path in second.iterdir()}
    said = harm(first / name)
    with pytest.warns(ChangedResult, match=f"seed_0: {name} {said}"):
        (doubtful, sound) = gossipsim.load("wf").runs
    assert (doubtful.doubts, sound.doubts) == ([f"{name} {said}"], [])
    warning = f"warning: wf/exp_0001/{first.relative_to('wf/exp_0001')}: {name} {said}; it is not taken for a result"
    planned = place.call("plan", "c.json", "--no-time")
    assert warning in planned.out
    assert "1 of 2 runs to do" in planned.out
    outcome = place.run(content)
    assert outcome.code == 0
    assert warning in outcome.out
    assert "1 of them exist already" in outcome.out
    assert place.experiments() == ["exp_0001"]
    assert contents(first) == before
    assert {path.name: path.stat().st_mtime_ns for path in second.iterdir()} == other
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gossipsim.load("wf")


@pytest.mark.parametrize("name", ["history.jsonl", "run.json", MANIFEST, "summary.json"])
def test_reports_of_what_cannot_be_read(name: str, place: Workplace) -> None:
    assert place.run(config(seeds=SEEDS)).code == 0
    first, _ = runs()
    (first / name).write_bytes(b"\0{]\n" + (first / name).read_bytes())
    with pytest.warns(ChangedResult, match=f"seed_0: {name} "):
        assert place.call("report", "wf").code == 0
    with pytest.warns(ChangedResult):
        assert len(gossipsim.load("wf").runs) == 2
    assert place.run(config(seeds=SEEDS)).code == 0
    assert not any(run.doubts for run in gossipsim.load("wf").runs)


def test_results_of_earlier_versions_are_trusted_and_counted(place: Workplace) -> None:
    assert place.run(config(seeds=SEEDS)).code == 0
    for directory in runs():
        (directory / MANIFEST).unlink()
    outcome = place.run(config(seeds=SEEDS), "--exp-id", 1)
    assert outcome.code == 0
    assert "2 of them exist already" in outcome.out
    assert outcome.out.count("2 of 2 results have no manifest.json to be checked by, and are trusted") == 1


def test_a_result_is_not_that_of_another_run(place: Workplace) -> None:
    assert place.run(config(seeds=SEEDS)).code == 0
    first, second = runs()
    (first / MANIFEST).write_bytes((second / MANIFEST).read_bytes())
    outcome = place.run(config(seeds=SEEDS))
    assert "manifest.json is that of another run; it is not taken for a result" in outcome.out


def dying(name: str, when: int) -> Callable[[], None]:
    """Makes this process die when it calls a function of `os` for the n-th time, before it."""

    def before() -> None:
        calls = [0]
        plain = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == when:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments, **options)

        setattr(os, name, call)

    return before


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_killed_between_any_two_writes(name: str, place: Workplace) -> None:
    """Of the whole command, from its first file to its last."""
    content = config(seeds=[0])
    assert gossipsim.run(content, workflow="whole").runs[0].status == "complete"
    expected = contents(next(Path("whole").rglob("run.json")).parent)
    for when in range(1, 100):

        def work(when: int = when) -> None:
            dying(name, when)()
            with redirect_stdout(io.StringIO()):
                gossipsim.run(content)

        with elsewhere(work) as process:
            process.join(30)
        died = process.exitcode == -signal.SIGKILL
        for record in Path("wf").rglob("run.json"):
            if read_json(record)["status"] == "complete":
                assert contents(record.parent).items() >= expected.items()
        with suppress(FileNotFoundError):
            assert gossipsim.load("wf").runs[0].status in ("complete", "interrupted", "missing")
        (run,) = gossipsim.run(content).runs if died else gossipsim.load("wf").runs
        assert run.status == "complete"
        assert contents(run.directory) == expected
        experiment = run.directory.parents[5]
        assert not [path for path in experiment.rglob("*") if path.suffix == ".tmp" or path.name == "checkpoint"]
        assert (experiment / "results.csv").exists()
        assert len(list(Path("wf").glob("exp_*/resolved.json"))) == 1
        if not died:
            break
        for path in sorted(Path("wf").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert when > 8, "all files are written in few calls"


def test_a_run_whose_launcher_was_killed_is_interrupted(place: Workplace) -> None:
    content = config(strategy="mine.Slow", seeds=SEEDS)
    place.write("c.json", content)

    def work() -> None:
        with redirect_stdout(io.StringIO()):
            gossipsim.run(content)

    with elsewhere(work, pause=30.0) as process:
        deadline = time.monotonic() + 30
        while not list(Path("wf").rglob("steps.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.01)
        looked = json.loads(place.call("watch", "wf", "--once", "--json").out)
        assert looked["statuses"] == {"running": 1, "missing": 1}
        assert not looked["abandoned"]
        launcher = Process.of(read_json(runs()[0] / "run.json")["launcher"])
        assert launcher is not None
        assert launcher.pid == process.pid
        busy = place.call("run", "c.json", "--exp-id", 1)
        assert busy.code == 2
        assert f"another launcher is at work here (pid {process.pid} on " in busy.err
        process.kill()
        process.join()
    assert read_json(runs()[0] / "run.json")["status"] == "running"
    began = time.monotonic()
    watched = place.call("watch", "wf")
    assert time.monotonic() - began < 2
    assert watched.code == 1
    assert watched.out.splitlines() == [
        "0/2 runs: 1 interrupted",
        "nobody is at work here; the command that began this experiment resumes it",
    ]
    looked = json.loads(place.call("watch", "wf", "--json").out)
    assert looked["statuses"] == {"interrupted": 1, "missing": 1}
    assert looked["abandoned"]
    assert [run.status for run in gossipsim.load("wf").runs] == ["interrupted", "missing"]
    dry = json.loads(place.call("run", "c.json", "--dry-run", "--json").out)
    assert [run["status"] for run in dry["runs"]] == ["interrupted", "missing"]
    assert place.call("run", "c.json").code == 0
    assert place.call("watch", "wf").code == 0


@pytest.mark.parametrize("relative", [True, False])
def test_a_file_that_a_run_reads_decides_its_result(relative: bool, place: Workplace) -> None:
    path = "f.npz" if relative else str(place.folder / "f.npz")

    def write(value: float) -> None:
        np.savez(path, A=np.full((4, 2, 3), value), b=np.ones((4, 2)))

    content = config({"class": "gossipsim.tasks.QuadraticTask", "params": {"path": path}})
    write(0.1)
    assert place.run(content).code == 0
    (record,) = place.records()
    assert record["files"] == {path: hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    assert "1 of them exist already" in place.run(content, "--exp-id", 1).out
    write(0.2)
    outcome = place.run(content, "--exp-id", 1)
    assert "exist already" not in outcome.out
    assert place.records()[0]["key"] != record["key"]


def test_keys_of_configurations_without_files_stay(place: Workplace) -> None:
    (run,) = plan(config()).runs
    deciding = run.resolved()
    text = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    assert run.files == {}
    assert run.key == hashlib.sha256(text.encode()).hexdigest()
    absent = config({"class": "gossipsim.tasks.QuadraticTask", "params": {"path": "absent.npz"}})
    assert plan(absent).runs[0].files == {}


def test_a_launcher_of_another_machine_may_live(place: Workplace) -> None:
    assert place.run(config()).code == 0
    (directory,) = runs()
    launcher = Process.this().as_json() | {"host": "elsewhere", "pid": 1 << 30}
    write_json(directory / "run.json", read_json(directory / "run.json") | {"status": "running", "launcher": launcher})
    assert json.loads(place.call("watch", "wf", "--once", "--json").out)["statuses"] == {"running": 1}
