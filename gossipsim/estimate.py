"""What a run will cost: steps, rounds, bytes, memory and seconds, from some real rounds of each kind of run.

Runs that differ only in topology, partition, seed, length, or numbers of their optimizer are of one kind and share a
measurement. Memory of a process that hosts n nodes of d parameters, beside Python and torch themselves:

    n * (4 rows + state of the algorithm + state of an optimizer) + one row + data

4 rows: parameters, the directions that optimizers read, gradients, and what an exchange gives; one row is the model of
the evaluations. A measurement is made in one process that hosts all nodes. With more processes the work is divided by
the nodes that one hosts; their exchanges come on top and are not counted, neither is the report. On CPUs processor
time is measured, which is the time that an otherwise idle machine takes.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gossipsim.config import RunSpec
from gossipsim.execution import one_thread
from gossipsim.nodes import Nodes
from gossipsim.parts import Parts
from gossipsim.rounds import connect, play
from gossipsim.trainers import SupervisedTrainer
from gossipsim.trainers.evaluation import Evaluator, Tensors, evaluated_nodes
from gossipsim.world import Alone, World

SECONDS_PER_KIND, SECONDS_IN_ALL = 2.0, 20.0
"""How long rounds of one kind of run, and of all kinds, are measured. A round under way is finished."""

MAX_ROUNDS = 200
MAX_ROW_BYTES = 2**30
"""Rows of all nodes beyond which nothing is tried in the planning process."""

EVALUATED_SAMPLES = 2000
"""Samples of each set that an evaluation is measured on; the time of all of them follows."""


@dataclass(frozen=True)
class Measured:
    """One kind of run in one process that hosts all nodes; seconds are None where they were not measured.

    Attributes:
        rounds_per_step: exchanges per local step.
        state, optimizers: bytes of the algorithm's state and of all optimizers' states. data: of the data sets.
        setup: seconds to build a run. step: of one step of all nodes. record, evaluation: of one of each.
    """

    rounds_per_step: float
    state: int
    optimizers: int
    data: int
    setup: float | None = None
    step: float = 0.0
    record: float = 0.0
    evaluation: float = 0.0


def kind_of(run: RunSpec) -> str:
    """The same for runs that cost the same per step."""
    optimizer = run.optimizer | {"params": _without_numbers(run.optimizer["params"])}
    params = {k: v for k, v in run.trainer["params"].items() if k not in _LENGTH}
    subject = [run.task, run.model, optimizer, run.strategy, run.network["nodes"], run.trainer["class"], params]
    extras = [run.network.get(name) for name in ("links", "compression")]
    return json.dumps([subject, extras], sort_keys=True)


_LENGTH = ("epochs", "steps", "log_every", "log", "eval_every")


def _without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_numbers(item) for key, item in value.items()}
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value


def measure(run: RunSpec, seconds: float | None) -> Measured | None:
    """Plays rounds of a run, for `seconds` or, where None, only one, which tells everything but times.

    None for a trainer of another kind, and for more rows than fit.
    """
    parts = Parts(run)
    trainer = parts.trainer
    if not isinstance(trainer, SupervisedTrainer) or parts.costs()["row_bytes"] > MAX_ROW_BYTES:
        return None
    import torch._dynamo  # noqa: F401  the first optimizer imports it, which is no part of a run

    clock = time.process_time if trainer.device == "cpu" else time.perf_counter
    with one_thread():
        started = clock()
        nodes, train, held_out = _nodes(parts)
        mix = connect(nodes, parts.network, parts.links, parts.compressor)
        parts.strategy.init(nodes, mix)
        setup = clock() - started
        play(parts.strategy, nodes, mix, mixes_state=trainer.mixes_state)  # the first is slower: not timed
        sets = [tensor for pair in (train, *held_out.values()) for tensor in pair]
        data = sum(tensor.numel() * tensor.element_size() for tensor in sets)
        if seconds is None:
            return Measured(mix.round / max(nodes.step, 1), *nodes.state_bytes(), data)
        first, started, until = nodes.step, clock(), time.perf_counter() + seconds / 2
        for _ in range(MAX_ROUNDS):
            play(parts.strategy, nodes, mix, mixes_state=trainer.mixes_state)
            if time.perf_counter() > until:
                break
        step = (clock() - started) / max(nodes.step - first, 1)
        record, evaluation = _observing(parts, nodes, train, held_out, clock)
        rounds_per_step = mix.round / max(nodes.step, 1)
        return Measured(rounds_per_step, *nodes.state_bytes(), data, setup, step, record, evaluation)


def _nodes(parts: Parts) -> tuple[Nodes, Tensors, dict[str, Tensors]]:
    world = World(parts.count, Alone(parts.trainer.device))
    train, held_out = parts.tensors(world.device, parts.trainer.dtype)
    shards = [shard.to(world.device) for shard in parts.shards]
    return Nodes(world, parts.task, parts.recipe(), shards, train), train, held_out


def _observing(
    parts: Parts, nodes: Nodes, train: Tensors, held_out: dict[str, Tensors], clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of a record of steps.jsonl and of an evaluation, the latter from a part of the data where it is large."""
    each = math.ceil(EVALUATED_SAMPLES / parts.count)
    shards = [shard[:each].to(nodes.world.device) for shard in parts.shards]
    few = {name: (x[:EVALUATED_SAMPLES], y[:EVALUATED_SAMPLES]) for name, (x, y) in held_out.items()}
    evaluator = Evaluator(nodes, shards, train, few, parts.optimum(), parts.trainer.local_eval)
    models = 1 + len(evaluated_nodes(parts.count, parts.trainer.local_eval))
    tried, samples = sum(map(len, shards)), sum(map(len, parts.shards))
    theory = _seconds(lambda: evaluator.theory(nodes.world.mean(nodes.X)), clock) * samples / tried
    record = theory + _seconds(lambda: evaluator.distances(nodes.world.mean(nodes.X)), clock)
    tried += models * sum(len(x) for x, _ in few.values())
    samples += models * sum(len(x) for x, _ in held_out.values())

    def evaluate() -> None:
        mean = nodes.world.mean(nodes.X)
        evaluator.everything(mean, evaluator.distances(mean), evaluator.own_metrics())

    return record, _seconds(evaluate, clock) * samples / tried


def _seconds(observe: Callable[[], object], clock: Callable[[], float]) -> float:
    """Of the second call: the first pays for what is done once."""
    observe()
    started = clock()
    observe()
    return clock() - started


@dataclass(frozen=True)
class Cost:
    """What one run costs; None where that is not known."""

    steps: int | None
    rounds: int | None
    bytes_sent: int | None
    memory: int | None
    seconds: float | None


class Estimator:
    """Costs of runs, measured once per kind.

    Args:
        kinds: how many kinds of run there will be.
        timed: whether seconds are to be measured too.
        jobs: runs at a time, or "auto".
    """

    def __init__(self, kinds: int, *, timed: bool, jobs: int | str) -> None:
        self._seconds = min(SECONDS_PER_KIND, SECONDS_IN_ALL / max(kinds, 1)) if timed else None
        self._jobs = jobs
        self._measured: dict[str, Measured | None] = {}
        self._spent = 0.0
        self.failures: list[str] = []

    def cost(self, run: RunSpec, costs: dict[str, Any], processes: int) -> Cost:
        """What `run` costs on so many processes; `costs` as :meth:`Parts.costs` has them."""
        parts, found = Parts(run), self._measure(run)
        trainer = parts.trainer
        if not isinstance(trainer, SupervisedTrainer):
            return Cost(None, None, None, None, None)
        length = trainer.epoch_length(sum(map(len, parts.shards)), parts.count)
        steps = trainer.steps if trainer.steps is not None else trainer.epochs * length
        if found is None:
            return Cost(steps, None, None, None, None)
        rounds = round(steps * found.rounds_per_step)
        hosted = math.ceil(parts.count / processes)
        row = costs["row_bytes"] // parts.count
        own = 4 * row + (found.state + found.optimizers) / parts.count
        memory = round(hosted * own + row + found.data)
        seconds = None
        if found.setup is not None:
            work = self._work(trainer, found, steps, length) * hosted / parts.count
            seconds = found.setup + work * self._slow(processes)
        return Cost(steps, rounds, rounds * costs["bytes_per_round"], memory, seconds)

    def _work(self, trainer: SupervisedTrainer, found: Measured, steps: int, length: int) -> float:
        unit = 1 if trainer.steps is not None else length
        evaluations = 2 if trainer.eval_every is None else 1 + math.ceil(steps / (trainer.eval_every * unit))
        records = 1 + math.ceil(steps / min(trainer.frequencies.values()))
        return steps * found.step + records * found.record + evaluations * found.evaluation

    def _slow(self, processes: int) -> float:
        """How much longer work takes where there are more processes than cores."""
        return max(1.0, at_a_time(self._jobs, processes) * processes / len(os.sched_getaffinity(0)))

    def _measure(self, run: RunSpec) -> Measured | None:
        kind = kind_of(run)
        if kind not in self._measured:
            seconds = self._seconds if self._spent < SECONDS_IN_ALL else None
            started = time.perf_counter()
            try:
                self._measured[kind] = measure(run, seconds)
            except Exception as error:  # parts are anybody's code, and the run itself will tell
                self._measured[kind] = None
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                self.failures.append(f"{run.labels['optimizer']}: {reason}")
            self._spent += time.perf_counter() - started
        return self._measured[kind]


def at_a_time(jobs: int | str, processes: int) -> int:
    """Runs at a time: "auto" is as many as there are cores for their processes."""
    return int(jobs) if jobs != "auto" else max(1, len(os.sched_getaffinity(0)) // processes)
