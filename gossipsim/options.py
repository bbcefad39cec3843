"""The options of a run, and how they are written on a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gossipsim.spec import dotted


@dataclass(frozen=True)
class Options:
    """How to run a configuration; see `gossipsim run --help`."""

    config: str | Path | Mapping[str, Any]
    processes: int | str = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] | None = None
    exp_id: int | None = None
    new: bool = False
    skip_existing: bool = True
    jobs: int | str = 1
    report: bool = True
    track: Sequence[str] = ()
    allow: Sequence[str] = ()


_DIGITS = 20
"""A number with so many is not meant."""

ALLOW = "Class paths may only begin with this, e.g. torch.optim, or with gossipsim; may be given several times."


def parse_processes(value: str) -> int | str:
    if value in ("auto", "nodes"):
        return value
    if value.isdecimal() and len(value) < _DIGITS and int(value) > 0:
        return int(value)
    raise ValueError(f"--processes {value}: give auto, nodes or a positive number")


def parse_jobs(value: str) -> int | str:
    if value == "auto":
        return value
    if value.isdecimal() and len(value) < _DIGITS and int(value) > 0:
        return int(value)
    raise ValueError(f"--jobs {value}: give auto or a positive number")


def parse_overrides(values: list[str]) -> dict[str, Any]:
    """`a.b=v` with v in JSON; what is not JSON is a string."""
    overrides: dict[str, Any] = {}
    for text in values:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ValueError(f"--set {text}: write path=value, e.g. trainer.params.epochs=3")
        overrides[path] = _value(path, value)
    return overrides


def _value(path: str, text: str) -> Any:
    """JSON, as strict as in a file; a string where it does not even begin like JSON."""
    from gossipsim.config.json_source import parse

    source = parse(text, "--set")
    if not source.problems:
        return source.value
    if source.readable or text.lstrip()[:1] in ("{", "[", '"'):
        _, where, message = source.problems[0]
        raise ValueError(": ".join(filter(None, (f"--set {path}", dotted(where), message))))
    return text


def overrides_of(set_: list[str] | None, workflow: Path | None, device: str | None) -> dict[str, Any]:
    """--set, and the options that are short for one."""
    overrides = parse_overrides(set_ or [])
    if workflow is not None:
        overrides["workflow"] = str(workflow)
    if device is not None:
        overrides["trainer.params.device"] = device
    return overrides


def parse_seeds(text: str) -> list[int]:
    """`0:5` is 0 1 2 3 4; `1,7` is 1 7; `3` is 3."""
    from gossipsim.config.plan import MAX_RUNS

    first, colon, last = text.partition(":")
    parts = [first, last] if colon else text.split(",")
    if not all(part.strip().isdecimal() and len(part) < _DIGITS for part in parts):
        raise ValueError(f"--seeds {text}: write 0:5 (0 to 4), 1,7 or 3")
    seeds = range(int(first), int(last)) if colon else [int(part) for part in parts]
    if len(seeds) > MAX_RUNS:
        raise ValueError(f"--seeds {text}: more than {MAX_RUNS} runs")
    if not seeds:
        raise ValueError(f"--seeds {text}: there is no seed in it; 0:5 is 0 to 4")
    return list(seeds)


def parse_allow(prefixes: Sequence[str]) -> tuple[str, ...]:
    """Dotted prefixes of class paths."""
    for prefix in prefixes:
        if not all(part.isidentifier() for part in prefix.split(".")):
            raise ValueError(f"--allow {prefix}: write the beginning of a class path, e.g. torch.optim")
    return tuple(prefixes)


def parse_track(names: Sequence[str], *, speaks: bool) -> tuple[str, ...]:
    """Names of trackers that can be used here; none on a rank that does not speak, which would track nothing."""
    from gossipsim.trackers import check_trackers

    return check_trackers(names) if names and speaks else ()
