"""The ranks of a torchrun job, of which this process is one, as an executor of runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn

from gossipsim.execution import Observer, end, interrupt, located, one_thread, only_node, pass_on, simulate
from gossipsim.experiment import Entry
from gossipsim.results import CannotWrite
from gossipsim.world import (
    Failure,
    PeerLost,
    Request,
    World,
    end_stuck,
    has_told_torchrun,
    hearing,
    listening,
    tell_torchrun,
)
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport


class Joined:
    """This process is a rank of a torchrun job: every rank walks through the same runs, rank 0 keeps the books."""

    SECONDS_FOR_THE_CULPRIT = 5.0

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.rank = transport.rank
        self._world = World(transport.size, transport)

    def agree(self, value: Any) -> Any:
        """Rank 0's JSON-able value, on every rank."""
        return json.loads(self._world.say(json.dumps(value)))

    def execute(self, entries: list[Entry], observer: Observer) -> None:
        """Runs `entries` on all ranks together. An error ends the job, named by the rank where it happened.

        Raises:
            KeyboardInterrupt: where a signal has stopped a run, which has been saved and marked as interrupted.
        """
        with one_thread():
            for entry in entries:
                if self.rank == 0:
                    observer.started(entry)
                with self._stoppable(entry) as request:
                    try:
                        if self.rank == 0:
                            entry.begin()
                        self.agree(None)  # the run's directory exists from here on
                        tell = self._teller(observer, entry, request)
                        status = simulate(entry.run, entry.directory, self.transport, tell)
                        self._world.texts("finished")  # for torchrun, a rank that has left early has succeeded
                    except (Exception, SystemExit) as error:
                        self._fail(entry, observer, error, request)
                if self.rank == 0:
                    end(entry, observer, status)
                if status == "interrupted":
                    raise KeyboardInterrupt

    def _teller(self, observer: Observer, entry: Entry, request: Request) -> Emit:
        """What a run of this rank reports goes to the observer on rank 0, nowhere on others."""

        def tell(message: dict[str, Any]) -> None:
            if "stopping" in message:
                request.grant()
            elif self.rank == 0:
                pass_on(observer, entry, message)

        return tell

    @contextmanager
    def _stoppable(self, entry: Entry) -> Iterator[Request]:
        """Within, a first SIGTERM or SIGINT requests a stop; a second one, or the end of all patience, ends this rank.

        torchrun sends them to all ranks: for Ctrl-C, and when a rank has died. A run does not stay "running" then.
        """
        heard: list[signal.Signals] = []

        def react(number: signal.Signals) -> None:
            heard.append(number)
            if request.made:
                give_up()
            request.make()

        def give_up() -> None:
            if self.rank == 0 and heard[0] != signal.SIGTERM:
                interrupt(entry)
            elif self.rank == 0 and entry.status() == "running":
                message = "torchrun ended the job because a rank died; its report names the rank"
                with suppress(CannotWrite):
                    entry.mark("failed", Failure(message))
            os._exit(128 + heard[0])

        request = Request(give_up)
        with hearing((signal.SIGTERM, signal.SIGINT), react), listening(lambda: request.made):
            try:
                yield request
            finally:
                request.grant()

    def _fail(self, entry: Entry, observer: Observer, error: BaseException, request: Request) -> NoReturn:
        """The culprit records the failure and ends the job; its victims leave it the time to do so.

        Where the culprit could not, a victim that knows who is gone does, or rank 0. When torchrun ends the job, the
        time is over.
        """
        size, failure = self.transport.size, Failure.of(error, self.rank)
        lost = error if isinstance(error, PeerLost) else None
        if failure.peer is not None:
            failure = replace(failure, rank=failure.peer, node=only_node(entry.run, size, failure.peer))
        if lost is None:
            tell_torchrun(error)  # before the books, for which there may be no room on the disk
            end(entry, observer, "failed", located(failure, entry.run, size))
        else:
            request.wait(0 if lost.hopeless else self.SECONDS_FOR_THE_CULPRIT)
            time.sleep(0.1 * min(self.rank, 10))  # one after the other
            if self._speaks_for(lost) and entry.status() == "running":
                end(entry, observer, "failed", located(failure, entry.run, size))
                if lost.process:
                    end_stuck(lost.process)  # torchrun would give it 30 s
            tell_torchrun(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    def _speaks_for(self, lost: PeerLost) -> bool:
        """Whether it is for this rank to say what has become of another, which may have said it itself."""
        if lost.peer is None:
            return self.rank == 0
        return not (lost.process and has_told_torchrun(lost.peer))
