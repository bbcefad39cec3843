"""Hears signals while the process waits inside an exchange, where Python's own handlers are not run; defers them."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def hearing(signals: tuple[signal.Signals, ...], react: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Calls `react` with each of `signals` that arrives, from a thread, in place of the handlers in force.

    For the main thread only.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def listen() -> None:
        while heard := reader.recv(1):
            if heard[0] in signals:
                react(signal.Signals(heard[0]))

    thread = threading.Thread(target=listen, daemon=True)
    handlers = {number: signal.signal(number, lambda *_: None) for number in signals}
    descriptor = signal.set_wakeup_fd(writer.fileno())
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        writer.close()
        thread.join()
        reader.close()


@contextmanager
def deferred() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait until the block has ended: it starts or ends processes, or writes what they did.

    In threads other than the main one, which hear no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in numbers}
    try:
        yield
    finally:
        for deferring, handler in handlers.items():
            signal.signal(deferring, handler)
        for number in dict.fromkeys(heard):
            signal.raise_signal(number)
