"""What the benchmarks train: configurations like anybody's, data of the right shape, and ranks that stay warm."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

from gossipsim.bench.measuring import Action
from gossipsim.config import plan
from gossipsim.mixing import warm
from gossipsim.parts import Parts
from gossipsim.world import Alone, Ranks, watch
from gossipsim.world.launcher import Emit
from gossipsim.world.transport import Transport

LR = 0.05
NEVER = 1 << 30


class RandomImages:
    """A task with the shape of MNIST and random content: speed does not depend on what the pixels show."""

    input_shape = (1, 28, 28)
    num_classes = 10
    val = test = None

    def __init__(self, samples: int = 20_000) -> None:
        stream = torch.Generator().manual_seed(0)
        images = torch.randn(samples, *self.input_shape, generator=stream)
        self.train = TensorDataset(images, torch.randint(0, self.num_classes, (samples,), generator=stream))

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy."""
        return functional.cross_entropy(output, target)

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        return {}


class RandomVectors:
    """Two classes of random vectors, for a model with one logit."""

    num_classes = 2
    val = test = None

    def __init__(self, samples: int, dim: int = 57) -> None:
        stream = torch.Generator().manual_seed(0)
        self.input_shape = (dim,)
        vectors = torch.randn(samples, dim, generator=stream)
        self.train = TensorDataset(vectors, torch.randint(0, 2, (samples,), generator=stream))

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy."""
        return functional.binary_cross_entropy_with_logits(output, target.to(output.dtype))

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        return {}


LOGISTIC = {"class": "gossipsim.models.LogisticRegression"}
MLP = {"class": "gossipsim.models.MLP", "params": {"hidden": [128]}}
CNN = {"class": "gossipsim.models.CNN"}
VECTOR = {"class": "gossipsim.models.Vector"}


def images(samples: int = 20_000) -> dict[str, Any]:
    """The spec of :class:`RandomImages`."""
    return {"class": f"{__name__}.RandomImages", "params": {"samples": samples}}


def vectors(samples: int) -> dict[str, Any]:
    """The spec of :class:`RandomVectors`."""
    return {"class": f"{__name__}.RandomVectors", "params": {"samples": samples}}


def job(
    task: dict[str, Any],
    model: dict[str, Any],
    steps: int,
    nodes: int = 1,
    topology: str = "ring",
    strategy: dict[str, Any] | None = None,
    momentum: float = 0.0,
    **trainer: Any,
) -> Parts:
    """A run with SGD and batches of 32, as a file would describe it; evaluated before and after only."""
    optimizer = {"class": "torch.optim.SGD", "params": {"lr": LR, "momentum": momentum}}
    settings = {"steps": steps, "batch_size": 32, "eval_every": None, "log_every": 10, "local_eval": False}
    config = {
        "name": "bench",
        "tasks": [{"task": task, "models": [model], "optimizers": [optimizer]}],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": settings | trainer},
        "network": {"nodes": nodes, "topology": f"gossipsim.network.{topology}"},
        "strategy": strategy or {"class": "gossipsim.strategies.LocalThenGossip"},
    }
    return Parts(plan(config).runs[0])


def without_gossip() -> dict[str, Any]:
    """The spec of a strategy whose nodes never meet."""
    return {"class": "gossipsim.strategies.LocalThenGossip", "params": {"local_steps": NEVER}}


@dataclass
class Cost:
    """What a step costs a process, between the first record after the start and the last."""

    wall: float
    cpu: float


@dataclass
class _Clocks:
    """Listens to a run, and looks at the clocks."""

    tell: Callable[[int], None] | None = None
    marks: list[tuple[int, float, float]] = field(default_factory=list)

    def __call__(self, message: dict[str, Any]) -> None:
        step = message.get("step", 0) if "loss" in message else 0  # else it tells of an evaluation
        if step > 0:
            self.marks.append((step, time.perf_counter(), time.process_time()))
            if self.tell is not None:
                self.tell(step)

    def cost(self) -> Cost:
        (first, wall, cpu), (last, wall_after, cpu_after) = self.marks[0], self.marks[-1]
        return Cost((wall_after - wall) / (last - first), (cpu_after - cpu) / (last - first))


def train(parts: Parts, transport: Transport | None = None, tell: Callable[[int], None] | None = None) -> _Clocks:
    """Trains as a run does, its files and log included; `tell` hears of the steps that are logged."""
    clocks = _Clocks(tell)
    with tempfile.TemporaryDirectory(prefix="gossipsim-bench-") as folder:
        parts.trainer.fit(parts, transport or Alone(), Path(folder), clocks)
    return clocks


def step_cost(parts: Parts, transport: Transport | None = None) -> Cost:
    """What a step of a run costs this process, records included, start and evaluation excluded."""
    return train(parts, transport).cost()


Work = Callable[[Transport], float]
"""What a rank does, and the number that comes of it."""


class Workers:
    """Forked ranks that do one named piece of work after the other.

    Args:
        transport: what GOSSIPSIM_TRANSPORT says, or None for the default.
    """

    def __init__(self, size: int, work: Mapping[str, Work], transport: str | None = None) -> None:
        def target(link: Transport, emit: Emit, name: str) -> None:
            emit({"rank": link.rank, "value": work[name](link)})

        warm()
        with _chosen(transport):
            self._ranks = Ranks(size, target)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ranks.stop()

    def largest(self, name: str) -> Action:
        """The largest number that comes of this work."""
        return lambda: max(self._do(name))

    def mean(self, name: str) -> Action:
        """The mean over the ranks of what comes of this work."""
        return lambda: fmean(self._do(name))

    def _do(self, name: str) -> list[float]:
        """What came of it on every rank.

        Raises:
            RuntimeError: where a rank failed.
        """
        found: dict[int, float] = {}
        self._ranks.begin(name)
        while self._ranks.busy:
            watch([self._ranks], timeout=1.0)
            found |= {message["rank"]: message["value"] for message in self._ranks.poll()}
        if self._ranks.failure is not None:
            raise RuntimeError(f"bench: {self._ranks.size} ranks failed: {self._ranks.failure}")
        return [found[rank] for rank in sorted(found)]


def cpu(parts: Parts) -> Action:
    """The CPU time of a step of a run in this process."""
    return lambda: step_cost(parts).cpu


def wall_on_ranks(parts: Parts) -> Work:
    """The wall time of a step of a run on ranks; its data are loaded now, and shared by ranks forked from here on."""
    parts.task  # noqa: B018
    return lambda transport: step_cost(parts, transport).wall


@contextmanager
def _chosen(transport: str | None) -> Iterator[None]:
    name = "GOSSIPSIM_TRANSPORT"
    before = os.environ.get(name)
    if transport is not None:
        os.environ[name] = transport
    try:
        yield
    finally:
        if transport is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before
