"""What each kind of spec has to be, as far as that can be known before it is built."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gossipsim.spec import LocateError, Path, locate, signature_problems


def _subclass_of(module: str, name: str) -> Callable[[type], str | None]:
    """Asks the module only where something has imported it: without it nothing can be its subclass."""

    def wrong(target: type) -> str | None:
        base = getattr(sys.modules.get(module), name, None)
        return None if base is not None and issubclass(target, base) else f"is not a subclass of {module}.{name}"

    return wrong


def _with_methods(*names: str) -> Callable[[type], str | None]:
    def wrong(target: type) -> str | None:
        missing = [name for name in names if not _defines(target, name)]
        return f"has no method {' and no '.join(missing)}" if missing else None

    return wrong


def _defines(target: type, name: str) -> bool:
    """Of the instances: every class has a ``__call__``, that of its metaclass."""
    return any(name in base.__dict__ for base in target.__mro__)


def _task(target: type) -> str | None:
    """A class whose methods speak of no part of a task is none, however it may fill itself in."""
    parts = ("input_shape", "num_classes", "train", "loss_fn", "metrics_fn")
    methods = [inspect.unwrap(each) for base in target.__mro__ for each in vars(base).values() if callable(each)]
    named = {name for each in methods for name in getattr(getattr(each, "__code__", None), "co_names", ())}
    if hasattr(target, "__getattr__") or any(hasattr(target, part) or part in named for part in parts):
        return None
    return f"has no {', '.join(parts[:-1])} and {parts[-1]}"


def _graph_source(target: type) -> str | None:
    graph = getattr(sys.modules.get("networkx"), "Graph", None)
    if _defines(target, "graph") or (graph is not None and issubclass(target, graph)):
        return None
    return "is neither a networkx graph nor has it a method graph(round)"


@dataclass(frozen=True)
class Kind:
    """`wrong` says what keeps a class from being of this kind; functions are not asked."""

    noun: str
    wrong: Callable[[type], str | None] = lambda target: None
    offered: tuple[str, ...] = ()
    leading: int = 0
    called_with: int = 0  # positional arguments of the later call, where a function itself is the part


KINDS = {
    "task": Kind("a task", _task, offered=("nodes",)),
    "model": Kind("a model", _subclass_of("torch.nn", "Module"), offered=("input_shape", "num_classes")),
    "optimizer": Kind("an optimizer", _subclass_of("torch.optim", "Optimizer"), leading=1),
    "schedule": Kind("a learning-rate schedule", _with_methods("step"), leading=1),
    "trainer": Kind("a trainer", _with_methods("fit")),
    "strategy": Kind("a strategy", _with_methods("init", "round")),
    "partition": Kind("a partition", _with_methods("__call__"), called_with=3),
    "topology": Kind("a topology", _graph_source, offered=("n", "nodes", "num_nodes", "n_nodes", "seed")),
    "weights": Kind("mixing weights", _with_methods("__call__"), called_with=1),
    "links": Kind("a model of links", _with_methods("deliver", "present", "clock", "loses", "problems", "cautions")),
    "compression": Kind("a compressor", _with_methods("encode", "decode", "nbytes")),
}


def _gives_a_value(target: Any, kind: Kind) -> str | None:
    """Of a function that says what it returns, and that this is no object at all."""
    if kind.called_with or not inspect.isfunction(target):
        return None
    returned = inspect.get_annotations(target).get("return", "")
    name = returned if isinstance(returned, str) else getattr(returned, "__name__", str(returned))
    return f"returns {name}" if name in ("None", "bool", "bytes", "complex", "float", "int", "str") else None


def is_checkable(spec: Any) -> bool:
    """Is there a class path, and are the params an object? What else is wrong with its shape is found elsewhere."""
    if isinstance(spec, str):
        return True
    return (
        isinstance(spec, Mapping) and isinstance(spec.get("class"), str) and isinstance(spec.get("params", {}), Mapping)
    )


def spec_problems(kind_name: str, spec: Any) -> list[tuple[Path, str]]:
    """Everything wrong with a spec that can be seen without building it; nothing where its shape forbids that."""
    kind = KINDS[kind_name]
    if isinstance(spec, str):
        spec = {"class": spec}
    if not is_checkable(spec):
        return []
    try:
        target = locate(spec["class"])
    except LocateError:
        target = None
    wrong = kind.wrong(target) if inspect.isclass(target) else _gives_a_value(target, kind)
    if wrong:
        # What the signature of a wrong class says is of no use.
        return [(("class",), f"'{spec['class']}' cannot be {kind.noun}: it {wrong}")]
    leading = kind.leading if inspect.isclass(target) else max(kind.leading, kind.called_with)
    problems = signature_problems(spec, offered=kind.offered, leading=leading)
    if spec.get("schedule") is not None:
        inner = spec_problems("schedule", spec["schedule"])
        problems += [(("schedule", *path), message) for path, message in inner]
    return problems
