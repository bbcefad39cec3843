"""Law 7, resume: a run that was cut off and goes on leaves the files of one that was not.

It is cut off as by a kill: nobody gets to finish anything, and last lines of files are torn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossipsim.config import RunSpec, plan
from gossipsim.execution import one_thread
from gossipsim.parts import Parts
from gossipsim.record import FILES
from gossipsim.testing.subject import Config, hold
from gossipsim.world import Alone, Ranks, Transport, watch
from gossipsim.world.launcher import Emit

COMPARED = ("history.jsonl", "steps.jsonl", "nodes.jsonl", "parameters.npz", "summary.json")

Hosted = tuple[int, str]
"""The processes of a run, and the engine of its nodes."""


def resume(
    config: Config, after: int | None = None, hosted: Sequence[Hosted] = ((1, "auto"), (1, "loop"), (1, "loop"))
) -> int:
    """Law 7: cut off in the middle and resumed by other processes or another engine, a run has the bytes of another
    that was never interrupted.

    Args:
        after: the local step after which it is cut off; None: half of the way.
        hosted: of the run until it is cut off, of what goes on with it, and of the uninterrupted one.

    Returns:
        The step at which it went on; 0 where no round had ended before.
    """
    run = plan(config).runs[0]
    until_cut, resumed, uninterrupted = hosted
    with tempfile.TemporaryDirectory(prefix="gossipsim-law-") as folder, one_thread():
        whole, cut = Path(folder) / "whole", Path(folder) / "cut"
        total = _Attempt(run, whole).play(*uninterrupted)[-1]["step"]
        middle = total // 2 if after is None else after
        _Attempt(run, cut, saves=True, until=middle).play(*until_cut)
        hold(not (cut / "summary.json").exists(), f"resume: a run of {total} steps came to its end after {middle}")
        _tear(cut)
        told = _Attempt(run, cut, saves=True).play(*resumed)
        for name in COMPARED:
            expected, found = ((at / name).read_bytes() if (at / name).exists() else b"" for at in (whole, cut))
            hold(found == expected, f"resume: {name} is another where the run was cut off after step {middle}")
    return next((int(message["note"].split()[-1]) for message in told if "goes on" in message.get("note", "")), 0)


class _CutOff(Exception):
    """Ends a run in the middle."""


@dataclass(frozen=True)
class _Attempt:
    """Trains in a directory, from the start or from where an earlier attempt was cut off.

    Attributes:
        saves: whether there is a checkpoint after every round.
        until: the step after which it is cut off, or None.
    """

    run: RunSpec
    directory: Path
    saves: bool = False
    until: int | None = None

    def play(self, processes: int, engine: str) -> list[dict[str, Any]]:
        """What the run has told."""
        self.directory.mkdir(exist_ok=True)
        told: list[dict[str, Any]] = []

        def train(transport: Transport, emit: Emit, _: Any = None) -> None:
            def tell(message: dict[str, Any]) -> None:
                emit(message)
                if self.until is not None and message.get("step", 0) > self.until:
                    raise _CutOff

            parts = Parts(self.run)
            parts.trainer.engine, parts.trainer.checkpoint_every = engine, 1 if self.saves else None
            parts.trainer.fit(parts, transport, self.directory, tell)

        if processes == 1:
            with suppress(_CutOff):
                train(Alone(), told.append)
            return told
        ranks = Ranks(processes, train)
        try:
            ranks.begin(None)
            while ranks.busy:
                watch([ranks], timeout=0.1)
                told += ranks.poll()
        finally:
            ranks.stop()
        expected = ranks.failure is None or "_CutOff" in ranks.failure.message
        hold(expected, f"resume: the run on {processes} processes failed: {ranks.failure}")
        return told


def _tear(directory: Path) -> None:
    """Leaves half a line at the end of every file of records."""
    for path in (directory / f"{name}.jsonl" for name in FILES):
        if path.exists():
            path.write_bytes(path.read_bytes() + b'{"step": 1')
