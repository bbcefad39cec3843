"""A request to stop, which a run follows at a round that all its processes agree on.

A signal says so to the process that started the run; ranks hear it from their launcher. The request is one of the
process, as signals are.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 5.0
"""Seconds from the request until the run is ended wherever it is, unless it has said that it stops."""

_sources: list[Callable[[], bool]] = []


def stop_requested() -> bool:
    """Whether this process has been asked to stop what it does."""
    return any(source() for source in _sources)


@contextmanager
def listening(source: Callable[[], bool]) -> Iterator[None]:
    """Within, what `source` says is a request to stop."""
    _sources.append(source)
    try:
        yield
    finally:
        _sources.remove(source)


class Request:
    """A request, once it is made, and who loses patience with it.

    Args:
        give_up: called from a thread when the patience is at its end.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self._timer = threading.Timer(PATIENCE, give_up)
        self._timer.daemon = True
        self._made = threading.Event()

    @property
    def made(self) -> bool:
        """Whether somebody has asked."""
        return self._made.is_set()

    def make(self) -> None:
        """Only the first time counts."""
        if not self.made:
            self._made.set()
            self._timer.start()

    def wait(self, seconds: float) -> None:
        """Sleeps until it is made, or so long."""
        self._made.wait(seconds)

    def grant(self) -> None:
        """The run is about to stop, and shall have the time that it takes."""
        self._timer.cancel()


@contextmanager
def stoppable() -> Iterator[Request]:
    """Within, a first Ctrl-C, or SIGTERM where a program handles it, requests a stop; a second one raises
    KeyboardInterrupt, and so does the end of all patience.

    In threads other than the main one, which hear no signals, it does nothing.
    """
    main, heard = threading.main_thread(), [signal.SIGINT]
    request = Request(lambda: signal.pthread_kill(main.ident or 0, heard[-1]))
    if threading.current_thread() is not main:
        yield request
        return

    def react(number: int, _: object) -> None:
        if request.made:
            raise KeyboardInterrupt
        heard.append(signal.Signals(number))
        request.make()

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number))]
    handlers = {number: signal.signal(number, react) for number in numbers}
    try:
        with listening(lambda: request.made):
            yield request
    finally:
        request.grant()
        for number, handler in handlers.items():
            signal.signal(number, handler)
