"""Spec -> object: nested specs first, then one call with the params and what is on offer."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

from gossipsim.spec.locate import LocateError, locate
from gossipsim.spec.signature import shape_problems
from gossipsim.spec.text import Path, dotted, in_one_line, show

Spec = dict[str, Any]


class BuildError(Exception):
    """Building a spec failed; `path` says where inside the spec ("" for itself), the cause is chained."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def is_spec(value: Any) -> bool:
    """An object with a "class"; a string inside params stays a string."""
    return isinstance(value, Mapping) and "class" in value


def normalise(value: str | Mapping[str, Any]) -> Spec:
    """A bare string or an object as ``{"class", "params", "name"}`` plus its extras; a copy, nested too.

    Raises:
        ValueError: for anything else.

    >>> normalise("torch.optim.SGD")
    {'class': 'torch.optim.SGD', 'params': {}, 'name': 'SGD'}
    """
    if isinstance(value, str):
        value = {"class": value}
    if not is_spec(value):
        raise ValueError(f"a spec is a class path or an object with a 'class', got {show(value)}")
    problems = shape_problems(value, tuple(map(str, {**value, "params": 0, "name": 0})))
    if problems:
        path, message = problems[0]
        raise ValueError(f"{dotted(path)}: {message}")
    spec: Spec = {
        "class": value["class"],
        "params": {key: _normalise_inside(item) for key, item in value.get("params", {}).items()},
        "name": value.get("name") or value["class"].rpartition(".")[2],
    }
    extras = {key: _normalise_inside(item) for key, item in value.items() if key not in spec}
    return spec | extras


def _normalise_inside(value: Any) -> Any:
    if is_spec(value):
        return normalise(value)
    if isinstance(value, Mapping):
        return {key: _normalise_inside(item) for key, item in value.items()}
    return [_normalise_inside(item) for item in value] if isinstance(value, list | tuple) else value


def build(spec: str | Mapping[str, Any], **offered: Any) -> Any:
    """Calls what the spec names with its params, and with those `offered` that its signature names.

    A param of the spec wins over what is offered. Specs inside the params are built first.

    Raises:
        BuildError: with the path inside the spec and the cause, whatever the call raised.

    >>> build({"class": "fractions.Fraction", "params": {"numerator": 1}}, denominator=3, colour="red")
    Fraction(1, 3)
    """
    return _build(normalise(spec), (), offered)


def build_callable(spec: str | Mapping[str, Any]) -> Any:
    """What is called later: an instance of the class that the spec names, or the function with its params bound.

    Raises:
        BuildError: as :func:`build`.

    >>> build_callable({"class": "math.prod", "params": {"start": 2}})([3, 4])
    24
    """
    spec = normalise(spec)
    target = _target(spec, ())
    if inspect.isclass(target):
        return _build(spec, (), {})
    return functools.update_wrapper(functools.partial(target, **_build_params(spec, ())), target)


def build_optimizer(spec: str | Mapping[str, Any], model: Any) -> Any:
    """An optimizer of one model: ``cls.for_model(model, **params)`` where the class has that hook, else
    ``cls(model.parameters(), **params)``. The extras of the spec (schedule, clip_grad_norm) are the caller's.

    Raises:
        BuildError: as :func:`build`.
    """
    spec = normalise(spec)
    target = _target(spec, ())
    hook = getattr(target, "for_model", None)
    params = _build_params(spec, ())
    if hook is not None:
        return _call(spec, (), hook, (model,), params)
    return _call(spec, (), target, (model.parameters(),), params)


def _build(spec: Spec, path: Path, offered: Mapping[str, Any]) -> Any:
    target = _target(spec, path)
    params = _build_params(spec, path)
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return _call(spec, path, target, (), params)
    params |= {name: value for name, value in offered.items() if name in parameters and name not in params}
    positional = [
        params.pop(name)
        for name, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and name in params
    ]
    return _call(spec, path, target, tuple(positional), params)


def _build_params(spec: Spec, path: Path) -> dict[str, Any]:
    return {name: _build_inside(value, (*path, "params", name)) for name, value in spec["params"].items()}


def _build_inside(value: Any, path: Path) -> Any:
    if isinstance(value, list):
        return [_build_inside(item, (*path, i)) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if is_spec(value):
        return _build(value, path, {})
    return {key: _build_inside(item, (*path, key)) for key, item in value.items()}


def _target(spec: Spec, path: Path) -> Any:
    try:
        return locate(spec["class"])
    except LocateError as error:
        raise BuildError(dotted((*path, "class")), str(error)) from error


def _call(spec: Spec, path: Path, target: Any, positional: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
    try:
        return target(*positional, **params)
    except (Exception, SystemExit) as error:  # the target is anybody's code
        reason = in_one_line(error)
        kind = "" if isinstance(error, ValueError) and reason else f"{type(error).__name__}: "
        about = _param_named(reason, spec) if not kind else ()
        raise BuildError(dotted((*path, *about)), f"{spec['class']}: {kind}{reason}") from error


def _param_named(reason: str, spec: Spec) -> Path:
    """Where in the spec the param is that a message begins with, as in "epochs must be at least 1"."""
    word = re.match(r"\w*", reason)
    return ("params", word[0]) if word and word[0] in spec["params"] else ()
