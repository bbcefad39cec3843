"""Commands that meet a fault, as processes of their own: exit code, time, files, and who is still there."""

from __future__ import annotations

import faulthandler
import fcntl
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

import gossipsim
import gossipsim.report
from gossipsim.faults import LEDGER, Fault
from gossipsim.results import Run
from tests.cli.conftest import config, place, with_params

__all__ = ["place"]

MARK = "GOSSIPSIM_TEST_MARK"
"""An environment variable by which processes of a torchrun job are known."""

TIMEOUT = 120

RANKS, STEPS, EVERY = 3, 60, 7

COMPARED = ("history.jsonl", "steps.jsonl", "parameters.npz", "summary.json")

MODES = ("one process", "forked", "torchrun")


def experiment(*faults: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    """Three nodes on a ring, SGD with momentum, a checkpoint every few steps."""
    optimizer = {"class": "torch.optim.SGD", "params": {"lr": 0.05, "momentum": 0.9}}
    content = config(optimizer=optimizer, network={"nodes": RANKS, "topology": "gossipsim.network.ring"})
    changed = {"steps": STEPS, "checkpoint_every": EVERY, "eval_every": 20} | trainer
    return content | {"trainer": with_params(content["trainer"], **changed), "faults": list(faults)}


def _gossipsim(mode: str) -> None:
    from gossipsim.cli import app

    app(["run", "c.json", "--processes", "1" if mode == "one process" else str(RANKS)])


def _torchrun(mode: str) -> None:
    from torch.distributed.run import main

    main([f"--nproc_per_node={RANKS}", "-m", "gossipsim.runner", "--config", "c.json"])


@dataclass
class Outcome:
    """What became of a command.

    Attributes:
        code: its exit code, or minus the signal that ended it.
        seconds: from the first fault to its end.
    """

    code: int
    out: str
    seconds: float


class Scene:
    """A folder with `c.json`, in which one command is started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary, self.out = folder / "here", folder / "tmp", folder / "out.txt"
        self.folder.mkdir()
        self.temporary.mkdir()
        self._shared_before = set(os.listdir("/dev/shm"))
        self._mark = str(folder)
        self.job = 0

    def start(self, mode: str, content: dict[str, Any], **environment: str) -> None:
        """`gossipsim run c.json`, or the same under torchrun: forked from here, where torch is imported already."""
        (self.folder / "c.json").write_text(json.dumps(content, indent=1))
        variables = {MARK: self._mark, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        variables["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        sys.stdout.flush()
        self.job = os.fork()
        if self.job == 0:
            self._become(_torchrun if mode == "torchrun" else _gossipsim, mode, variables | environment)

    def _become(self, main: Callable[[str], None], mode: str, environment: dict[str, str]) -> NoReturn:
        code = 1
        try:
            faulthandler.disable()  # pytest's
            os.setsid()
            out = os.open(self.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for descriptor, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(out, descriptor)
                setattr(sys, name, os.fdopen(descriptor, "w", buffering=1))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.update(environment)
            os.chdir(self.folder)
            gossipsim.report.build = lambda directory: directory  # type: ignore[assignment]
            main(mode)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> Outcome:
        """The end of the command."""
        deadline = time.monotonic() + TIMEOUT
        while (found := os.waitpid(self.job, os.WNOHANG))[0] == 0:
            assert time.monotonic() < deadline, f"still there after {TIMEOUT} s: {self.out.read_text()}"
            time.sleep(0.01)
        ended, began = time.time(), self.struck()
        return Outcome(os.waitstatus_to_exitcode(found[1]), self.out.read_text(), ended - began if began else 0.0)

    def struck(self) -> float | None:
        """When the last fault happened."""
        return max((path.stat().st_mtime for path in self.folder.rglob(LEDGER)), default=None)

    def wait_for_fault(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        while self.struck() is None:
            assert time.monotonic() < deadline, self.out.read_text()
            time.sleep(0.01)

    def survivors(self) -> list[int]:
        """Processes of the command."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and self._is_ours(Path("/proc", name))]

    def _is_ours(self, process: Path) -> bool:
        with suppress(OSError):
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if state == "Z" or int(session) == self.job:
                return state != "Z"
            return f"{MARK}={self._mark}\0".encode() in (process / "environ").read_bytes()
        return False

    def locked(self) -> bool:
        """Whether somebody holds the experiment; a process that is dying does, and has no environment any more."""
        with (self.folder / "wf/exp_0001/.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def leftovers(self) -> list[str]:
        """Of temporary files and shared memory; what torchrun leaves when it is killed is its own."""
        shared = {name for name in set(os.listdir("/dev/shm")) - self._shared_before if "gossipsim" in name}
        names = {path.name for path in self.temporary.iterdir() if not path.name.startswith("torchelastic_")}
        return sorted(shared | names)

    def record(self) -> dict[str, Any]:
        """run.json."""
        (path,) = self.folder.rglob("run.json")
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    def go_on(self) -> Run:
        """The same command again, in this process; it goes on, and does not meet the faults again."""
        met = [line for path in self.folder.rglob(LEDGER) for line in path.read_text().splitlines()]
        asked = json.loads((self.folder / "c.json").read_text())["faults"]
        assert met == [json.dumps(Fault.model_validate(fault).record()) for fault in asked]
        os.chdir(self.folder)
        (run,) = gossipsim.run("c.json").runs
        return run

    def result(self) -> Run:
        """Of the command, where it came to its end."""
        (run,) = gossipsim.load(self.folder / "wf/exp_0001").runs
        return run

    def end(self) -> None:
        """Nobody outlives the test, whatever happened."""
        for process in self.survivors():
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        with suppress(OSError):
            os.waitpid(self.job, 0)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.chdir(tmp_path)
    made = Scene(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that meets no fault."""
    (run,) = gossipsim.run(experiment(), workflow=tmp_path_factory.mktemp("untouched")).runs
    return files(run)


def files(run: Run) -> dict[str, bytes]:
    return {name: (run.directory / name).read_bytes() for name in COMPARED}
