"""What happens to a process or to a node."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from gossipsim.faults.fault import Fault

MORE_THAN_ANYBODY_HAS = 1 << 62
"""Bytes."""

Act = Callable[[Fault, Any], object]


class Slow:
    """A transport that takes its time before it hands over what is sent."""

    def __init__(self, transport: Any, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def begin(self, *messages: Any) -> Any:
        time.sleep(self._seconds)
        return self._transport.begin(*messages)

    def lend(self, *messages: Any) -> Any:
        time.sleep(self._seconds)
        return self._transport.lend(*messages)


def _signal(number: signal.Signals) -> Act:
    return lambda fault, nodes: os.kill(os.getpid(), number)


def _hang(fault: Fault, nodes: Any) -> None:
    until = time.monotonic() + (fault.seconds or math.inf)
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 60))


def _raise(fault: Fault, nodes: Any) -> None:
    error = RuntimeError(f"the fault {fault} was asked for")
    if fault.node is not None:
        error.node = fault.node  # type: ignore[attr-defined]  # as code that works for one node does
    raise error


def _slow(fault: Fault, nodes: Any) -> None:
    assert fault.seconds is not None
    nodes.world.transport = Slow(nodes.world.transport, fault.seconds)


def _nan(fault: Fault, nodes: Any) -> None:
    assert fault.node is not None
    nodes.X[nodes.ids.index(fault.node)] = math.nan


def _kill_launcher(fault: Fault, nodes: Any) -> None:
    """The parent of a rank; a process that is no rank is its own launcher, and its parent somebody's shell."""
    is_rank = multiprocessing.parent_process() is not None or "TORCHELASTIC_RUN_ID" in os.environ
    os.kill(os.getppid() if is_rank else os.getpid(), signal.SIGKILL)


ACTS: dict[str, Act] = {
    "kill": _signal(signal.SIGKILL),
    "stop": _signal(signal.SIGSTOP),
    "segv": lambda fault, nodes: ctypes.string_at(0),
    "hang": _hang,
    "raise": _raise,
    "exit": lambda fault, nodes: os._exit(0),
    "oom": lambda fault, nodes: bytearray(MORE_THAN_ANYBODY_HAS),
    "slow": _slow,
    "nan": _nan,
    "launcher": _kill_launcher,
}
