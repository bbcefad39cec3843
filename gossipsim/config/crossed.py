"""The tasks, models and optimizers of one cell: as listed, with what is overridden, swept and tuned put in.

A path such as ``optimizer.params.lr`` is about every optimizer that is listed; a whole spec, at ``optimizer``, takes
the place of the only one. A tuned optimizer becomes one optimizer per candidate.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gossipsim.config.documents import Crossed, Placed
from gossipsim.config.names import cell_label, display, distinct, short_paths
from gossipsim.config.origins import Anchor, Errors, Origins
from gossipsim.config.runs import Spec, canonical, final_spec
from gossipsim.config.sweep import document_path, set_at
from gossipsim.spec import Path

MAX_CANDIDATES = 10_000
"""Candidates of one optimizer; more are a mistake."""


@dataclass(frozen=True)
class Step:
    """A value that a cell, or an override, puts at a dotted path."""

    path: str
    value: Any
    anchor: Anchor
    swept: bool

    @property
    def parts(self) -> tuple[str, ...]:
        return document_path(self.path)


@dataclass(frozen=True)
class Part:
    """A task, a model or an optimizer of a cell.

    Attributes:
        shown: what its display name is made of: without what is swept or tuned, which other labels tell.
        written: (path in a run, place), later ones above earlier ones.
        tuned: of a candidate, its values of what is tuned.
    """

    kind: str
    spec: Any
    shown: Any
    written: tuple[tuple[Path, Anchor], ...]
    tuned: dict[str, Any] = field(default_factory=dict)

    @property
    def origins(self) -> Origins:
        origins = Origins({(self.kind,): self.written[0][1]})
        for path, anchor in self.written[1:]:
            origins = origins.replaced(path, anchor)
        return origins


@dataclass(frozen=True)
class Entry:
    """A task (none where it is missing) with its models and its optimizers, as they are in one cell."""

    tasks: list[Part]
    models: list[Part]
    optimizers: list[Part]

    @property
    def parts(self) -> list[Part]:
        return self.tasks + self.models + self.optimizers


def with_steps(listed: list[Crossed], steps: Sequence[Step], errors: Errors) -> list[Entry]:
    """The listed specs with the values of `steps` put in, outer paths first; nothing is checked or expanded yet."""
    tasks = sum(len(entry.tasks) for entry in listed)
    found = []
    for entry in listed:
        lists = {"task": entry.tasks, "model": entry.models, "optimizer": entry.optimizers}
        parts = {}
        for kind, placed in lists.items():
            number = tasks if kind == "task" else len(placed)
            own = [step for step in steps if step.parts[0] == kind]
            for step in own:
                if step.parts == (kind,) and number > 1:
                    message = f"a whole {kind} takes the place of the only one, but {number} are listed"
                    errors.add(step.anchor, f"{message}; list them all there, or sweep {kind}.params")
            parts[kind] = [_put_in(kind, each, own, errors) for each in placed]
        found.append(Entry(parts["task"], parts["model"], parts["optimizer"]))
    return found


def _put_in(kind: str, placed: Placed, steps: Sequence[Step], errors: Errors) -> Part:
    spec, anchor = placed
    whole = {kind: copy.deepcopy(spec)}
    written: list[tuple[Path, Anchor]] = [((kind,), anchor)]
    for step in steps:
        wrong = set_at(whole, step.parts, step.value)
        if wrong:
            errors.add(step.anchor, wrong)
        else:
            written.append((step.parts, step.anchor))
    shown = whole[kind]
    inside = [step for step in steps if len(step.parts) > 1]
    for step in inside:
        if step.swept and step.parts[1] not in ("class", "name"):
            shown = _without(shown, step.parts[1:])
    return Part(kind, whole[kind], _renamed(shown, [step.parts[-1] for step in inside]), tuple(written))


def _without(value: Any, path: Sequence[str]) -> Any:
    """A copy without what stands at a path."""
    if not isinstance(value, Mapping):
        return value
    key, *inner = path
    if not inner:
        return {name: item for name, item in value.items() if name != key}
    return {name: _without(item, inner) if name == key else item for name, item in value.items()}


def _renamed(shown: Any, changed: Sequence[str]) -> Any:
    """Without a written name that tells the value of something changed: ``SGD(lr=0.1)`` where lr is swept."""
    name = shown.get("name") if isinstance(shown, Mapping) else None
    if isinstance(name, str) and any(re.search(rf"\b{re.escape(key)}\s*=", name) for key in changed):
        return {key: item for key, item in shown.items() if key != "name"}
    return shown


def with_candidates(entries: list[Entry], errors: Errors) -> list[Entry]:
    """Tuned optimizers as their candidates, which are as many for each of them."""
    first: tuple[int, Anchor] | None = None
    found = []
    for entry in entries:
        optimizers: list[Part] = []
        for part in entry.optimizers:
            candidates = _candidates(part, errors)
            optimizers += candidates
            if not candidates or not candidates[0].tuned:
                continue
            number, place = len(candidates), part.origins.anchor(("optimizer", "tune"))
            first = first or (number, place)
            if number != first[0]:
                errors.add(
                    place,
                    f"{number} candidates, but {first[0]} at {first[1].text(first[1].path)}; "
                    "tuned optimizers get the same number (an equal budget)",
                )
        found.append(replace(entry, optimizers=optimizers))
    return found


def _candidates(part: Part, errors: Errors) -> list[Part]:
    """One optimizer per combination of the values of `tune`, itself without; none where something is wrong."""
    tune = part.spec.get("tune") if isinstance(part.spec, Mapping) else None
    if tune is None:
        return [part]
    plain = replace(part, spec=_without(part.spec, ("tune",)), shown=_without(part.shown, ("tune",)))
    if not isinstance(tune, Mapping) or not all(isinstance(each, list) and each for each in tune.values()):
        return []  # reported with the shape
    tune = {key: values for key, values in tune.items() if not _decided(part, key)}
    if not tune:
        return [plain]
    if not all(_is_tunable(part, key, values, errors) for key, values in tune.items()):
        return []
    number = math.prod(len(values) for values in tune.values())
    if number > MAX_CANDIDATES:
        errors.add(part.origins.anchor(("optimizer", "tune")), f"{number} candidates are more than {MAX_CANDIDATES}")
        return []
    shown = _renamed(plain.shown, [key.rpartition(".")[2] for key in tune])
    return [
        _candidate(replace(plain, shown=shown), dict(zip(tune, choice, strict=True)), errors)
        for choice in itertools.product(*(enumerate(values) for values in tune.values()))
    ]


def _candidate(part: Part, choice: Mapping[str, tuple[int, Any]], errors: Errors) -> Part:
    whole, written = {"optimizer": copy.deepcopy(part.spec)}, list(part.written)
    for key, (i, value) in choice.items():
        place = part.origins.anchor(("optimizer", "tune", key, i))
        wrong = set_at(whole, _tuned_path(key), value)
        if wrong:
            errors.add(place, wrong)
        written.append((_tuned_path(key), place))
    tuned = {key: value for key, (_, value) in choice.items()}
    return replace(part, spec=whole["optimizer"], written=tuple(written), tuned=tuned)


def _tuned_path(key: str) -> tuple[str, ...]:
    return ("optimizer", "params", *key.split("."))


def _decided(part: Part, key: str) -> bool:
    """Whether an override has put one value where several would be tried."""
    return any(path == _tuned_path(key) and anchor.whole for path, anchor in part.written)


def _is_tunable(part: Part, key: str, values: list[Any], errors: Errors) -> bool:
    path, origins = _tuned_path(key), part.origins
    given: Any = part.spec
    for step in path[1:]:
        given = given.get(step, ...) if isinstance(given, Mapping) else ...
    if given is not ...:
        errors.add(origins.anchor(path), f"'{key}' is tuned as well; leave it out here, or out of 'tune'")
        return False
    seen: dict[str, int] = {}
    for i, value in enumerate(values):
        first = seen.setdefault(canonical(value), i)
        if first != i:
            errors.add(origins.anchor(("optimizer", "tune", key, i)), f"the same value as entry {first}; remove one")
            return False
    return True


@dataclass(frozen=True)
class Row:
    """One task with one model and one optimizer; `names` are their labels."""

    specs: dict[str, Spec]
    names: dict[str, str]
    written: list[tuple[Path, Anchor]]
    tuned: dict[str, Any] | None


def rows(entries: list[Entry]) -> list[Row]:
    """Every task x model x optimizer, in order; of entries without mistakes."""
    found = []
    task_names = distinct([display(entry.tasks[0].shown) for entry in entries])
    for entry, task_name in zip(entries, task_names, strict=True):
        model_names = distinct([display(part.shown) for part in entry.models])
        families, names = _optimizer_names(entry.optimizers)
        for model, model_name in zip(entry.models, model_names, strict=True):
            for optimizer, family, name in zip(entry.optimizers, families, names, strict=True):
                parts = [entry.tasks[0], model, optimizer]
                found.append(
                    Row(
                        {part.kind: final_spec(part.spec) for part in parts},
                        {"task": task_name, "model": model_name, "optimizer": name},
                        [place for part in parts for place in part.written],
                        {"optimizer": family, "params": optimizer.tuned} if optimizer.tuned else None,
                    )
                )
    return found


def _optimizer_names(parts: list[Part]) -> tuple[list[str], list[str]]:
    """What each optimizer is called without and with its values of what is tuned."""
    tuned = [canonical([part.shown, part.written[0][1].path]) if part.tuned else str(i) for i, part in enumerate(parts)]
    first = {key: display(part.shown) for key, part in zip(tuned, parts, strict=True)}
    family = dict(zip(first, distinct(list(first.values())), strict=True))
    families = [family[key] for key in tuned]
    names = [_tuned_name(name, part.tuned) for name, part in zip(families, parts, strict=True)]
    return families, distinct(names)


def _tuned_name(family: str, tuned: Mapping[str, Any]) -> str:
    """``SGD`` -> ``SGD(lr=0.1)``, ``SGD(momentum=0.9)`` -> ``SGD(momentum=0.9, lr=0.1)``."""
    if not tuned:
        return family
    values = cell_label(short_paths(list(tuned)), list(tuned.values()), [False] * len(tuned))
    return f"{family[:-1]}, {values})" if family.endswith(")") else f"{family}({values})"
