"""Where nobody can read what is printed: runs go on without, other commands say so; never a traceback."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

import pytest

from gossipsim.cli import main
from gossipsim.results import CannotWrite, writing
from tests.cli.conftest import Workplace, config

TAKES_NO_MORE = "the standard output cannot be written"
GOES_ON = "; the runs go on, and their results are in files"


def full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def left() -> None:
    """A pipe whose reader is gone."""
    reading, into = os.pipe()
    os.dup2(into, 1)
    os.close(reading)


def closed() -> None:
    for number in (0, 1):
        os.close(number)


def both_full() -> None:
    full()
    os.dup2(1, 2)


def ascii_only() -> None:
    os.dup2(os.open("stdout", os.O_CREAT | os.O_WRONLY), 1)


def called(output: Callable[[], None], *arguments: object) -> tuple[int | None, str]:
    """`gossipsim ARGUMENTS` in a process of its own, with such an output: its exit code, and what it says on stderr."""

    def begin() -> None:
        os.dup2(os.open("stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
        output()
        encoding = "ascii" if output is ascii_only else "utf-8"
        sys.stdout = cast(TextIO, None if output is closed else os.fdopen(1, "w", encoding=encoding))  # as Python does
        sys.stderr = os.fdopen(2, "w")
        sys.argv = ["gossipsim", *map(str, arguments)]
        main()

    process = multiprocessing.get_context("fork").Process(target=begin)
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        pytest.fail("it hangs")
    return process.exitcode, Path("stderr").read_text()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("output", "told"),
    [
        (full, f"{TAKES_NO_MORE} (No space left on device){GOES_ON}\n"),
        (left, f"{TAKES_NO_MORE} (Broken pipe){GOES_ON}\n"),
        (closed, ""),
        (both_full, ""),
    ],
)
def test_runs_go_on(output: Callable[[], None], told: str, processes: int, place: Workplace) -> None:
    path = place.write("c.json", config(seeds=[0, 1]))
    assert called(output, "run", path, "--processes", processes) == (0, told)
    assert [record["status"] for record in place.records()] == ["complete", "complete"]
    assert Path("wf/exp_0001/results.csv").read_text().count("complete") == 2


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("output", [full, left, closed, both_full])
def test_a_strategy_that_prints(output: Callable[[], None], processes: int, place: Workplace) -> None:
    """Nor does it print into files that have taken the place of closed streams."""
    path = place.write("c.json", config(strategy="mine.Speaks"))
    code, errors = called(output, "run", path, "--processes", processes)
    assert code == 0
    assert "Traceback" not in errors
    assert [record["status"] for record in place.records()] == ["complete"]
    for file in Path("wf").rglob("*.jsonl"):
        assert "said" not in file.read_text()


@pytest.mark.parametrize(("output", "told"), [(full, f"{TAKES_NO_MORE} (No space left on device)\n"), (left, "")])
@pytest.mark.parametrize("command", ["schema", "doctor", "topology", "plan", "run"])
def test_what_was_asked_for_and_cannot_be_printed(
    output: Callable[[], None], told: str, command: str, place: Workplace
) -> None:
    path = place.write("c.json", config())
    arguments = {"topology": ["ring"], "plan": [path], "run": [path, "--dry-run", "--json"]}.get(command, [])
    assert called(output, command, *arguments) == (1, told)


def test_a_mistake_that_cannot_be_told(place: Workplace) -> None:
    assert called(both_full, "run", place.write("c.json", config(seed=1))) == (2, "")
    assert called(both_full, "rum") == (2, "")


def test_a_working_directory_that_was_removed(place: Workplace) -> None:
    path = place.write("c.json", config())

    def removed() -> None:
        Path("gone").mkdir()
        os.chdir("gone")
        Path("../gone").rmdir()

    for command in ("plan", "run"):
        code, told = called(removed, command, path)
        assert (code, told) == (2, "the working directory was removed; change to one that exists\n")


def test_letters_that_a_terminal_does_not_have(place: Workplace) -> None:
    path = place.write("c.json", config() | {"name": "λ"})
    assert called(ascii_only, "run", path, "--processes", 1) == (0, "")
    assert r"\u03bb: 1 run" in Path("stdout").read_text(encoding="ascii")


def test_letters_that_names_of_files_cannot_have() -> None:
    refusal = pytest.raises(CannotWrite, match=r"wf: cannot be written \(this system has no 'λ' in names of files")
    with refusal, writing(Path("wf")):
        "λ".encode("ascii")
