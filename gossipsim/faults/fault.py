"""A fault as it is written down: in JSON, or in short on one line."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

VARIABLE = "GOSSIPSIM_FAULTS"
"""The environment variable that asks for faults beside those of the configuration."""

Kind = Literal[
    "kill", "segv", "stop", "hang", "raise", "exit", "oom", "slow", "nan", "launcher", "tear", "corrupt", "disk"
]

PLACES: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("kill", "segv", "stop", "hang", "raise", "exit", "oom", "slow"), ("rank", "node")
) | {"nan": ("node",)}
"""What a kind happens to: a process, said by its rank or by a node that it hosts, or a node. The others happen where
files are written: on rank 0."""

OPTIONS: dict[str, tuple[str, ...]] = {"slow": ("seconds",), "hang": ("seconds",), "corrupt": ("file",)}
"""What else a kind takes."""


class Fault(BaseModel):
    """Something that goes wrong on purpose, once, in every run of the experiment."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    fault: Kind = Field(
        description="kill: SIGKILL. segv: a segmentation fault. stop: SIGSTOP. hang: sleeps. raise: a RuntimeError. "
        "exit: leaves with code 0. oom: a MemoryError. slow: every exchange takes `seconds` longer. nan: a node's "
        "parameters become NaN. launcher: SIGKILL to what has started the ranks. tear: SIGKILL while a checkpoint is "
        "written. corrupt: flips the bits of a byte of a file. disk: nothing more can be written for this run."
    )
    rank: int | None = Field(None, ge=0, description="The process that it happens to.")
    node: int | None = Field(None, ge=0, description="A node: it happens to the process that hosts it.")
    step: int = Field(0, ge=0, description="The local steps that have been taken when it happens, or just after.")
    seconds: float | None = Field(None, gt=0, description="slow: for each exchange. hang: absent, for ever.")
    file: str | None = Field(
        None, description="corrupt: below the directory of the run, the last that fits; absent: the newest checkpoint."
    )
    attempts: int = Field(1, ge=1, description="In how many attempts at a run it happens; going on is another one.")

    @field_validator("file")
    @classmethod
    def _stays_in_the_run(cls, file: str | None) -> str | None:
        if file is not None and (PurePath(file).is_absolute() or ".." in PurePath(file).parts):
            raise PydanticCustomError("fault", "expected a path below the directory of the run")
        return file

    @model_validator(mode="after")
    def _fields_fit(self) -> Fault:
        places, options = PLACES.get(self.fault, ()), OPTIONS.get(self.fault, ())
        given = [name for name in ("rank", "node", "seconds", "file") if getattr(self, name) is not None]
        about = {"fault": self.fault, "places": " or ".join(f"'{place}'" for place in places)}
        for name in given:
            if name not in (*places, *options):
                allowed = ", ".join([*places, "step", *options, "attempts"])
                context = about | {"name": name, "allowed": allowed}
                raise PydanticCustomError("fault", "'{fault}' has no '{name}'; allowed: {allowed}", context)
        if places and len({*given} & {*places}) != 1:
            raise PydanticCustomError("fault", "'{fault}' takes {places}: give one", about)
        if self.fault == "slow" and self.seconds is None:
            raise PydanticCustomError("fault", "'slow' takes 'seconds': how much longer an exchange takes")
        return self

    def record(self) -> dict[str, Any]:
        """As it was written."""
        return self.model_dump(exclude_defaults=True)

    def __str__(self) -> str:
        """As :func:`from_text` reads it."""
        kind, *fields = self.record().items()
        return f"{kind[1]}{':' if fields else ''}{','.join(f'{name}={value}' for name, value in fields)}"


def from_text(text: str) -> list[dict[str, Any]]:
    """Faults in short, as they would be written in JSON; not yet checked.

    Raises:
        ValueError: where it cannot be read.

    >>> from_text("kill:rank=1,step=30;slow:rank=0,seconds=0.05")
    [{'fault': 'kill', 'rank': 1, 'step': 30}, {'fault': 'slow', 'rank': 0, 'seconds': 0.05}]
    """
    faults = []
    for entry in filter(None, map(str.strip, text.split(";"))):
        kind, _, fields = entry.partition(":")
        fault: dict[str, Any] = {"fault": kind.strip()}
        for field in filter(None, map(str.strip, fields.split(","))):
            name, equals, value = field.partition("=")
            if not equals:
                raise ValueError(f"{field!r} is not a field and its value; write e.g. kill:rank=1,step=30")
            fault[name.strip()] = _value(value.strip())
        faults.append(fault)
    return faults


def _value(text: str) -> int | float | str:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text
