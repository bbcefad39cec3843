"""Checks a spec against the signature of what it names, before anything is built."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gossipsim.spec.annotations import mismatch
from gossipsim.spec.locate import LocateError, locate
from gossipsim.spec.text import Path, did_you_mean, show
from gossipsim.spec.trust import homes, within

Problem = tuple[Path, str]

SPEC_KEYS = ("class", "params", "name")

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass
class Accepted:
    """The params that a target takes by name."""

    hints: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    anything: bool = False


def signature_problems(spec: Mapping[str, Any], *, offered: Collection[str] = (), leading: int = 0) -> list[Problem]:
    """What is wrong with a spec and the specs inside its params: (path inside the spec, message).

    `offered` are parameters that the caller of :func:`gossipsim.spec.build` has on offer, and `leading` is
    how many positional parameters it fills itself; neither is missing here, a leading one cannot be given.

    >>> signature_problems({"class": "fractions.Fraction", "params": {"numerater": 1}})
    [(('params', 'numerater'), "fractions.Fraction takes no 'numerater' (did you mean 'numerator'?)")]
    """
    path, params = spec["class"], spec.get("params", {})
    try:
        target = locate(path)
    except LocateError as error:
        return [(("class",), str(error)), *_params_problems(params)]
    if not callable(target):
        problem = f"'{path}' is a {type(target).__name__}; a class or a function is needed"
        return [(("class",), problem), *_params_problems(params)]
    problems: list[Problem] = []
    if inspect.isclass(target) and inspect.isabstract(target):
        missing = ", ".join(sorted(getattr(target, "__abstractmethods__", ())))
        problems.append((("class",), f"'{path}' is abstract (it lacks {missing}); name one that is complete"))
    accepted = accepted_by(target, leading)
    if accepted is not None:
        problems += _call_problems(path, params, accepted, offered)
    if params.get("allow_pickle") and any(within(home, ["numpy"]) for home in homes(target)):
        problems.append((("params", "allow_pickle"), "a pickle can run anything; save the array without objects"))
    return problems + _params_problems(params)


def accepted_by(target: Any, leading: int = 0) -> Accepted | None:
    """The params of a class or function; of an optimizer with a ``for_model`` hook, those of the hook.

    None where the signature cannot be read.
    """
    hook = getattr(target, "for_model", None) if leading and inspect.isclass(target) else None
    if hook is None:
        return _read(target, leading)
    own, inner = _read(hook, 1), _read(target, 1)
    if own is None or not own.anything:
        return own
    if inner is None:
        return own
    return Accepted(
        hints=inner.hints | own.hints,
        defaults=inner.defaults | own.defaults,
        required=own.required if own.hints else inner.required,
        anything=inner.anything,
    )


def _read(target: Any, leading: int) -> Accepted | None:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    accepted = Accepted()
    scope = _scope(target)
    for parameter in list(signature.parameters.values())[leading:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            # networkx's dispatcher adds **backend_kwargs to every function; they reach backends only.
            accepted.anything |= parameter.name != "backend_kwargs"
        elif parameter.kind in _NAMED or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            accepted.hints[parameter.name] = _hint(parameter.annotation, scope)
            if parameter.default is inspect.Parameter.empty:
                accepted.required.append(parameter.name)
            else:
                accepted.defaults[parameter.name] = parameter.default
    return accepted


def _scope(target: Any) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    return getattr(inspect.unwrap(function), "__globals__", {})


def _hint(annotation: Any, scope: dict[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, scope)  # a postponed annotation of an imported module
    except Exception:  # names that are imported for type checkers only
        return Any


def _call_problems(path: str, params: Mapping[str, Any], accepted: Accepted, offered: Collection[str]) -> list[Problem]:
    problems: list[Problem] = []
    for name, value in params.items():
        where: Path = ("params", name)
        if name in accepted.hints:
            if value is None and accepted.defaults.get(name, ...) is None:
                continue
            wrong = mismatch(value, accepted.hints[name])
            if wrong:
                problems.append((where, wrong))
        elif not accepted.anything:
            names = [each for each in accepted.hints if not each.startswith("_")]
            near = did_you_mean(name, names)
            allowed = f"; it takes {', '.join(names)}" if names else "; it takes no params"
            problems.append((where, f"{path} takes no '{name}'{near or allowed}"))
    for name in accepted.required:
        if name not in params and name not in offered:
            needs = _expected(accepted.hints[name])
            problems.append((("params", name), f"missing: {path} requires '{name}'{needs}"))
    return problems


def _expected(hint: Any) -> str:
    wrong = mismatch({}, hint) or mismatch("", hint)
    return f" ({wrong.removeprefix('expected ').rpartition(', got ')[0]})" if wrong else ""


def _params_problems(params: Mapping[str, Any]) -> list[Problem]:
    return [each for name, value in params.items() for each in _nested_problems(value, ("params", name))]


def _nested_problems(value: Any, path: Path) -> list[Problem]:
    """Specs inside params, at any depth, and numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return [(path, f"{value} is not a number that JSON has; give a finite one")]
    if isinstance(value, list | tuple):
        return [each for i, item in enumerate(value) for each in _nested_problems(item, (*path, i))]
    if not isinstance(value, Mapping):
        return []
    if "class" in value:
        shape = shape_problems(value)
        found = shape or signature_problems(value)
        return [((*path, *inner), message) for inner, message in found]
    return [each for key, item in value.items() for each in _nested_problems(item, (*path, key))]


def shape_problems(value: Mapping[str, Any], keys: Collection[str] = SPEC_KEYS) -> list[Problem]:
    """What keeps an object with a "class" from being a spec."""
    problems: list[Problem] = [
        ((key,), f"unknown key in a spec{did_you_mean(str(key), keys)}; allowed: {', '.join(keys)}")
        for key in value
        if key not in keys
    ]
    if not isinstance(value["class"], str):
        problems.append((("class",), f"expected a dotted path (a string), got {show(value['class'])}"))
    if not isinstance(value.get("params", {}), Mapping):
        problems.append((("params",), f"expected an object, got {show(value['params'])}"))
    if not isinstance(value.get("name"), str | None):
        problems.append((("name",), f"expected a string, got {show(value['name'])}"))
    return problems
