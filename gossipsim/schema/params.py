"""The JSON Schema of the params of a class: names, types, defaults and what its docstring says of them."""

from __future__ import annotations

import collections.abc
import json
import re
import types
from typing import Any, Literal, Union, get_args, get_origin

from gossipsim.catalogue import Part
from gossipsim.spec.signature import accepted_by

Schema = dict[str, Any]

_SCALARS: dict[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null"}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_OBJECTS = (dict, collections.abc.Mapping)
_KIND_OF_CLASS = {
    "ConstraintSet": "constraint",
    "StepSize": "step_size",
    "Compressor": "compression",
    "NodeModel": "duration",
    "EdgeModel": "duration",
    "PerEdge": "duration",
    "Weights": "weights",
}
"""Base class in an annotation -> the kind of spec that builds one."""

_ARGUMENT = re.compile(r"^(?: {4})?(\w+): (.*)$")


def params_schema(part: Part) -> Schema | None:
    """Of the object under "params"; None where the signature cannot be read.

    Params of our own classes are closed, so that a typo is an error; those of others may be any.
    """
    accepted = accepted_by(part.target, part.leading)
    if accepted is None:
        return None
    told = _arguments(part.text)
    properties: dict[str, Schema] = {}
    for name, hint in accepted.hints.items():
        default = accepted.defaults.get(name, ...)
        properties[name] = _with_default(_typed(hint, default), default)
        if name in told:
            properties[name]["description"] = told[name]
    closed = part.ours and not accepted.anything
    required = [name for name in accepted.required if name not in part.offered] if part.ours else []
    schema: Schema = {"type": "object", "properties": properties}
    if closed:
        schema["additionalProperties"] = False
    return schema | ({"required": required} if required else {})


def required_params(part: Part) -> bool:
    """Whether the bare class path will not do."""
    return bool((params_schema(part) or {}).get("required"))


def _typed(hint: Any, default: Any) -> Schema:
    """The schema of an annotation; of what nothing is known, anything goes."""
    kinds = sorted(_kinds(hint) | _kind_of_default(default))
    fitting = _fitting(hint)
    if not kinds:
        if default is None and fitting and "null" not in json.dumps(fitting):
            return {"anyOf": [fitting, {"type": "null"}]}
        return dict(fitting)
    specs: list[Schema] = [{"$ref": f"#/$defs/{kind}_object"} for kind in kinds]
    spec = specs[0] if len(specs) == 1 else {"anyOf": specs}
    if (get_origin(hint) or hint) in _OBJECTS:
        return {"type": "object", "additionalProperties": spec}
    # Numbers, lists and rules in a string pass; an object is a spec. Editors complete what is under "then".
    return {"if": {"type": "object"}, "then": spec}


def _kinds(hint: Any) -> set[str]:
    """The kinds of parts that an annotation names, at any depth."""
    found = {_KIND_OF_CLASS[hint.__name__]} if getattr(hint, "__name__", "") in _KIND_OF_CLASS else set()
    for argument in get_args(hint):
        found |= _kinds(argument)
    return found


def _kind_of_default(default: Any) -> set[str]:
    """A default that is a partition says that partitions are asked for."""
    return {"partition"} if type(default).__module__ == "gossipsim.data.partition" else set()


def _fitting(hint: Any) -> Schema:  # noqa: PLR0911
    if hint is None:
        hint = types.NoneType
    if isinstance(hint, type) and hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    origin = get_origin(hint) or hint
    arguments = get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        members = [_fitting(argument) for argument in arguments]
        return {"anyOf": members} if any(members) else {}
    if origin in _LISTS and origin is not tuple:
        items = _fitting(arguments[0]) if arguments else {}
        return {"type": "array", "items": items} if items else {"type": "array"}
    if origin is tuple:
        return {"type": "array"}
    if origin in _OBJECTS and len(arguments) == 2:
        return {"type": "object", "additionalProperties": _fitting(arguments[1])}
    return {}


def _with_default(schema: Schema, default: Any) -> Schema:
    if isinstance(default, tuple):
        default = list(default)
    if default is ... or default is None or not isinstance(default, bool | int | float | str | list):
        return schema
    return schema | {"default": default}


def _arguments(text: str) -> dict[str, str]:
    """What the Args section of a docstring says, by name.

    >>> _arguments("A ball.\\n\\nArgs:\\n    radius: how far\\n        it goes. p: its norm.")
    {'radius': 'how far it goes. p: its norm.'}
    """
    section = re.search(r"^Args:\n((?:(?: {4}.*)?\n?)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section.group(1).splitlines() if section else []:
        start = _ARGUMENT.match(line)
        if start and not line.startswith("     "):
            name = start.group(1)
            found[name] = start.group(2)
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {key: plain(value) for key, value in found.items()}


def plain(text: str) -> str:
    """A sentence of a docstring without the marks of reStructuredText."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", text)
    return re.sub(r"``([^`]*)``", r"`\1`", text)


def first_sentence(part: Part) -> str:
    """What a part is, in one line: of its docstring, or of its module's where it has none."""
    text = part.text or part.module_text
    return plain(" ".join(text.partition("\n\n")[0].split()))
