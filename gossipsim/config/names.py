"""Display names: of specs, of cells, and made different where they are not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gossipsim.spec import is_spec, printable

_LONGEST = 60
_LONGEST_VALUE = 24


def display(spec: str | Mapping[str, Any]) -> str:
    """The name of a spec: its own, or the last part of its class path with its params.

    >>> display({"class": "torch.optim.SGD", "params": {"lr": 0.1}})
    'SGD(lr=0.1)'
    """
    if isinstance(spec, str):
        return spec.rpartition(".")[2]
    if spec.get("name"):
        return printable(str(spec["name"]))
    params = spec.get("params")
    given = dict(params) if isinstance(params, Mapping) else {}
    given |= {key: value for key, value in spec.items() if key not in ("class", "params", "name")}
    last = str(spec["class"]).rpartition(".")[2]
    shown: list[str] = []
    for key, value in given.items():
        if value is None and key in spec:
            continue
        text = f"{key}={_short(value)}"
        if len(", ".join([*shown, text])) + len(last) > _LONGEST:
            shown.append("...")
            break
        shown.append(text)
    return f"{last}({', '.join(shown)})" if shown else last


def _short(value: Any) -> str:
    if is_spec(value):
        return display(value)
    text = printable(value) if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def distinct(names: Sequence[str]) -> list[str]:
    """Later bearers of a name get a number, the same ones every time.

    >>> distinct(["SGD", "Adam", "SGD"])
    ['SGD', 'Adam', 'SGD #2']
    """
    written, used = set(names), set[str]()
    numbers: dict[str, int] = {}
    result = []
    for name in names:
        candidate = name
        while candidate in used or (candidate != name and candidate in written):
            numbers[name] = numbers.get(name, 1) + 1
            candidate = f"{name} #{numbers[name]}"
        used.add(candidate)
        result.append(candidate)
    return result


def short_paths(paths: Sequence[str]) -> list[str]:
    """The last part of each dotted path, or as many as tell the paths apart.

    >>> short_paths(["network.nodes", "strategy.params.steps", "trainer.params.steps"])
    ['nodes', 'strategy.steps', 'trainer.steps']
    """
    parts = [[part for part in path.split(".") if part != "params"] or [path] for path in paths]
    result = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        result.append(".".join(own[-length:]))
    return result


def cell_label(paths: Sequence[str], values: Sequence[Any], spec_valued: Sequence[bool]) -> str:
    """``nodes=8, topology=ring``; "default" where nothing is swept."""
    shown = [
        display(value) if spec_at and isinstance(value, str) else _short(value)
        for value, spec_at in zip(values, spec_valued, strict=True)
    ]
    return ", ".join(f"{path}={value}" for path, value in zip(paths, shown, strict=True)) or "default"
