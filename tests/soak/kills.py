"""Kills an experiment at random moments, again and again, and compares what it leaves in the end.

    python -m tests.soak.kills --kills 60 --seed 0

Every launcher is forked from this process, which has torch loaded, so that the moments cover the whole of a run: its
start, steps, checkpoints being written, the end of a run, tables, plots and report. It is killed (SIGKILL) alone, with
all of its ranks, or one of the ranks is. What started it again has another number of processes. When an experiment has
come to its end in spite of that, its files are compared with those of one that nobody disturbed, and the next begins.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

LONGEST, LONGEST_OF_REPORT = 0.15, 0.5
"""The longest life of the first launcher before it is killed, and of one that finds that all runs are done.

As parts of the time that an experiment takes which nobody disturbs, so that machines and disks may be slow.
"""

LONGER = 1.05
"""By how much each kill in an experiment lengthens the next life: a slow machine comes to the end as well."""

MANY = 100
"""More kills in one experiment than it needs by far: the lives are then a hundred times as long."""

HANGS = 4.0
"""Longer than what is left of an experiment can take, as a multiple of a whole one."""

REPORT = "tables, plots, report"

PROCESSES = ("1", "2", "2", "nodes")

CNN = {"class": "gossipsim.models.CNN", "params": {"channels": [2, 4], "hidden": 8, "dropout": 0.2}}

CONFIG: dict[str, Any] = {
    "name": "soak",
    "tasks": [
        {
            "task": {"class": "gossipsim.tasks.DigitsSupervisedTask", "params": {"train_size": 400, "val_size": 50}},
            "models": [CNN],
            "optimizers": [
                {"class": "torch.optim.Adam", "params": {"lr": 0.01}},
                {
                    "class": "gossipsim.optim.StochasticFrankWolfe",
                    "params": {"constraint": {"class": "gossipsim.optim.constraints.L2", "params": {"radius": 20.0}}},
                },
            ],
        }
    ],
    "trainer": {
        "class": "gossipsim.trainers.SupervisedTrainer",
        "params": {"steps": 600, "batch_size": 8, "log_every": 5, "eval_every": 50, "checkpoint_every": 20},
    },
    "network": {"nodes": 4, "topology": "gossipsim.network.ring"},
    "strategy": {"class": "gossipsim.strategies.GradientTracking"},
    "seeds": [0, 1],
    "workflow": "wf",
}

DIFFERENT = ("timing.jsonl", "manifest.json")
"""Files that hold times, or digests of files that do."""


@dataclass
class Soak:
    """One soak in a folder of its own.

    Attributes:
        whole: seconds that an experiment takes which nobody disturbs.
    """

    folder: Path
    rng: random.Random
    whole: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    experiments: int = 0

    def until(self, kills: int) -> None:
        """Goes on until so many launchers have been killed and the last experiment is whole."""
        reference = self._undisturbed()
        while self.kills.total() < kills or self.experiments == 0:
            place = self.folder / f"disturbed-{self.experiments}"
            self._write(place)
            lives = 0
            while (code := self._disturbed(place, LONGER**lives)) != 0:
                lives += 1
                assert code in (1, -signal.SIGKILL), f"exit code {code}"
                assert lives < MANY, "it does not come to its end"
            self.experiments += 1
            compare(reference, place)
            shutil.rmtree(place)

    def _undisturbed(self) -> Path:
        place = self.folder / "undisturbed"
        self._write(place)
        started = time.monotonic()
        assert wait(launch(place, "1"), None) == 0
        self.whole = time.monotonic() - started
        return place

    def _write(self, place: Path) -> None:
        place.mkdir()
        (place / "c.json").write_text(json.dumps(CONFIG))

    def _disturbed(self, place: Path, longer: float) -> int | None:
        """Starts a launcher and kills it at a random moment; its exit code where it came to its end before."""
        longest = self.whole * (LONGEST_OF_REPORT if moment(place) == REPORT else LONGEST)
        launcher = launch(place, self.rng.choice(PROCESSES))
        code = wait(launcher, self.rng.uniform(0.0, longest * longer))
        if code is not None:
            assert code == 0, f"exit code {code} of a launcher that nobody killed"
            return code
        ranks = children(launcher)
        victim = self.rng.choice(["launcher", "everyone", "rank"] if ranks else ["launcher"])
        self.kills[victim] += 1
        self.moments[moment(place)] += 1
        if victim == "rank":
            os.kill(self.rng.choice(ranks), signal.SIGKILL)
            code = wait(launcher, HANGS * self.whole)  # the run has failed, and the others go on
            assert code is not None, f"the launcher of a rank that was killed still runs after {HANGS * self.whole} s"
            return code
        for process in [launcher, *ranks] if victim == "everyone" else [launcher]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert wait(launcher, 10.0) is not None
        deadline = time.monotonic() + 10.0
        while any(alive(rank) for rank in ranks):
            assert time.monotonic() < deadline, "ranks outlive their launcher"
            time.sleep(0.02)
        return -signal.SIGKILL


def launch(place: Path, processes: str) -> int:
    """`gossipsim run c.json` in a fork of this process; its process id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        os.chdir(place)
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        from gossipsim.cli import app

        app(["run", "c.json", "--processes", processes])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(process: int, seconds: float | None) -> int | None:
    """The exit code of a child, negative for a signal; None where it goes on for longer."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() > deadline:
            return None
        time.sleep(0.005)


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def moment(place: Path) -> str:
    """What the experiment was at, as far as its files tell."""
    runs = list(place.glob("wf/exp_*/runs/**/run.json"))
    if not runs:
        return "before the first run"
    if any(place.glob("wf/exp_*/runs/**/checkpoint/*.tmp*")) or any(place.glob("wf/exp_*/runs/**/checkpoint/.*")):
        return "writing a checkpoint"
    states = Counter(json.loads(path.read_text())["status"] for path in runs)
    whole = len(CONFIG["seeds"]) * len(CONFIG["tasks"][0]["optimizers"])
    return REPORT if states["complete"] == whole else "runs"


def files(place: Path) -> Iterator[tuple[str, bytes]]:
    """The files of an experiment that must be the same, by their names."""
    (experiment,) = place.glob("wf/exp_*")
    wanted = [*experiment.glob("runs/**/*"), *experiment.glob("results*.csv"), *experiment.glob("tables/**/*")]
    for path in sorted(wanted):
        if path.is_file() and path.name not in DIFFERENT:
            yield str(path.relative_to(experiment)), path.read_bytes()


def compare(one: Path, other: Path) -> None:
    """Raises AssertionError where two experiments differ in any file."""
    expected, found = dict(files(one)), dict(files(other))
    assert expected.keys() == found.keys(), expected.keys() ^ found.keys()
    different = [name for name in expected if expected[name] != found[name]]
    assert not different, different
    assert (next(other.glob("wf/exp_*")) / "report.html").stat().st_size > 100_000


def too_long(*_: object) -> NoReturn:
    """The traceback says where it was."""
    raise AssertionError("it takes too long")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=int, default=0, help="seconds; 0: as long as it takes")
    options = parser.parse_args()
    import torch._dynamo  # noqa: F401  once here, not in every launcher

    import gossipsim.runner  # noqa: F401

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gossipsim-soak-") as name:
        soak = Soak(Path(name), random.Random(options.seed))
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(options.within)
        try:
            soak.until(options.kills)
        except AssertionError:
            print(f"{soak.kills.total()} kills, {soak.experiments} experiments", file=sys.stderr)
            for said in Path(name).glob("*/said.txt"):
                print(f"{said}:\n{said.read_text()[-20_000:]}", file=sys.stderr)
            for launcher in children(os.getpid()):
                os.kill(launcher, signal.SIGKILL)
            raise
    print(f"{soak.kills.total()} kills of {dict(soak.kills)}, during {dict(soak.moments)}")
    print(f"{soak.experiments} experiments have the files of an undisturbed one; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
