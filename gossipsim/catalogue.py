"""What ships, by kind: the class paths that a configuration can name, read off the public names of the rooms.

There is no registry: this is for the JSON Schema, the references of the documentation and the tests, which want to list
what there is. Anything importable can be named in a configuration, whether it is listed here or not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gossipsim.config.checks import KINDS
from gossipsim.spec import locate


@dataclass(frozen=True)
class Part:
    """A class or function that a spec of some kind can name.

    Attributes:
        path: the class path.
        target: what it names.
        kind: "strategy", "topology", ...
    """

    path: str
    target: Any
    kind: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def ours(self) -> bool:
        """Defined in this package, not in torch or networkx."""
        return self.path.startswith("gossipsim.") and self.target.__module__.startswith("gossipsim.")

    @property
    def text(self) -> str:
        """Its docstring; a class without one of its own has none."""
        own = self.target.__dict__.get("__doc__") if inspect.isclass(self.target) else self.target.__doc__
        return inspect.cleandoc(own) if own else ""

    @property
    def module_text(self) -> str:
        """The docstring of the module that defines it: formula, source, what it is for one node."""
        return inspect.getdoc(inspect.getmodule(self.target)) or ""

    @property
    def leading(self) -> int:
        """Positional parameters that are not the user's: an optimizer's parameters, what a function is called with."""
        kind = KINDS.get(self.kind)
        if kind is None:
            return 0
        return kind.leading if inspect.isclass(self.target) else max(kind.leading, kind.called_with)

    @property
    def offered(self) -> tuple[str, ...]:
        """Parameters that the simulator fills in where the signature names them."""
        kind = KINDS.get(self.kind)
        return kind.offered if kind else ()


def _method(name: str) -> Callable[[type], bool]:
    return lambda target: callable(getattr(target, name, None))


def _subclass(path: str) -> Callable[[type], bool]:
    return lambda target: issubclass(target, locate(path))


def _partition(target: type) -> bool:
    """Called with labels; augmentations are called too, with batches."""
    call = target.__dict__.get("__call__")
    return call is not None and "labels" in inspect.signature(call).parameters


def _weights(target: type) -> bool:
    return "__call__" in target.__dict__ and hasattr(target, "claims")


def _feasible_set(target: type) -> bool:
    rules = (locate("gossipsim.optim.constraints.ByShape"), locate("gossipsim.optim.constraints.ByName"))
    return target in rules or issubclass(target, locate("gossipsim.optim.constraints.ConstraintSet"))


_HOMES: Mapping[str, tuple[str, Callable[[type], bool]]] = {
    "trainer": ("gossipsim.trainers", _method("fit")),
    "strategy": ("gossipsim.strategies", _method("round")),
    "partition": ("gossipsim.data", _partition),
    "weights": ("gossipsim.network", _weights),
    "links": ("gossipsim.network", _method("deliver")),
    "compression": ("gossipsim.compression", _method("encode")),
    "task": ("gossipsim.tasks", lambda target: target.__name__.endswith("Task")),
    "model": ("gossipsim.models", _subclass("torch.nn.Module")),
    "optimizer": ("gossipsim.optim", _subclass("torch.optim.Optimizer")),
    "constraint": ("gossipsim.optim.constraints", _feasible_set),
    "step_size": ("gossipsim.optim.step_sizes", _subclass("gossipsim.optim.step_sizes.StepSize")),
    "duration": (
        "gossipsim.network.durations",
        lambda target: hasattr(target, "of_edges") or hasattr(target, "of_nodes"),
    ),
}

_FOREIGN: Mapping[str, list[str]] = {
    "topology": [
        f"networkx.{name}_graph"
        for name in (
            "cycle",
            "path",
            "complete",
            "hypercube",
            "grid_2d",
            "erdos_renyi",
            "random_regular",
            "watts_strogatz",
            "circulant",
        )
    ],
    "optimizer": [
        f"torch.optim.{name}" for name in ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adamax")
    ],
    "schedule": [
        f"torch.optim.lr_scheduler.{name}"
        for name in (
            "StepLR",
            "MultiStepLR",
            "ExponentialLR",
            "CosineAnnealingLR",
            "LinearLR",
            "PolynomialLR",
            "OneCycleLR",
        )
    ],
}
"""Of other packages: those that people name most."""


def _public(room: str) -> Iterator[tuple[str, Any]]:
    module = import_module(room)
    for name in getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]:
        yield name, getattr(module, name)


def _topologies() -> list[tuple[str, Any]]:
    network = import_module("gossipsim.network")
    listed = [*network.NAMES.values(), network.edge_list]
    return [(f"gossipsim.network.{target.__name__}", target) for target in listed]


def shipped(kind: str) -> list[Part]:
    """The parts of a kind, those of this package first, by name.

    >>> [part.name for part in shipped("trainer")]
    ['SupervisedTrainer']
    """
    found = _topologies() if kind == "topology" else []
    if kind in _HOMES:
        room, is_one = _HOMES[kind]
        found += [
            (f"{room}.{name}", target)
            for name, target in _public(room)
            if inspect.isclass(target) and not _unfinished(target) and is_one(target)
        ]
    parts = [Part(path, target, kind) for path, target in sorted(found, key=lambda each: each[0].lower())]
    return parts + [Part(path, locate(path), kind) for path in _FOREIGN.get(kind, ())]


def _unfinished(target: type) -> bool:
    """A protocol, or a base class whose subclasses are the parts."""
    name = f"{target.__module__}.{target.__name__}"
    bases = {"gossipsim.optim.constrained.ConstrainedOptimizer", "gossipsim.optim.constraints.base.ConstraintSet"}
    return getattr(target, "_is_protocol", False) or inspect.isabstract(target) or name in bases


KIND_NAMES = tuple(dict.fromkeys([*_HOMES, "topology", "schedule"]))
"""Every kind that :func:`shipped` knows."""
