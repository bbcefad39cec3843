"""Notices that this process is about to ask a person something, so that bars can leave the terminal to it.

An audit hook hears of `breakpoint()` before the debugger takes over, and does not change the frame that the debugger
stops in. It can be added to a process once and never be removed: who listens is a variable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TextIO

EVENTS = ("builtins.breakpoint", "pdb.Pdb", "builtins.input")


@dataclass(frozen=True)
class _Listener:
    give_way: Callable[[], None]
    streams: tuple[TextIO, TextIO]


_listeners: list[_Listener] = []


@contextmanager
def before_prompts(give_way: Callable[[], None]) -> Iterator[None]:
    """Calls `give_way` before each prompt of this process, not of its forks.

    A fork prints to the streams that are in force now: those that bars put in their place need the thread that draws
    them, which a fork does not have.
    """
    _install()
    listener = _Listener(give_way, (sys.stdout, sys.stderr))
    _listeners.append(listener)
    try:
        yield
    finally:
        if listener in _listeners:
            _listeners.remove(listener)


@cache
def _install() -> None:
    sys.addaudithook(_hear)
    os.register_at_fork(after_in_child=_leave)


def _hear(event: str, _: tuple[Any, ...]) -> None:
    if event in EVENTS:
        for listener in list(_listeners):
            listener.give_way()


def _leave() -> None:
    if _listeners:
        sys.stdout, sys.stderr = _listeners[0].streams
        _listeners.clear()
