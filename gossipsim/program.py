"""How a program of this package begins and ends, also where nobody can read what it prints."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import typer

OK, FAILED, BAD_CONFIGURATION, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


def call(app: typer.Typer) -> None:
    """A program's main; whoever has interrupted it does not wait for torch to be taken to pieces, which takes 0.5 s."""
    _open_streams()
    output, complaints = Output(sys.stdout), Output(sys.stderr)
    complaints.lasting = True
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, complaints)
    try:
        with one_line():
            app()
    except SystemExit as end:
        if output.takes_no_more():
            raise SystemExit(FAILED) from end
        if end.code == INTERRUPTED:
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
    except OSError as error:
        if output.takes_no_more():
            raise SystemExit(FAILED) from error
        if _is_nowhere():
            typer.echo("the working directory was removed; change to one that exists", err=True)
            raise SystemExit(BAD_CONFIGURATION) from error
        raise


@contextmanager
def one_line() -> Iterator[None]:
    """Within, what the disk does not take ends a program with one line."""
    try:
        yield
    except OSError as error:
        from gossipsim.results import CannotWrite

        if not isinstance(error, CannotWrite):
            raise
        typer.echo(str(error), err=True)
        raise SystemExit(FAILED) from error


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def lasting_output() -> TextIO:
    """The standard output, of which nothing depends from here on: see :class:`Output`."""
    output: Any = sys.stdout
    if not isinstance(output, Output):
        output = Output(sys.stdout)
    output.lasting = True
    return cast(TextIO, output)


class Output:
    """A text stream that knows when it has taken no more: its reader has left, or its disk is full.

    Attributes:
        lasting: it is for what a person may read while runs go on: they go on without, which is told once.
    """

    def __init__(self, stream: TextIO) -> None:
        self.lasting = False
        self._stream = stream
        self._failure: OSError | None = None

    def write(self, text: str) -> int:
        with self._watched():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._watched():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def takes_no_more(self) -> bool:
        """Whether something that matters could not be written, which is told; but not to somebody who has left."""
        with suppress(OSError):
            self.flush()
        if self._failure is None or self.lasting:
            return False
        self._silence()
        if self._failure.errno != errno.EPIPE:
            self._tell()
        return True

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = error
            if not self.lasting:
                raise
            self._silence()
            self._tell("; the runs go on, and their results are in files")

    def _silence(self) -> None:
        """What is written from here on, or waits to be, goes nowhere."""
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def _tell(self, consequence: str = "") -> None:
        assert self._failure is not None
        reason = self._failure.strerror or self._failure
        if self is not sys.stderr:  # who else would tell?
            print(f"the standard output cannot be written ({reason}){consequence}", file=sys.stderr, flush=True)


def _open_streams() -> None:
    """Standard streams that are closed lead nowhere: the next file would take their number, and what is printed would
    go there. What a terminal has no letters for is spelled out.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
