"""Small classes for configurations under test; nothing here needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from decimal import Decimal


class Task:
    num_classes = 10

    def __init__(self, size: int = 100, root: str | None = None, odd: Decimal | None = None) -> None:
        self.size = size


def model(input_shape: tuple[int, ...], num_classes: int, hidden: list[int] | None = None) -> object:
    return (input_shape, num_classes, hidden)


class Ball:
    def __init__(self, radius: float | str) -> None:
        self.radius = radius


def optimizer(params: Any, lr: float, constraint: Any = None, mode: Literal["exact", "linear"] = "exact") -> Any:
    return (params, lr, constraint, mode)


class HookedOptimizer:
    def __init__(self, params: Any, constraint: Any, step: float = 0.1) -> None:
        self.params = list(params)
        self.constraint = constraint
        self.step = step

    @classmethod
    def for_model(cls, model: Any, radius: float | str, **params: Any) -> HookedOptimizer:
        return cls(model.parameters(), constraint=("ball", radius), **params)


def schedule(optimizer: Any, step_size: int) -> Any:
    return (optimizer, step_size)


class Trainer:
    def __init__(self, steps: int | None = None, batch_size: int | None = 32, log: dict[str, int] | None = None):
        self.steps = steps

    def fit(self) -> None: ...


class Strategy:
    def __init__(self, local_steps: int = 1) -> None:
        self.local_steps = local_steps

    def init(self, nodes: Any, mix: Any) -> None: ...

    def round(self, nodes: Any, mix: Any) -> None: ...


class Other(Strategy):
    """Another strategy with the same params."""


class NoRound:
    def init(self, nodes: Any, mix: Any) -> None: ...


class Partition:
    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __call__(self, labels: Any, nodes: int, generator: Any) -> list[Any]:
        return []


class Weights:
    def __call__(self, graph: Any) -> Any:
        return graph


def split(labels: Any, nodes: int, generator: Any, alpha: float = 1.0) -> list[Any]:
    return []


def uniform(graph: Any, lazy: bool = False) -> Any:
    return graph


def ring(n: int) -> Any:
    return n


class Stubborn:
    def __init__(self, value: int = 0) -> None:
        raise ValueError(f"value must be odd,\ngot {value}")


number = 3
