"""Processes as others may know them from a file, to tell whether they still live."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        boot: which start of the machine; "" where the system does not tell.
        namespace: of process ids: a container has its own.
        began: when, in ticks of the machine's clock: ids are used again.
    """

    host: str
    pid: int
    boot: str
    namespace: str
    began: int

    @classmethod
    def this(cls) -> Process:
        """The one that asks."""
        pid = os.getpid()
        return cls(platform.node(), pid, _text(_PROC / "sys/kernel/random/boot_id"), _namespace(), _began(pid) or 0)

    @classmethod
    def of(cls, record: object) -> Process | None:
        """Undoes :meth:`as_json`; None for anything else."""
        if not isinstance(record, Mapping):
            return None
        try:
            return cls(**{name: record[name] for name in cls.__dataclass_fields__})
        except KeyError:
            return None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lives(self) -> bool | None:
        """None where that cannot be told from here, as on another machine."""
        here = Process.this()
        if self.host != here.host or not self.boot:
            return None
        if self.boot != here.boot:
            return False
        if self.namespace != here.namespace:
            return None
        return _began(self.pid) == self.began

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return ""


def _began(pid: int) -> int | None:
    """None for a process that is not there, or is dead and only waits to be counted by its parent."""
    fields = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[19]) if fields and fields[0] not in "ZX" else None
