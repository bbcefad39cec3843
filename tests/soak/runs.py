"""Hundreds of runs of eight ranks, one after the other: what is left of each, and how much memory the last one takes.

    python -m tests.soak.runs --single 80 --together 420

So many runs are started one by one, each on ranks of its own, then so many at once, on ranks that stay. After the first
twenty of either kind and at the end, it looks at what the process has: memory, descriptors, children, threads, files.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RANKS, WARM = 8, 20

SLACK = 3 * 1024
"""KiB by which what an allocator keeps may differ between two runs."""

CONFIG: dict[str, Any] = {
    "name": "soak",
    "tasks": [
        {
            "task": {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 5}},
            "models": ["gossipsim.models.Vector"],
            "optimizers": [{"class": "torch.optim.SGD", "params": {"lr": 0.05}}],
        }
    ],
    "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": {"steps": 3, "batch_size": None}},
    "network": {"nodes": RANKS, "topology": "gossipsim.network.ring"},
}


@dataclass(frozen=True)
class Sample:
    """What this process has after so many runs. Memory in KiB, without what it shares with files."""

    runs: int
    memory: int
    descriptors: int
    children: int
    threads: int
    files: int


def sample(runs: int) -> Sample:
    gc.collect()
    return Sample(
        runs=runs,
        memory=memory_of(os.getpid()),
        descriptors=len(os.listdir("/proc/self/fd")),
        children=len(children()),
        threads=threading.active_count(),
        files=len(os.listdir(tempfile.gettempdir())) + sum("gossipsim" in name for name in os.listdir("/dev/shm")),
    )


def children() -> list[int]:
    return [int(name) for name in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def memory_of(process: int) -> int:
    """Anonymous memory of a process; 0 of one that is gone."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])
    return 0


class RanksWatched:
    """The largest rank as long as an experiment runs: after its first runs, and the last time that it was seen."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._over = folder, threading.Event()
        self.first = self.last = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            if len(list(self._folder.rglob("summary.json"))) >= WARM:
                self.last = max(map(memory_of, children()), default=0) or self.last
                self.first = self.first or self.last

    def __enter__(self) -> RanksWatched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def one_by_one(count: int, folder: Path, run: Callable[..., Any]) -> list[Sample]:
    taken = []
    for k in range(1, count + 1):
        (done,) = run(CONFIG | {"seeds": [k]}, workflow=folder / str(k), processes=RANKS).runs
        assert done.status == "complete", done.error
        if k in (WARM, count):
            taken.append(sample(k))
    return taken


def together(count: int, folder: Path, run: Callable[..., Any]) -> RanksWatched:
    with RanksWatched(folder) as watched:
        results = run(CONFIG | {"seeds": list(range(count))}, workflow=folder, processes=RANKS)
    assert [done.status for done in results.runs] == ["complete"] * count
    return watched


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--single", type=int, default=80, help="runs that are started one by one")
    parser.add_argument("--together", type=int, default=420, help="runs of one experiment")
    asked = parser.parse_args()
    import torch._dynamo

    import gossipsim

    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = str(Path(folder, "tmp"))
        os.mkdir(tempfile.tempdir)
        first, last = one_by_one(asked.single, Path(folder, "single"), gossipsim.run)
        ranks = together(asked.together, Path(folder, "together"), gossipsim.run)
        end = sample(asked.single + asked.together)
    for one in (first, last, end):
        print(json.dumps(asdict(one)))
    print(f"largest rank: {ranks.first} KiB after {WARM} runs, {ranks.last} KiB at the end")
    print(f"{asked.single + asked.together} runs of {RANKS} ranks in {time.monotonic() - began:.0f} s")
    left = [
        name for name in ("descriptors", "children", "threads", "files") if getattr(end, name) > getattr(first, name)
    ]
    grown = max(last.memory - first.memory, ranks.last - ranks.first) > SLACK
    print(f"left behind: {', '.join(left) or 'nothing'}; memory {'has' if grown else 'has not'} grown")
    return 1 if left or grown else 0


if __name__ == "__main__":
    sys.exit(main())
