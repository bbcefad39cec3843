"""A run that is killed at any moment, or stopped, goes on and leaves the bytes of one that was not."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import gossipsim
from gossipsim.config import plan
from gossipsim.results import Results
from gossipsim.runner import run_command
from gossipsim.world import stopping
from tests.cli.conftest import Workplace, config, with_params

STEPS = 40
FORK = multiprocessing.get_context("fork")


def slow(**trainer: Any) -> dict[str, Any]:
    """A run of 40 rounds that each take a moment where PAUSE says so, saved after every fourth."""
    content = config(strategy="mine.Slow")
    params = {"steps": STEPS, "checkpoint_every": 4, "eval_every": 7, "log_every": 3} | trainer
    return content | {"trainer": with_params(content["trainer"], **params)}


def left(workflow: Path) -> dict[str, bytes]:
    """The bytes of all that a run has left but its seconds, and what the manifest says of these."""
    (directory,) = [path.parent for path in workflow.rglob("run.json")]
    files = {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    timing = [json.loads(line) for line in files.pop("timing.jsonl").splitlines()]
    manifest = json.loads(files["manifest.json"])
    assert {name: record["bytes"] for name, record in manifest["files"].items() if name != "timing.jsonl"} == {
        name: len(content) for name, content in files.items() if name not in ("manifest.json", "run.json")
    }
    del manifest["files"]["timing.jsonl"]
    files["manifest.json"] = json.dumps(manifest).encode()
    seconds = [record["train_seconds"] for record in timing]
    assert seconds == sorted(seconds)
    assert [record["step"] for record in timing] == [*range(0, STEPS, 7), STEPS]
    return files


@pytest.fixture
def expected(place: Workplace) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    result = gossipsim.run(slow(), workflow="uninterrupted")
    assert result.runs[0].status == "complete"
    files = left(Path("uninterrupted"))
    assert sorted(files) == [
        "history.jsonl",
        "manifest.json",
        "nodes.jsonl",
        "parameters.npz",
        "run.json",
        "steps.jsonl",
        "summary.json",
    ]
    return files


@contextlib.contextmanager
def elsewhere(work: Callable[[], None], pause: float = 0.01) -> Iterator[Any]:
    """A process that does some work, in rounds of so many seconds; it is gone in the end."""

    def begin() -> None:
        os.environ["PAUSE"] = str(pause)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()

    process = FORK.Process(target=begin)
    process.start()
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def under_way(processes: int, before: Callable[[], None] = lambda: None) -> contextlib.AbstractContextManager[Any]:
    """A run in a process of its own."""

    def work() -> None:
        before()
        gossipsim.run(slow(), workflow="wf", processes=processes)

    return elsewhere(work)


def saved_step() -> int:
    names = [path.stem for path in Path("wf").rglob("checkpoint/step_*.json")]
    return max((int(name.removeprefix("step_")) for name in names), default=0)


def wait_for(step: int, process: Any) -> None:
    deadline = time.monotonic() + 30
    while saved_step() < step and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert saved_step() >= step


def statuses() -> list[str]:
    return [json.loads(path.read_text())["status"] for path in Path("wf").rglob("run.json")]


def finish(processes: int, expected: dict[str, bytes]) -> None:
    """Goes on to the end, with the bytes that are expected."""
    result = gossipsim.run(slow(), workflow="wf", processes=processes)
    assert [run.status for run in result.runs] == ["complete"]
    assert left(Path("wf")) == expected
    assert not list(Path("wf").rglob("checkpoint"))
    assert len(list(Path("wf").iterdir())) == 1


@pytest.mark.parametrize("processes", [(1, 2, 1), (2, 1, 4)])
def test_killed_again_and_again(processes: tuple[int, ...], place: Workplace, expected: dict[str, bytes]) -> None:
    for step, count in zip((8, 20), processes[:-1], strict=True):
        with under_way(count) as process:
            wait_for(step, process)
            time.sleep(0.005 * step / 4)
            process.kill()
        assert statuses() == ["running"]
        records = next(Path("wf").rglob("steps.jsonl"))
        records.write_bytes(records.read_bytes() + b'{"step": 9')
    finish(processes[-1], expected)


def killing(name: str, when: int, ending: str) -> Callable[[], None]:
    """Kills a process when it calls a function of `os` for the n-th time for a file with this ending, before it."""

    def before() -> None:
        calls = [0]
        plain = getattr(os, name)

        def call(*arguments: Any) -> Any:
            target = arguments[-1]
            named = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
            calls[0] += ending in named and "step_" in named
            if calls[0] == when:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments)

        setattr(os, name, call)

    return before


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("name", "ending"), [("fsync", ".pt"), ("replace", ".pt"), ("fsync", ".json"), ("replace", ".json"), ("unlink", "")]
)
def test_killed_while_a_checkpoint_is_written(
    name: str, ending: str, processes: int, place: Workplace, expected: dict[str, bytes]
) -> None:
    with under_way(processes, killing(name, 3, ending)) as process:
        process.join(30)
    assert statuses() == ["running" if processes == 1 else "failed"]
    assert saved_step() in (8, 12, 16)
    finish(3 - processes, expected)


@pytest.mark.parametrize("damage", ["newest", "all", "records"])
def test_damage_is_told_and_what_is_whole_is_used(
    damage: str, place: Workplace, expected: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    with under_way(1) as process:
        wait_for(16, process)
        process.kill()
    paths = [seal.with_suffix(".pt") for seal in sorted(Path("wf").rglob("step_*.json"), reverse=True)]
    if damage == "records":
        records = next(Path("wf").rglob("history.jsonl"))
        records.write_bytes(records.read_bytes().replace(b"0", b"1", 1))
    for path in {"newest": paths[:1], "all": paths, "records": []}[damage]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    outcome = place.run(slow())
    assert outcome.code == 0
    lines = [line.partition(": ")[2] for line in outcome.out.splitlines() if "checkpoint step_" in line]
    reason = "history.jsonl is not what it was then" if damage == "records" else "its SHA-256 is not that of its seal"
    lost = paths[:1] if damage == "newest" else paths
    assert lines == [f"checkpoint {path.stem} is of no use: {reason}" for path in lost]
    assert (f"goes on at step {int(paths[1].stem[5:])}" in outcome.out) == (damage == "newest")
    assert left(Path("wf")) == expected


def test_no_skip_existing_begins_anew(place: Workplace, expected: dict[str, bytes]) -> None:
    with under_way(1) as process:
        wait_for(16, process)
        process.kill()
    outcome = place.run(slow(), "--no-skip-existing")
    assert outcome.code == 0
    assert "goes on at" not in outcome.out
    assert left(Path("wf")) == expected


def test_another_configuration_does_not_go_on_with_it(place: Workplace) -> None:
    with under_way(1) as process:
        wait_for(16, process)
        process.kill()
    outcome = place.run(slow(log_every=5), "--exp-id", 1)
    assert outcome.code == 0
    assert "checkpoint" not in outcome.out + outcome.err
    assert "goes on at" not in outcome.out
    alone = gossipsim.run(slow(log_every=5), workflow="alone")
    assert left(Path("wf")) == left(Path("alone"))
    assert alone.runs[0].status == "complete"


def test_how_often_a_run_is_saved_does_not_change_its_key(place: Workplace) -> None:
    keys = {plan(slow(checkpoint_every=every)).runs[0].key for every in (1, "60s", None)}
    assert len(keys) == 1


class TestStopping:
    """Ctrl-C once saves and stops; twice, or where no round ends, it just stops."""

    @pytest.mark.parametrize("processes", [1, 2, 4])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_once(self, number: signal.Signals, processes: int, place: Workplace, expected: dict[str, bytes]) -> None:
        with self._command(processes) as process:
            time.sleep(0.1)
            before = time.monotonic()
            os.kill(process.pid, number)
            process.join(10)
            assert time.monotonic() - before < 2
        assert process.exitcode == 130
        assert statuses() == ["interrupted"]
        assert 0 < saved_step() < STEPS
        finish(3, expected)

    @pytest.mark.parametrize("processes", [1, 2])
    def test_twice(self, processes: int, place: Workplace) -> None:
        with self._command(processes, pause=30.0) as process:
            time.sleep(0.2)
            before = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.3)
            assert process.is_alive()
            os.kill(process.pid, signal.SIGINT)
            process.join(10)
            assert time.monotonic() - before < 2
        assert process.exitcode == 130
        assert statuses() == ["interrupted"]

    @pytest.mark.parametrize("processes", [1, 2])
    def test_a_round_without_end(self, processes: int, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stopping, "PATIENCE", 0.5)
        with self._command(processes, pause=30.0) as process:
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGINT)
            process.join(10)
        assert process.exitcode == 130
        assert statuses() == ["interrupted"]

    @contextlib.contextmanager
    def _command(self, processes: int, pause: float = 0.01) -> Iterator[Any]:
        """`gossipsim run`, once its run has begun."""
        Path("c.json").write_text(json.dumps(slow(checkpoint_every="1h")))

        def work() -> None:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    run_command(Path("c.json"), processes=str(processes))
            except typer.Exit as end:
                os._exit(end.exit_code)

        with elsewhere(work, pause) as process:
            deadline = time.monotonic() + 30
            while not list(Path("wf").rglob("steps.jsonl")) and time.monotonic() < deadline:
                time.sleep(0.01)
            yield process


def test_an_experiment_whose_report_was_cut_short_is_gone_on_with(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(results: Results) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gossipsim.report.build", stop)
        assert place.run(config()).code == 130
    first, made = place.folder / "wf" / "exp_0001", list[Results]()
    written = (first / "results.csv").read_bytes()
    monkeypatch.setattr("gossipsim.report.build", made.append)
    assert place.run(config()).code == 0
    assert [results.directory.name for results in made] == ["exp_0001"]
    assert (first / "results.csv").read_bytes() == written
    assert place.run(config()).code == 0
    assert [results.directory.name for results in made] == ["exp_0001", "exp_0002"]
