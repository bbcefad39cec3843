"""A disk that is full, write-protected or gone: one line with path, cause and way out; earlier results stay intact."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import shutil
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossipsim.results import read_json
from tests.cli.conftest import Outcome, Workplace, config
from tests.cli.jobs import finish, start

CLONE_NEWNS = 0x20000
NOBODY = 65534


def elsewhere(body: Callable[[], None]) -> None:
    """Runs a part of a test in a forked process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def work() -> None:
        try:
            body()
        except BaseException:
            theirs.send(traceback.format_exc())
            os._exit(1)

    process = context.Process(target=work)
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        pytest.fail("it hangs")
    if process.exitcode:
        pytest.fail(ours.recv() if ours.poll() else f"exit code {process.exitcode}")


def mounted(body: Callable[[], None], size: str = "1m") -> None:
    """Runs a part of a test where `wf` is a small disk of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk takes root")
    Path("wf").mkdir()

    def isolated() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
            os._exit(77)
        for command in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", f"size={size}", "small", "wf"]):
            if subprocess.run(["mount", *command], check=False).returncode != 0:
                os._exit(77)
        body()

    try:
        elsewhere(isolated)
    except pytest.fail.Exception as failure:
        if "exit code 77" in str(failure):
            pytest.skip("no mounts of one's own here")
        raise


def contents() -> dict[str, bytes]:
    """The runs' files that have a result."""
    return {
        str(path): path.read_bytes()
        for record in Path("wf").rglob("run.json")
        if read_json(record)["status"] == "complete"
        for path in record.parent.iterdir()
    }


def statuses() -> list[str]:
    return sorted(read_json(path)["status"] for path in Path("wf").rglob("run.json"))


def spoiling(*hows: str, **changes: Any) -> dict[str, Any]:
    return config(strategy="mine.Spoils", grid={"strategy.params.how": list(hows)}, **changes)


def failed(outcome: Outcome, reason: str, name: str, count: int = 1) -> None:
    """Exit code 1, and a line for each failure."""
    assert outcome.code == 1, outcome
    assert "Traceback" not in outcome.out + outcome.err
    lines = [line for line in outcome.out.splitlines() if line.startswith("failed")]
    assert len(lines) == count, outcome.out
    assert reason in lines[0]
    assert name in lines[0]


def small() -> dict[str, Any]:
    """An experiment with a result."""
    return spoiling("nothing")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_fills_up(processes: int, place: Workplace) -> None:
    def body() -> None:
        outcome = place.run(spoiling("nothing", "fill", "no more"), processes=processes)
        failed(outcome, "cannot be written (No space left on device): make room there", "wf/exp_0001/runs", count=2)
        assert "complete" in statuses()
        assert "failed" not in statuses(), "there was no room to say so"
        earlier = contents()
        Path("wf/filler").unlink()
        again = place.run(spoiling("nothing", "fill", "no more"), processes=processes)
        assert again.code == 1
        Path("wf/filler").unlink()
        assert {name: contents()[name] for name in earlier} == earlier

    mounted(body, "256k")


@pytest.mark.slow
def test_a_disk_that_fills_up_under_torchrun(place: Workplace) -> None:
    """The job ends; what it had before is there, and is not run again."""

    def body() -> None:
        place.write("c.json", spoiling("nothing", "fill", "no more"))
        job = start("--nproc_per_node=2")
        output = finish(job)
        assert job.returncode == 1, output
        told = [line for line in output.splitlines() if line.startswith("failed")]
        assert len(told) == 1, output
        assert "cannot be written (No space left on device): make room there" in told[0]
        earlier = contents()
        assert earlier
        assert "failed" not in statuses(), "there was no room to say so"
        Path("wf/filler").unlink()
        again = place.run(spoiling("nothing", "fill", "no more"))
        assert "3 runs, 1 of them exist already" in again.out
        Path("wf/filler").unlink()
        assert {name: contents()[name] for name in earlier} == earlier

    mounted(body, "256k")


def test_results_that_do_not_fit(place: Workplace) -> None:
    """Parameters of 1 MB."""

    def body() -> None:
        task = {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 180, "noise": 0.1}}
        large = config(task, seeds=[0]) | {"network": {"nodes": 700}}
        failed(place.run(large), "(No space left on device)", "parameters.npz")
        assert statuses() == ["failed"]
        assert not list(Path("wf").rglob("*.tmp"))
        assert not list(Path("wf").rglob("parameters.npz"))

    mounted(body, "800k")


def test_a_limit_of_file_sizes(place: Workplace) -> None:
    def body() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        outcome = place.run(config(seeds=[0, 1]) | {"network": {"nodes": 600}})
        failed(outcome, "(File too large): raise the limit of file sizes", "parameters.npz", count=2)
        assert statuses() == ["failed", "failed"]

    elsewhere(body)


def test_a_disk_that_becomes_write_protected(place: Workplace) -> None:
    def body() -> None:
        outcome = place.run(spoiling("nothing", "write-protect"))
        failed(outcome, "cannot be written (Read-only file system): make it writable", "wf/exp_0001/runs")
        assert "results.csv: cannot be written (Read-only file system)" in outcome.err
        assert statuses() == ["complete", "running"]
        earlier = contents()
        for arguments in ((), ("--exp-id", 1), ("--no-skip-existing",), ("--new",)):
            refused = place.run(spoiling("nothing", "write-protect"), *arguments)
            assert (refused.code, refused.out) == (2, "")
            (line,) = refused.errors
            assert "cannot be written (Read-only file system): make it writable, or write elsewhere" in line
            assert "wf" in line
        assert contents() == earlier
        report = place.call("report", "wf")
        assert report.code == 1
        assert "results.csv: cannot be written (Read-only file system)" in report.err

    mounted(body)


def test_somebody_without_permission(place: Workplace) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming somebody else takes root")
    assert place.run(small()).code == 0
    earlier = contents()
    for folder in place.folder.parents:
        if folder.stat().st_mode & 0o1 == 0:
            folder.chmod(folder.stat().st_mode | 0o1)
    place.folder.chmod(0o755)

    def body() -> None:
        os.setuid(NOBODY)
        for arguments in (("--exp-id", 1), ("--new",)):
            refused = place.call("run", "c.json", "--processes", 1, *arguments)
            assert (refused.code, refused.out) == (2, "")
            (line,) = refused.errors
            assert "cannot be written (Permission denied): make it writable, or write elsewhere" in line

    elsewhere(body)
    assert contents() == earlier


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_removed_while_it_is_under_way(processes: int, place: Workplace) -> None:
    outcome = place.run(spoiling("nothing", "remove the run", "no more"), processes=processes)
    failed(outcome, "was removed or replaced while the run was under way", "exp_0001/runs")
    assert statuses() == ["complete", "complete"]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_experiment_that_is_removed_while_it_is_under_way(processes: int, place: Workplace) -> None:
    outcome = place.run(spoiling("remove the experiment", "no more"), processes=processes)
    failed(outcome, "was removed or replaced while the run was under way", "wf/exp_0001", count=2)
    assert outcome.err.startswith("wf/exp_0001: was removed or replaced")
    assert not Path("wf/exp_0001").exists()


@pytest.mark.parametrize("name", ["wf", "wf/exp_0001/.lock/x", "wf/exp_0001/config.json/x"])
def test_something_in_the_way_before_the_first_run(name: str, place: Workplace) -> None:
    if name != "wf":
        assert place.run(small()).code == 0
        (place.folder / name).parent.unlink(missing_ok=True)
    place.write(name, "in the way")
    refused = place.run(small(), *([] if name == "wf" else ["--exp-id", 1]))
    assert (refused.code, refused.out) == (2, "")
    (line,) = refused.errors
    assert f"{name.removesuffix('/x')}: cannot be written" in line
    assert "move away what stands there" in line


def test_a_file_in_the_place_of_a_run(place: Workplace) -> None:
    assert place.run(config(seeds=[0, 1])).code == 0
    first, _ = sorted(path.parent for path in Path("wf").rglob("run.json"))
    shutil.rmtree(first)
    first.write_text("in the way")
    failed(place.run(config(seeds=[0, 1])), "cannot be written (File exists): move away what stands there", "seed_0")
    assert statuses() == ["complete"]
