"""Reads an experiment and its task directories; every mistake is noted, none ends the reading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter

from gossipsim.config.json_source import Source, plain, read
from gossipsim.config.models import MODELS, OPTIMIZERS, TASK, shape_errors
from gossipsim.config.origins import Anchor, ConfigError, Errors, Origins
from gossipsim.spec import Path, did_you_mean, show


@dataclass
class Document:
    """An experiment as given and as overridden, and where each part of it was written."""

    given: dict[str, Any]
    value: dict[str, Any]
    origins: Origins
    folder: str  # that task_dirs are relative to
    file: FilePath | None


Placed = tuple[Any, Anchor]


@dataclass
class Crossed:
    """A task with its models and optimizers as written, each with its place; `tasks` is empty if it is missing."""

    tasks: list[Placed]
    models: list[Placed]
    optimizers: list[Placed]


def label_of(path: str) -> str:
    """A path as errors show it: relative where it lies below the working directory."""
    absolute, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(absolute, here) if absolute.startswith(here.rstrip(os.sep) + os.sep) else absolute


def near_name(path: str) -> str:
    """A name near the first part of a path that does not exist."""
    absolute = os.path.abspath(path)
    parent, name = os.path.split(absolute)
    while not os.path.isdir(parent) and parent != os.path.dirname(parent):
        parent, name = os.path.split(parent)
    try:
        return did_you_mean(name, os.listdir(parent))
    except OSError:
        return ""


def load(config: str | os.PathLike[str] | Mapping[str, Any], errors: Errors) -> Document:
    """The experiment document.

    Raises:
        ConfigError: where no JSON object can be had at all.
    """
    if isinstance(config, Mapping):
        source, file, folder = _from_dict(config), None, os.getcwd()
    elif isinstance(config, str | os.PathLike):
        path = os.fspath(config)
        source = _from_file(path)
        file = FilePath(os.path.abspath(path))
        folder = str(file.parent)
    else:
        raise ConfigError([f"<config>: expected a path or a dict, got {show(config)}"])
    errors.add_source(source)
    if not source.readable:
        errors.raise_if_any()
    if not isinstance(source.value, dict):
        errors.add(Anchor(source), f"an experiment is a JSON object, got {show(source.value)}")
        errors.raise_if_any()
    return Document(source.value, source.value, Origins({(): Anchor(source)}), folder, file)


def _from_dict(config: Mapping[str, Any]) -> Source:
    problems: list[tuple[Path, str]] = []
    source = Source("<config>", plain(config, (), problems))
    source.problems = [(None, path, message) for path, message in problems]
    source.broken = {path for path, _ in problems}
    return source


def _from_file(path: str) -> Source:
    if "\0" in path:
        raise ConfigError([f"{show(path)}: no such file"])
    if os.path.isdir(path):
        raise ConfigError([f"{label_of(path)}: is a directory; give the experiment's JSON file"])
    if not os.path.exists(path):
        raise ConfigError([f"{label_of(path)}: no such file: looked for {os.path.abspath(path)}{near_name(path)}"])
    return read(path, label_of(path))


def task_directories(document: Document, errors: Errors) -> list[Crossed]:
    """The tasks of `task_dirs`, then those written in place."""
    found: list[Crossed] = []
    folders: dict[str, int] = {}
    task_dirs = document.value.get("task_dirs")
    for i, folder in enumerate(task_dirs if isinstance(task_dirs, list) else []):
        anchor = document.origins.anchor(("task_dirs", i))
        if not isinstance(folder, str):
            continue
        path = os.path.join(document.folder, folder)
        if not folder or "\0" in folder or not os.path.isdir(path):
            looked = "" if "\0" in folder else f": looked for {os.path.abspath(path)}{near_name(path)}"
            errors.add(anchor, f"no such directory{looked}")
        elif (real := os.path.realpath(path)) in folders:
            errors.add(anchor, f"the same directory as task_dirs[{folders[real]}]")
        else:
            folders[real] = i
            found.append(_task_directory(path, anchor, errors))
    return found + _tasks_in_place(document)


def _task_directory(path: str, anchor: Anchor, errors: Errors) -> Crossed:
    """One entry with what could be read."""
    task, models, optimizers = (
        _task_file(os.path.join(path, name), adapter, anchor, errors)
        for name, adapter in (("task.json", TASK), ("models.json", MODELS), ("optimizers.json", OPTIMIZERS))
    )
    return Crossed([(task.value, Anchor(task))] if task else [], _items(models), _items(optimizers))


def _items(source: Source | None) -> list[Placed]:
    if source is None or not isinstance(source.value, list):
        return []
    return [(spec, Anchor(source, (i,))) for i, spec in enumerate(source.value)]


def _task_file(path: str, adapter: TypeAdapter[Any], anchor: Anchor, errors: Errors) -> Source | None:
    if not os.path.isfile(path):
        folder, name = os.path.split(path)
        errors.add(anchor, f"no {name} in {label_of(folder)}{near_name(path)}")
        return None
    source = read(path, label_of(path))
    errors.add_source(source)
    if not source.readable:
        return None
    for inner, message in shape_errors(adapter, source.value):
        errors.add(Anchor(source, inner), message)
    return source


def _tasks_in_place(document: Document) -> list[Crossed]:
    """Their shape is checked with the experiment's."""
    tasks = document.value.get("tasks")
    found = []
    for i, entry in enumerate(tasks if isinstance(tasks, list) else []):
        if not isinstance(entry, dict):
            continue
        at, anchor = ("tasks", i), document.origins.anchor
        lists = {key: entry.get(key) for key in ("models", "optimizers")}
        models, optimizers = (
            [(spec, anchor((*at, key, j))) for j, spec in enumerate(specs if isinstance(specs, list) else [])]
            for key, specs in lists.items()
        )
        task = [(entry["task"], anchor((*at, "task")))] if "task" in entry else []
        found.append(Crossed(task, models, optimizers))
    return found
