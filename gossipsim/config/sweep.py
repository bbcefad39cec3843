"""Dotted paths into an experiment document: overrides, and the cells of grid and zip."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from gossipsim.config.models import (
    CROSSED,
    DEFAULT_PARTITION,
    DEFAULT_STRATEGY,
    DEFAULT_TOPOLOGY,
    DEFAULT_TRAINER,
    DEFAULT_WEIGHTS,
    ONE_NODE_TOPOLOGY,
    SECTIONS,
)
from gossipsim.spec import Path, did_you_mean, show

Cell = dict[str, Any]

NETWORK_SPECS = ("topology", "weights", "links", "compression")
"""The specs of a network; the last two may be absent."""

_SPEC_KEYS = ("class", "params", "name")
_SCHEDULE_KEYS = (*_SPEC_KEYS, "every")
_OPTIMIZER_KEYS = (*_SPEC_KEYS, "schedule", "clip_grad_norm")
_NETWORK_KEYS = ("nodes", *NETWORK_SPECS)
_KEYS_OF_A_SPEC = {*_SCHEDULE_KEYS, *_OPTIMIZER_KEYS, "tune"}


def fill_defaults(document: dict[str, Any], network_is_used: bool) -> None:
    """Gives the sections that are absent their defaults, in place. Without a network: one node."""
    for section, default in (
        ("trainer", DEFAULT_TRAINER),
        ("strategy", DEFAULT_STRATEGY),
        ("partition", DEFAULT_PARTITION),
    ):
        document.setdefault(section, default)
    if document.get("network") is None:
        document["network"] = {} if network_is_used else {"nodes": 1, "topology": ONE_NODE_TOPOLOGY}
    if isinstance(document["network"], dict):
        document["network"].setdefault("topology", DEFAULT_TOPOLOGY)
        document["network"].setdefault("weights", DEFAULT_WEIGHTS)


def document_path(dotted: str) -> tuple[str, ...]:
    """The keys of a dotted path; the keys of grid, zip and tune are dotted themselves."""
    for outer in (("grid",), ("zip",), ("optimizer", "tune")):
        inner = dotted.removeprefix(".".join(outer) + ".")
        if inner not in (dotted, ""):
            return (*outer, inner)
    return tuple(dotted.split("."))


def path_problem(dotted: str, other_keys: tuple[str, ...] = ()) -> str | None:  # noqa: PLR0911
    """Why nothing can stand at a path, with what is allowed there; `other_keys` are those that only overrides reach."""
    parts = document_path(dotted)
    first, rest = parts[0], parts[1:]
    allowed = (*SECTIONS, *CROSSED, *other_keys)
    if first not in allowed:
        if first in ("seed", "seeds"):
            return f"'{first}' cannot be swept; seeds are always crossed: list them in 'seeds'"
        return f"unknown key '{first}'{did_you_mean(first, allowed)}; allowed: {', '.join(allowed)}"
    if first in other_keys:
        return None
    if first == "optimizer" and rest[:1] == ("tune",):
        return None if other_keys else "'tune' lists candidates itself; give the values there"
    if first == "network" and rest:
        if rest[0] not in _NETWORK_KEYS:
            return (
                f"network has no '{rest[0]}'{did_you_mean(rest[0], _NETWORK_KEYS)}; allowed: {', '.join(_NETWORK_KEYS)}"
            )
        if rest[0] == "nodes":
            return f"network.nodes is a number and has no '{rest[1]}'" if rest[1:] else None
        first, rest = f"network.{rest[0]}", rest[1:]
    wrong = None if first == "network" else _below_a_spec(first, rest)
    return wrong or ("an empty key" if "" in parts else None)


def _below_a_spec(spec: str, rest: tuple[str, ...]) -> str | None:
    if not rest:
        return None
    keys = {"optimizer": _OPTIMIZER_KEYS, "optimizer.schedule": _SCHEDULE_KEYS}.get(spec, _SPEC_KEYS)
    if rest[0] not in keys:
        inside = f"; did you mean '{spec}.params.{'.'.join(rest)}'? Allowed"
        near = did_you_mean(rest[0], keys)
        return f"{spec} has no '{rest[0]}'{f'{near}; allowed' if near else inside}: {', '.join(keys)}"
    if rest[0] == "schedule":
        return _below_a_spec(f"{spec}.schedule", rest[1:])
    if rest[1:] and rest[0] != "params":
        return f"{spec}.{rest[0]} is a {'number' if rest[0] == 'clip_grad_norm' else 'string'} and has no '{rest[1]}'"
    return None


def is_spec_path(dotted: str) -> bool:
    """Does a bare string at this path name a class?"""
    below = (*(f"network.{part}" for part in NETWORK_SPECS), "optimizer.schedule")
    return dotted in below or (dotted in (*SECTIONS, *CROSSED) and dotted != "network")


def set_at(document: Any, path: Path, value: Any) -> str | None:
    """Sets a value in place, making objects on the way and specs of bare strings; says why it cannot."""
    here = document
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        index = part
        if isinstance(here, list):
            if not str(part).isdigit() or int(part) >= len(here):
                return f"'{_join(path[:depth])}' is a list of {len(here)} and has no '{part}'"
            index = int(part)
        elif not isinstance(here, dict):
            return f"'{_join(path[:depth])}' is {show(here)} and has no '{part}'"
        if last:
            here[index] = copy.deepcopy(value)
            return None
        child = here.get(index) if isinstance(here, dict) else here[int(index)]
        if child is None:
            child = {}
        elif isinstance(child, str) and path[depth + 1] in _KEYS_OF_A_SPEC and "params" not in path[: depth + 1]:
            child = {"class": child}
        here[index] = child
        here = child
    return None


def _join(path: Path) -> str:
    return ".".join(map(str, path))


def count(grid: Mapping[str, list[Any]], paired: Mapping[str, list[Any]]) -> int:
    """The number of cells, without making them."""
    number = 1
    for values in grid.values():
        number *= len(values)
    return number * len(next(iter(paired.values()), [None]))


def cells(grid: Mapping[str, list[Any]], paired: Mapping[str, list[Any]]) -> Iterator[dict[Path, Any]]:
    """Cells as {("grid" | "zip", dotted path, position in its list): value}, in order.

    The grid's first key is the slowest, the pairs of zip are the fastest.
    """
    axes: list[list[dict[Path, Any]]] = [
        [{("grid", key, i): value} for i, value in enumerate(values)] for key, values in grid.items()
    ]
    if paired:
        length = len(next(iter(paired.values())))
        axes.append([{("zip", key, i): values[i] for key, values in paired.items()} for i in range(length)])
    for choice in itertools.product(*axes):
        yield {place: value for part in choice for place, value in part.items()}
