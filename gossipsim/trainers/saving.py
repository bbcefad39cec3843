"""Saves a run between two rounds, brings it back, and lets it stop where all its processes agree.

What is saved belongs to nodes and not to processes, so that any number of these may go on with it. By steps, all
processes know when a checkpoint is due. Of time, and of whether somebody wants the run to stop, rank 0 knows alone:
the others ask it after so many rounds that asking costs nothing, and so few that nobody waits.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from gossipsim.checkpoints import (
    Checkpoint,
    Damaged,
    Folder,
    Frequency,
    Packed,
    Tree,
    Unsaveable,
    collect,
    deal,
    spread,
)
from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.record import Recorder
from gossipsim.world import stop_requested
from gossipsim.world.launcher import Emit

ASK_EVERY = 0.2
"""Seconds, about, from one question to rank 0 to the next."""

MOST_ROUNDS = 200
"""Rounds from one question to the next, however short they are."""


class UnderWay(Protocol):
    """A run that can be saved between two rounds.

    Attributes:
        evaluated_at: from when on the clock of training runs.
    """

    nodes: Nodes
    mix: Mix
    recorder: Recorder
    evaluated_at: float

    def tree(self) -> Tree:
        """What all processes know alike; the files of the recorder on rank 0. All processes come here."""

    def restore(self, shared: Tree, nodes: list[Tree]) -> None:
        """Goes on from what :meth:`tree` and the trees of the hosted nodes tell."""


class Saving:
    """The checkpoints of one run, on every process of it.

    Args:
        folder: of the checkpoints; only rank 0 touches it.
        every: how often, as `checkpoint_every` says it; None: never.
    """

    def __init__(self, folder: Folder, every: int | str | None, emit: Emit) -> None:
        self._folder, self._emit = folder, emit
        self._frequency = None if every is None else Frequency.of(every)
        self._asked_round, self._asked_at, self._next_question = 0, time.monotonic(), 0

    def resume(self, run: UnderWay) -> bool:
        """Brings the run to where its newest checkpoint was written; False, and nothing has changed, without one."""
        world = run.nodes.world
        found = self._newest(run.recorder) if world.rank == 0 else None
        if not world.agree(found is not None)[0]:
            return False
        shared = spread(world, None if found is None else found.shared)
        run.restore(shared, deal(world, None if found is None else found.nodes))
        self._asked_round = self._next_question = run.mix.round
        if self._frequency is not None:
            self._frequency.note(run.nodes.step, 0.0)
        self._say(run, note=f"goes on at step {run.nodes.step}")
        return True

    def after_round(self, run: UnderWay) -> bool:
        """Saves the run where that is due; returns whether it stops here. All processes say the same."""
        step, frequency = run.nodes.step, self._frequency
        due, stops = frequency is not None and frequency.due_by_step(step), False
        if run.mix.round >= self._next_question:
            *verdict, rounds = run.nodes.world.agree(*self._verdict(run.mix.round))
            stops, due_by_clock = map(bool, verdict)
            self._next_question = run.mix.round + rounds
            due = due or due_by_clock or stops
        if stops:
            self._emit({"stopping": True})
        if due and frequency is not None and step > frequency.saved:
            started = time.perf_counter()
            self._save(run, frequency)
            run.evaluated_at += time.perf_counter() - started
        return stops

    def _verdict(self, round_: int) -> tuple[int, int, int]:
        """Whether to stop, whether a checkpoint is due, and the rounds until the next question; that of rank 0
        counts."""
        now = time.monotonic()
        pace = (round_ - self._asked_round) / max(now - self._asked_at, 1e-9)
        self._asked_round, self._asked_at = round_, now
        due = self._frequency is not None and self._frequency.due_by_clock()
        return stop_requested(), due, max(1, min(MOST_ROUNDS, int(pace * ASK_EVERY)))

    def _save(self, run: UnderWay, frequency: Frequency) -> None:
        started, nodes = time.monotonic(), run.nodes
        try:
            shared = Packed.of([run.tree()])
            rows = collect(nodes.world, nodes.node_trees())
        except Unsaveable as error:
            self._frequency = None
            self._say(run, note=f"cannot be saved, and will not go on where it was interrupted: {error}")
            return
        if rows is not None:
            try:
                self._folder.write(Checkpoint(nodes.step, run.mix.round, shared, rows))
            except OSError as error:
                self._say(run, note=f"no checkpoint at step {nodes.step}: {error}")
        frequency.note(nodes.step, time.monotonic() - started)

    def _newest(self, recorder: Recorder) -> Checkpoint | None:
        """The newest checkpoint that can be used; the files of the recorder are cut back to it."""
        names = self._folder.names()
        for name in names:
            try:
                checkpoint = self._folder.read(name)
                (shared,) = checkpoint.shared.trees()
                recorder.restore(shared["recorder"])
            except (Damaged, OSError, ValueError) as error:
                self._folder.remove(name)
                self._emit({"note": f"checkpoint {name} is of no use: {error}"})
            else:
                return checkpoint
        recorder.clear()
        return None

    def _say(self, run: UnderWay, **message: Any) -> None:
        """Tells whoever started the run, once."""
        if run.nodes.world.rank == 0:
            self._emit(message)
