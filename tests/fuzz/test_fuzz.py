"""Mutated configurations give a plan, or one line per mistake: no other exception, no hang, nothing written or run."""

from __future__ import annotations

import functools
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gossipsim.config import ConfigError, Plan
from gossipsim.options import Options, parse_overrides, parse_processes, parse_seeds
from gossipsim.runner import make_plan
from gossipsim.spec import printable, use_import_path
from gossipsim.tasks import vision
from tests.fuzz.mutants import Corpus, Mutant, mutant

ROOT = Path(__file__).parents[2]
PATTERNS = ["configs/experiments/*.json", "configs/sweeps/*.json"]
SECONDS = 120
"""After which a mutant hangs. Most take 0.02 s; a ResNet with spectral norms 10 s, and more where cores are shared."""

MEMORY = 6 << 30
"""Bytes of data that this process may have; more are an error of the mutant, not the end of the machine."""

LINE = re.compile(r"(configs/[\w/]+\.json(:\d+)?|--(set|seeds|processes|workflow|jobs) ?.*?): .+", re.DOTALL)

_WRITES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")
_RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind")


class Watch:
    """Notes what Python's audit events say of files written, processes started and sockets used."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _WRITES or event in _RUNS:
            self.seen.append(f"{event} {arguments[:2]}")
        elif event == "open":
            path, mode, flags = arguments
            writes = (mode and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and path not in (os.devnull, os.devnull.encode()):
                self.seen.append(f"open {path} {mode}")

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        self.on, self.seen = True, []
        try:
            yield self.seen
        finally:
            self.on = False


_watch: list[Watch] = []


@pytest.fixture(scope="module")
def watch() -> Watch:
    if not _watch:  # a hook cannot be removed: one for good
        _watch.append(Watch())
    return _watch[0]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    """A copy of the shipped configurations in a folder of their own, with a user's module; tasks stay in memory."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "own.py").write_text(Path(__file__).with_name("own.py.txt").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr("gossipsim.experiment.forget", lambda: None)
    monkeypatch.setattr("gossipsim.tasks.files._knock", _out_of_reach)
    monkeypatch.setattr(vision, "_idx_arrays", functools.cache(vision._idx_arrays))
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, limits[1]))
    before = list(sys.path)
    yield Corpus.of(tmp_path, PATTERNS)
    resource.setrlimit(resource.RLIMIT_DATA, limits)
    use_import_path([])
    sys.path[:] = before


def _out_of_reach(server: str) -> None:
    raise ConnectionError(f"{server} does not answer")


def outcome(experiment: str, made: Mutant) -> Plan | list[str]:
    """What the commands make of it: a plan, or the lines that they print."""
    try:
        options = Options(
            experiment,
            processes=parse_processes(made.processes),
            overrides=parse_overrides(made.overrides),
            seeds=None if made.seeds is None else parse_seeds(made.seeds),
        )
    except ValueError as error:
        return [printable(str(error))]
    try:
        return make_plan(options)[0]
    except ConfigError as error:
        return error.errors


@contextmanager
def within(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise AssertionError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(corpus: Corpus, number: int, watch: Watch) -> bool:
    """One mutant, written to its files and taken back; whether it is a valid plan."""
    experiment, made = mutant(corpus, number)
    for name, content in made.files.items():
        Path(name).write_bytes(content)
    with watch.listening() as seen, within(SECONDS):
        found = outcome(experiment, made)
    for name in made.files:
        Path(name).write_text(corpus.texts[name])
    assert seen == []
    if isinstance(found, Plan):
        assert found.runs
        assert all(re.fullmatch("[0-9a-f]{64}", run.key) for run in found.runs)
        return True
    assert found
    for line in found:
        assert LINE.fullmatch(line), line
        assert line.isprintable(), line
        assert len(line) < 2000, line
    return False


def hunt(corpus: Corpus, numbers: range, watch: Watch, say: Callable[[str], None] = print) -> None:
    """Every defect of some mutants, not the first one only."""
    before = sorted(Path().rglob("*"))
    plans, defects = 0, []
    for number in numbers:
        try:
            plans += judge(corpus, number, watch)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            defects.append(
                f"mutant {number} ({'; '.join(mutant(corpus, number)[1].what)}): {type(error).__name__}: {error}"
            )
            say(defects[-1][:1000])
    assert defects == []
    assert sorted(Path().rglob("*")) == before
    assert 0.1 < plans / len(numbers) < 0.9, "most mutants are told apart late, not at their first character"


def test_a_few_hundred_mutants(corpus: Corpus, watch: Watch, data_root: Path) -> None:
    hunt(corpus, range(300), watch)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_mutants(corpus: Corpus, watch: Watch, data_root: Path, part: int) -> None:
    hunt(corpus, range(1000 + 2600 * part, 1000 + 2600 * (part + 1)), watch)
