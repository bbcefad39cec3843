"""Does a JSON value fit a type annotation? Only what can be known without building anything is answered.

``true`` is not an integer, ``"8"`` is not 8, an integer is a number; of other classes nothing is known.
"""

from __future__ import annotations

import collections.abc
import os
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from gossipsim.spec.text import did_you_mean, show

_SCALARS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("an integer", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    complex: ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    str: ("a string", lambda value: isinstance(value, str)),
    types.NoneType: ("null", lambda value: value is None),
}
_LISTS = (list, tuple, set, frozenset)
_ABSTRACT_LISTS = (
    collections.abc.Sequence,
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.MutableSequence,
)
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def mismatch(value: Any, annotation: Any) -> str | None:
    """What is wrong with a value, or None where it fits or the annotation says nothing about JSON.

    >>> mismatch("8", int)
    'expected an integer, got "8" (a string)'
    >>> mismatch(True, int | None)
    'expected an integer or null, got true'
    >>> mismatch(1, float) is None
    True
    """
    if _fits(value, annotation) is not False:
        return None
    near = ""
    choices = [choice for choice in _literals(annotation) if isinstance(choice, str)]
    if isinstance(value, str) and choices:
        near = did_you_mean(value, choices)
    return f"expected {_describe(annotation)}, got {show(value)}{near}"


def _plain(annotation: Any) -> Any:
    """Without aliases, ``Annotated`` and ``NewType``; None as a type."""
    while True:
        if annotation is None:
            return types.NoneType
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _fits(value: Any, annotation: Any) -> bool | None:  # noqa: PLR0911
    """True, False, or None for "nobody knows before it is built"."""
    annotation = _plain(annotation)
    if isinstance(value, Mapping) and "class" in value:
        return None
    if annotation in _scalars_hashable(annotation):
        return _SCALARS[annotation][1](value)
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType):
        return _any([_fits(value, member) for member in get_args(annotation)])
    if origin in _LISTS or origin in _ABSTRACT_LISTS:
        return _list_fits(value, origin, get_args(annotation))
    if origin in _OBJECTS:
        if not isinstance(value, Mapping):
            return False
        arguments = get_args(annotation)
        return _all([_fits(each, arguments[1]) for each in value.values()]) if len(arguments) == 2 else True
    if isinstance(origin, type) and issubclass(origin, os.PathLike):
        return isinstance(value, str)
    return False if _is_tensor(origin) else None


def _scalars_hashable(annotation: Any) -> Mapping[Any, Any]:
    try:
        hash(annotation)
    except TypeError:
        return {}
    return _SCALARS


def _is_tensor(origin: Any) -> bool:
    """``lr: float | Tensor`` of torch's optimizers: JSON has no tensors, so a string there is wrong."""
    return (getattr(origin, "__module__", ""), getattr(origin, "__name__", "")) == ("torch", "Tensor")


def _list_fits(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool | None:
    if not isinstance(value, list | tuple):
        return None if isinstance(value, str) and origin in _ABSTRACT_LISTS else False
    if not arguments:
        return True
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(value) != len(arguments):
            return False
        return _all([_fits(each, argument) for each, argument in zip(value, arguments, strict=True)])
    return _all([_fits(each, arguments[0]) for each in value])


def _any(answers: list[bool | None]) -> bool | None:
    if True in answers:
        return True
    return None if None in answers else False


def _all(answers: list[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def _literals(annotation: Any) -> list[Any]:
    annotation = _plain(annotation)
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return [choice for member in get_args(annotation) for choice in _literals(member)]
    return []


def _describe(annotation: Any) -> str:  # noqa: PLR0911
    annotation = _plain(annotation)
    if annotation in _scalars_hashable(annotation):
        return _SCALARS[annotation][0]
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(show(choice).removesuffix(' (a string)') for choice in arguments)}"
    if origin in (Union, types.UnionType):
        members = [_describe(member) for member in arguments if not _is_tensor(member)]
        return " or ".join(dict.fromkeys(members))
    if origin in _LISTS or origin in _ABSTRACT_LISTS:
        if origin is tuple and arguments and Ellipsis not in arguments:
            return f"a list of {len(arguments)}: {', '.join(_describe(each) for each in arguments)}"
        return f"a list, each {_describe(arguments[0])}" if arguments else "a list"
    if origin in _OBJECTS:
        inside = _describe(arguments[1]) if len(arguments) == 2 and arguments[1] is not Any else ""
        return f"an object, each value {inside}" if inside else "an object"
    if isinstance(origin, type) and issubclass(origin, os.PathLike):
        return "a path (a string)"
    return typing.cast(str, getattr(annotation, "__name__", str(annotation)))
