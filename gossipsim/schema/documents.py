"""The schema of each configuration file: the keys of the models, with the parts that ship filled in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gossipsim.catalogue import KIND_NAMES, Part, shipped
from gossipsim.config import experiment_schema
from gossipsim.schema.params import Schema, first_sentence, params_schema, required_params

DOCUMENTS = ("experiment", "task", "models", "optimizers")
"""The files that have a schema: an experiment, and the three of a task directory."""

_KIND_OF_KEY = {"models": "model", "optimizers": "optimizer"} | {kind: kind for kind in KIND_NAMES}
_BASE_OF_KIND = {"optimizer": "OptimizerSpec", "schedule": "ScheduleSpec"}
_SWEPT = ("strategy", "partition", "trainer", "network.topology", "network.weights", "network.compression")


def schema_of(document: str) -> Schema:
    """The JSON Schema of one of the :data:`DOCUMENTS`.

    >>> schema_of("experiment")["required"]
    ['name']
    """
    parts = {kind: shipped(kind) for kind in KIND_NAMES}
    experiment = experiment_schema()
    bases = experiment.pop("$defs")
    definitions = copy.deepcopy(bases)
    for kind in KIND_NAMES:
        definitions |= _kind_schemas(kind, bases[_BASE_OF_KIND.get(kind, "Spec")], parts[kind])
    definitions |= _all_params(parts)
    root = experiment if document == "experiment" else _root(document)
    whole: Schema = {"$schema": experiment["$schema"], **root, "title": f"gossipsim: {document}", "$defs": definitions}
    _point_to_kinds(whole)
    if document == "experiment":
        _suggest_sweeps(whole)
    return _used(_tidy(whole))


def _root(document: str) -> Schema:
    if document == "task":
        return {"$ref": "#/$defs/task"}
    kind = _KIND_OF_KEY[document]
    return {"type": "array", "minItems": 1, "items": {"$ref": f"#/$defs/{kind}"}}


def _kind_schemas(kind: str, base: Schema, parts: list[Part]) -> dict[str, Schema]:
    """Specs of one kind, a class path or an object, and the object alone: inside params a string is a string."""
    text, fields = copy.deepcopy(base["anyOf"])
    bare = [part for part in parts if not required_params(part)]
    text["anyOf"] = [*_suggestions(bare), {"type": "string"}]
    fields["properties"]["class"]["anyOf"] = [*_suggestions(parts), {"type": "string"}]
    inside = f"{kind}_object"
    return {kind: {"anyOf": [text, {"$ref": f"#/$defs/{inside}"}]}, inside: fields | _conditions(parts)}


def _suggestions(parts: list[Part]) -> list[Schema]:
    return [{"const": part.path, "description": first_sentence(part)} for part in parts]


def _conditions(parts: list[Part]) -> Schema:
    """If it is this class, then its params are these."""
    rules: list[Schema] = []
    for part in parts:
        params = params_schema(part)
        if params is None:
            continue
        then: Schema = {"properties": {"params": {"$ref": f"#/$defs/{_params_name(part)}"}}}
        if params.get("required"):
            then["required"] = ["params"]
        rules.append({"if": {"properties": {"class": {"const": part.path}}, "required": ["class"]}, "then": then})
    return {"allOf": rules} if rules else {}


def _all_params(parts: Mapping[str, list[Part]]) -> dict[str, Schema]:
    schemas = {_params_name(part): params_schema(part) for kind in parts.values() for part in kind}
    return {name: schema for name, schema in schemas.items() if schema is not None}


def _params_name(part: Part) -> str:
    return f"params-{part.path}"


def _point_to_kinds(whole: Schema) -> None:
    """A key whose value is a spec refers to the schema of its kind."""
    for holder in [whole, *whole["$defs"].values()]:
        for key, value in holder.get("properties", {}).items():
            if key in _KIND_OF_KEY:
                _replace_reference(value, f"#/$defs/{_KIND_OF_KEY[key]}")


def _replace_reference(value: Any, reference: str) -> None:
    if isinstance(value, list):
        for each in value:
            _replace_reference(each, reference)
    if isinstance(value, dict):
        if value.get("$ref") in ("#/$defs/Spec", "#/$defs/OptimizerSpec", "#/$defs/ScheduleSpec"):
            value["$ref"] = reference
        for each in value.values():
            _replace_reference(each, reference)


def _suggest_sweeps(whole: Schema) -> None:
    """The paths that people sweep, in grid and zip; any other dotted path may stand there too."""
    lists: dict[str, Schema] = {
        path: {"items": {"$ref": f"#/$defs/{path.rpartition('.')[2]}"}, "description": f"Values of {path}."}
        for path in _SWEPT
    }
    lists["network.nodes"] = {"items": {"type": "integer", "minimum": 1}, "description": "Numbers of nodes."}
    trainer = whole["$defs"]["params-gossipsim.trainers.SupervisedTrainer"]["properties"]
    for name, param in trainer.items():
        lists[f"trainer.params.{name}"] = {"items": {}, "description": param.get("description", "")}
    for key in ("grid", "zip"):
        whole["properties"][key]["properties"] = {
            path: {"type": "array", "minItems": 1, **each} for path, each in lists.items()
        }


def _tidy(value: Any) -> Any:
    """Without pydantic's titles and defaults of null; a default that is a spec as its class path."""
    if isinstance(value, list):
        return [_tidy(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, each in value.items():
        if key == "title" and isinstance(each, str) and not each.startswith("gossipsim"):
            continue
        if key == "default" and (each is None or (each in ([], {}) and isinstance(each, list | dict))):
            continue
        found[key] = each["class"] if key == "default" and _is_spec(each) else _tidy(each)
    return found


def _is_spec(value: Any) -> bool:
    return isinstance(value, dict) and "class" in value


def _used(whole: Schema) -> Schema:
    """With those definitions only that something refers to."""
    kept: dict[str, Any] = {}
    queue = [{key: value for key, value in whole.items() if key != "$defs"}]
    while queue:
        for name in _references(queue.pop()):
            if name not in kept:
                kept[name] = whole["$defs"][name]
                queue.append(kept[name])
    return {**{key: value for key, value in whole.items() if key != "$defs"}, "$defs": dict(sorted(kept.items()))}


def _references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for each in value for name in _references(each)}
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"].removeprefix("#/$defs/")} if isinstance(value.get("$ref"), str) else set()
    return own | {name for each in value.values() for name in _references(each)}
