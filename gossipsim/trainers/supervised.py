"""THE loop: rounds of a strategy, records on the way. One node on one process is ordinary supervised training."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch

from gossipsim.compression import Compressor
from gossipsim.mixing import Mix
from gossipsim.network import Links, Network
from gossipsim.nodes import Nodes, OutOfSteps, Recipe
from gossipsim.record import Recorder
from gossipsim.results import write_json
from gossipsim.rounds import connect, play
from gossipsim.strategies import Strategy
from gossipsim.tasks.task import Optimum, Task
from gossipsim.trainers.evaluation import Evaluator, OwnMetrics, State, Tensors, consensus
from gossipsim.trainers.frames import Frames, frame
from gossipsim.world import Transport, World
from gossipsim.world.launcher import Emit

Dtype = Literal["float32", "float64"]
Init = Literal["same", "independent"]
Engine = Literal["auto", "loop"]
OptimizerState = Literal["local", "mixed"]

STEP_FIELDS = ("batch_loss", "consensus", "suboptimality", "distance")
"""Fields of steps.jsonl that are written every `log_every` steps."""

MAX_IDLE_ROUNDS = 1000
"""Rounds in a row without a local step after which a run fails: it would never end."""

FRAMES = "nodes"
"""What `log` calls the frames of nodes.jsonl."""

EXTRA_STEP_FIELDS = (
    "train_loss",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "learning_rate",
    "fw_gap",
    "feasibility",
)
"""Further fields that `log` can ask for."""


class SupervisedTrainer:
    """Trains with local steps and rounds of gossip, and records.

    Args:
        epochs: passes over the data; an epoch is ceil(training samples / (nodes * batch_size)) steps of every node.
        batch_size: samples per node and step; null is the node's whole shard, one step per epoch.
        steps: local optimizer steps per node; overrides `epochs`, and `eval_every` then counts steps.
        dtype: "float32" or "float64".
        device: "cpu" or "cuda".
        log_every: a record of steps.jsonl every so many steps.
        log: {field: every k steps} for steps.jsonl, in place of or beside the usual fields; `nodes` is about the
            frames of nodes.jsonl.
        eval_every: a record of history.jsonl every so many epochs (steps when `steps` is set); null: first and last.
        init: "same" (all nodes start from one seeded draw) or "independent".
        engine: "loop" (gradients node by node); "auto" picks it.
        augment: (batch, generator) -> batch, drawn from each node's own stream.
        local_eval: evaluate the nodes' own models: true (at most 32, evenly spaced), false, or how many.
        optimizer_state: "local": momentum and the like stay with their node; "mixed": they are averaged with the
            neighbours' whenever the rows are, and count as bytes sent.
    """

    def __init__(
        self,
        epochs: int = 10,
        batch_size: int | None = 32,
        steps: int | None = None,
        dtype: Dtype = "float32",
        device: str = "cpu",
        log_every: int = 10,
        log: dict[str, int] | None = None,
        eval_every: int | None = 1,
        init: Init = "same",
        engine: Engine = "auto",
        augment: Any = None,
        local_eval: bool | int = True,
        optimizer_state: OptimizerState = "local",
    ) -> None:
        counts = {"epochs": epochs, "batch_size": batch_size, "steps": steps, "eval_every": eval_every}
        for name, value in (counts | {"log_every": log_every}).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        _one_of("dtype", dtype, get_args(Dtype))
        _one_of("init", init, get_args(Init))
        _one_of("engine", engine, get_args(Engine))
        _one_of("optimizer_state", optimizer_state, get_args(OptimizerState))
        if not (device == "cpu" or device.startswith("cuda")):
            raise ValueError(f'device must be "cpu" or "cuda", got {device!r}')
        if not isinstance(local_eval, bool) and local_eval < 1:
            raise ValueError(f"local_eval must be true, false or a number of nodes, got {local_eval}")
        self.epochs, self.batch_size, self.steps, self.eval_every = epochs, batch_size, steps, eval_every
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.device, self.init, self.augment, self.local_eval = device, init, augment, local_eval
        self.mixes_state = optimizer_state == "mixed"
        self.requested = tuple(log or {})
        self.frequencies = _frequencies(log_every, log or {})
        self.frames_every = self.frequencies.pop(FRAMES, None)

    def fit(self, parts: RunParts, transport: Transport, directory: Path, emit: Emit) -> str:
        """Runs to the end on this process's share of the nodes and writes the run's files (rank 0).

        Returns:
            "complete" or "diverged".
        """
        world = World(parts.network.nodes, transport)
        recorder = Recorder(directory if world.rank == 0 else None)
        try:
            fit = _Fit.start(self, parts, world, recorder, emit)
            status = fit.run()
            _write_result(fit, parts, directory, status)
        finally:
            recorder.close()
        return status

    def epoch_length(self, samples: int, nodes: int) -> int:
        """Steps per epoch."""
        return 1 if self.batch_size is None else math.ceil(samples / (nodes * self.batch_size))

    def evaluation_length(self, epoch_length: int) -> int | None:
        """Steps from one evaluation to the next; None where only the first and the last state are evaluated."""
        unit = 1 if self.steps is not None else epoch_length
        return None if self.eval_every is None else self.eval_every * unit


class RunParts(Protocol):
    """What a run is made of; :class:`gossipsim.experiment.Parts` builds it from specs."""

    task: Task
    network: Network
    links: Links | None
    compressor: Compressor | None
    strategy: Strategy
    shards: list[torch.Tensor]
    schedule_every: str

    def recipe(self) -> Recipe: ...
    def tensors(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensors, dict[str, Tensors]]: ...
    def optimum(self) -> Optimum | None: ...
    def describe(self) -> dict[str, Any]: ...


class _Diverged(Exception):
    """A loss or a row is not finite any more."""


@dataclass
class _Fit:
    """One run under way."""

    trainer: SupervisedTrainer
    parts: RunParts
    nodes: Nodes
    mix: Mix
    evaluator: Evaluator
    recorder: Recorder
    emit: Emit
    epoch_length: int
    total: int
    frames: Frames
    recorded: int = 0
    evaluated_at: float = 0.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0

    @classmethod
    def start(cls, trainer: SupervisedTrainer, parts: RunParts, world: World, recorder: Recorder, emit: Emit) -> _Fit:
        train, held_out = parts.tensors(world.device, trainer.dtype)
        shards = [parts.shards[i].to(world.device) for i in world.hosted]
        nodes = Nodes(world, parts.task, parts.recipe(), shards, train)
        optimum = parts.optimum()
        evaluator = Evaluator(nodes, shards, train, held_out, optimum, trainer.local_eval)
        length = trainer.epoch_length(sum(map(len, parts.shards)), world.nodes)
        total = trainer.steps if trainer.steps is not None else trainer.epochs * length
        mix = connect(nodes, parts.network, parts.links, parts.compressor)
        every = trainer.evaluation_length(length)
        frames = Frames.plan(nodes=world.nodes, total=total, evaluation=every, asked=trainer.frames_every)
        return cls(trainer, parts, nodes, mix, evaluator, recorder, emit, length, total, frames)

    def run(self) -> str:
        try:
            self.parts.strategy.init(self.nodes, self.mix)
            state = State(self.evaluator)
            self._log(dict.fromkeys(self.trainer.frequencies, True) | {"batch_loss": False}, state)
            self._evaluate(state)
            self.nodes.between_steps = self._between_steps
            self._train()
        except _Diverged:
            return "diverged"
        return "complete"

    def _train(self) -> None:
        idle = 0
        while self.nodes.step < self.total:
            before = self.nodes.step
            try:
                play(self.parts.strategy, self.nodes, self.mix, mixes_state=self.trainer.mixes_state)
            except OutOfSteps:
                break
            idle = idle + 1 if self.nodes.step == before else 0
            if idle == MAX_IDLE_ROUNDS:
                name = type(self.parts.strategy).__name__
                raise ValueError(f"{name} took no step in {idle} rounds; a round calls nodes.apply(G) at least once")
            self._record()

    def _between_steps(self) -> None:
        self._record()
        if self.nodes.step >= self.total:
            raise OutOfSteps

    def _record(self) -> None:
        """Records the state after the last step, once: it is complete when the round ends or a new batch is due."""
        step, last = self.nodes.step, self.nodes.step >= self.total
        if step == self.recorded:
            return
        self.recorded = step
        per_epoch = self.parts.schedule_every == "epoch"
        if not per_epoch or step % self.epoch_length == 0:
            self.nodes.step_schedulers()
        state = State(self.evaluator)
        due = {name: last or step % k == 0 for name, k in self.trainer.frequencies.items()}
        if any(due.values()):
            self._log(due, state)
        every = self.trainer.evaluation_length(self.epoch_length)
        if last or (every is not None and step % every == 0):
            self._evaluate(state, last=last)
        elif self.frames.due(step):
            self._frame(state, {})

    def _log(self, due: Mapping[str, bool], state: State) -> None:
        """Appends a record to steps.jsonl with the fields that are due."""
        theory = [name for name in ("suboptimality", "distance") if due[name] and self.evaluator.knows_optimum]
        extra = [name for name in EXTRA_STEP_FIELDS if due.get(name)]
        loss = self.evaluator.batch_loss()
        values = {"batch_loss": loss} if due["batch_loss"] else {}
        if due["consensus"]:
            values["consensus"] = consensus(state.distances)
        if theory:
            known = self.evaluator.theory(state.mean)
            values |= {name: known[name] for name in theory}
        values |= self._extra_fields(extra, state.mean) if extra else {}
        self.recorder.write("steps", {"step": self.nodes.step} | values)
        self.emit({"step": self.nodes.step, "total": self.total, "loss": loss})
        if not all(math.isfinite(value) for value in (loss, *values.values())):
            if self.recorder.records["history"]:
                self._evaluate(state, last=True)
            raise _Diverged

    def _frame(self, state: State, own: OwnMetrics) -> None:
        """Appends a record to nodes.jsonl."""
        by_node = self.evaluator.by_node(own)
        self.recorder.write("nodes", frame(self.nodes.step, self.mix.round, state.distances.tolist(), by_node))

    def _extra_fields(self, names: list[str], mean: torch.Tensor) -> dict[str, float]:
        values: dict[str, float] = {}
        if "train_loss" in names:
            values["train_loss"] = self.evaluator.train_loss(mean)[0]
        if "fw_gap" in names or "feasibility" in names:
            values |= self.evaluator.constrained(mean, names)
        if any(name.startswith(("val_", "test_")) for name in names):
            values |= self.evaluator.held_out_metrics(mean)
        rates = [node.optimizer.param_groups[0].get("lr") for node in self.nodes]
        if rates and rates[0] is not None:
            values["learning_rate"] = float(rates[0])
        return {name: values[name] for name in names if name in values}

    def _evaluate(self, state: State, *, last: bool = False) -> None:
        """Appends a record to history.jsonl and a line to timing.jsonl, and a frame to nodes.jsonl where one is due.

        Args:
            last: no step follows.

        Raises:
            _Diverged: where the loss of the mean model is not finite.
        """
        started = time.perf_counter()
        step = self.nodes.step
        if step:
            self.train_seconds += started - self.evaluated_at
        epoch = step / self.epoch_length
        record: dict[str, Any] = {
            "epoch": int(epoch) if epoch.is_integer() else epoch,
            "step": step,
            "round": self.mix.round,
        }
        own = self.evaluator.own_metrics()
        record |= self.evaluator.everything(state.mean, state.distances, own)
        record["bytes_sent"] = self.mix.traffic.bytes_sent
        record["messages"] = self.mix.traffic.messages
        if self.mix.clock is not None:
            record["sim_time"] = self.mix.clock.now
        record |= self._counts()
        self.recorder.write("history", record)
        lost = not math.isfinite(record["train_loss"])
        if self.frames and (last or lost or self.frames.due(step)):
            self._frame(state, own)
        self.emit({"step": step, "total": self.total, "metrics": record})
        self.evaluated_at = time.perf_counter()
        self.eval_seconds += self.evaluated_at - started
        timing = {"step": step, "train_seconds": self.train_seconds, "eval_seconds": self.eval_seconds}
        self.recorder.write("timing", timing)
        if lost:
            raise _Diverged

    def _counts(self) -> dict[str, int]:
        """`gradient_evals` and, for Frank-Wolfe, `lmo_calls`, summed over all nodes."""
        lmo = [getattr(node.optimizer, "lmo_calls", None) for node in self.nodes]
        counts = torch.tensor([[self.nodes.gradient_evals, sum(c or 0 for c in lmo)]], dtype=torch.float64)
        world = self.nodes.world
        totals = world.table(counts, world.size).sum(0)
        lmo_calls = {"lmo_calls": int(totals[1])} if self.evaluator.counts_lmo else {}
        return {"gradient_evals": int(totals[0])} | lmo_calls


def _write_result(fit: _Fit, parts: RunParts, directory: Path, status: str) -> None:
    """parameters.npz and summary.json, on rank 0; all ranks bring their rows."""
    world, nodes = fit.nodes.world, fit.nodes
    rows = world.collect(nodes.X)
    if rows is None:
        return
    values = rows.cpu().numpy()
    little_endian = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    np.savez(directory / "parameters.npz", params=values)
    summary = {
        "status": status,
        "nodes": world.nodes,
        "parameters": nodes.layout.d,
        "steps": nodes.step,
        "rounds": fit.mix.round,
        "last": fit.recorder.last(),
        "best": fit.recorder.best(),
        "params_sha256": hashlib.sha256(little_endian.tobytes()).hexdigest(),
    }
    about = parts.describe()
    if moved := fit.evaluator.start_moved:
        about["warnings"] = [
            *about["warnings"],
            f"the start was not feasible and was projected: the parameters moved by {moved:.3g} in the L2 norm",
        ]
    write_json(directory / "summary.json", summary | about)


def _frequencies(log_every: int, log: dict[str, int]) -> dict[str, int]:
    known = (*STEP_FIELDS, *EXTRA_STEP_FIELDS, FRAMES)
    for name, every in log.items():
        if name not in known:
            raise ValueError(f"log: unknown field {name!r}; known are {', '.join(known)}")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"log.{name} must be a number of steps >= 1, got {every!r}")
    return dict.fromkeys(STEP_FIELDS, log_every) | log


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
