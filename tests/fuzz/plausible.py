"""Specs of parts that ship, with params that their signatures ask for: most of them can be read, not all can be run."""

from __future__ import annotations

import functools
import random
import types
from typing import Any, Literal, Union, get_args, get_origin

from gossipsim.catalogue import Part, shipped
from gossipsim.spec.signature import accepted_by
from tests.fuzz.pieces import NUMBERS, STRINGS

_INNER = {"constraint": "constraint", "step_size": "step_size", "compressor": "compression", "weights": "weights"}
"""Params that are parts themselves, and their kinds."""

_OFFERED = ("n", "nodes", "num_nodes", "n_nodes", "input_shape", "num_classes", "optimizer", "params")


@functools.cache
def _parts(kind: str) -> list[Part]:
    return shipped(kind)


def spec(kind: str, draw: random.Random, path: str | None = None, depth: int = 0) -> dict[str, Any]:
    """Of any part of a kind, or of the one with this class path."""
    named = [each for each in _parts(kind) if each.path == path]
    chosen = draw.choice(named or _parts(kind))
    accepted = accepted_by(chosen.target, chosen.leading)
    if accepted is None:
        return {"class": chosen.path}
    optional = [name for name in accepted.hints if name not in (*accepted.required, *_OFFERED)]
    names = [name for name in accepted.required if name not in _OFFERED]
    names += draw.sample(optional, min(len(optional), draw.choice([0, 1, 1, 2])))
    return {"class": chosen.path, "params": {name: _value(name, accepted.hints[name], draw, depth) for name in names}}


def part(kind: str, draw: random.Random) -> dict[str, Any]:
    """A spec; of an optimizer with what goes beside its params."""
    made = spec(kind, draw)
    if kind == "optimizer" and draw.random() < 0.3:
        made["schedule"] = spec("schedule", draw) | {"every": draw.choice(["epoch", "step"])}
    if kind == "optimizer" and draw.random() < 0.2:
        made["clip_grad_norm"] = draw.choice([1, 0.5, *NUMBERS])
    if kind == "optimizer" and draw.random() < 0.2:
        made["tune"] = {"lr": [0.1, draw.choice(NUMBERS)]}
        made.get("params", {}).pop("lr", None)
    return made


def network(draw: random.Random) -> dict[str, Any]:
    """Nodes and a topology, and some of what goes with them."""
    made = {"nodes": draw.choice([1, 2, 3, 4, 8, 8, 9, 16, 17]), "topology": spec("topology", draw)}
    for kind in ("weights", "links", "compression"):
        if draw.random() < 0.3:
            made[kind] = spec(kind, draw)
    return made


def _value(name: str, hint: Any, draw: random.Random, depth: int) -> Any:  # noqa: PLR0911
    """What an annotation admits, mostly."""
    if name in _INNER and depth < 3 and draw.random() < 0.9:
        return spec(_INNER[name], draw, depth=depth + 1)
    if draw.random() < 0.1:
        return draw.choice([*NUMBERS, *STRINGS, None, [], {}])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return draw.choice(arguments)
    if origin in (Union, types.UnionType):
        return _value(name, draw.choice(arguments), draw, depth)
    if origin in (list, tuple, set) or hint in (list, tuple):
        return [_value("", (arguments or (int,))[0], draw, depth) for _ in range(draw.choice([0, 1, 2, 2, 3]))]
    if origin is dict or hint is dict:
        return {"a": _value("", (arguments or (str, int))[1], draw, depth)}
    values: dict[Any, list[Any]] = {
        bool: [True, False],
        int: [1, 2, 3, 4, 8, 0, -1, 10**9],
        float: [0.1, 0.5, 1.0, 0.01, 2, 0, -1.0, 1e308, 1e-300],
        str: STRINGS,
        type(None): [None],
    }
    return draw.choice(values.get(hint, [0.5, 1, 2, "auto*1", None]))
