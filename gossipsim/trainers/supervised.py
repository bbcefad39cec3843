"""THE loop: rounds of a strategy, records on the way. One node on one process is ordinary supervised training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch

from gossipsim.checkpoints import Folder, Frequency, Tree
from gossipsim.compression import Compressor
from gossipsim.config import RunSpec
from gossipsim.mixing import Mix
from gossipsim.network import Links, Network
from gossipsim.nodes import Nodes, OutOfSteps, Recipe
from gossipsim.record import FLUSH_SECONDS, Recorder
from gossipsim.rounds import connect, play
from gossipsim.strategies import Strategy
from gossipsim.tasks.task import Optimum, Task
from gossipsim.trainers.evaluation import Evaluator, OwnMetrics, State, Tensors, consensus
from gossipsim.trainers.fields import EXTRA_STEP_FIELDS, FRAMES, frequencies
from gossipsim.trainers.frames import Frames, frame
from gossipsim.trainers.outcome import write_result
from gossipsim.trainers.saving import Saving
from gossipsim.world import Transport, World, give_back_memory
from gossipsim.world.launcher import Emit

Dtype = Literal["float32", "float64"]
Init = Literal["same", "independent"]
Engine = Literal["auto", "loop", "stacked"]
OnDivergence = Literal["stop", "record"]
OptimizerState = Literal["local", "mixed"]

MANY_RANKS = 32
"""From so many on, ranks give back what start-up has freed: 1 ms for each, and 1 to 3 MB."""

MAX_IDLE_ROUNDS = 1000
"""Rounds in a row without a local step after which a run fails: it would never end."""


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
        engine: how a process computes the gradients of its nodes: "loop", one after the other; "stacked", all at once;
            "auto", stacked where a trial is faster and gives the bits of the loop. Where "stacked" is asked for and
            the model has convolutions or norms with weights, last bits depend on the number of processes.
        augment: (batch, generator) -> batch, drawn from each node's own stream.
        local_eval: evaluate the nodes' own models: true (at most 32, evenly spaced), false, or how many.
        optimizer_state: "local": momentum and the like stay with their node; "mixed": they are averaged with the
            neighbours' whenever the rows are, and count as bytes sent.
        checkpoint_every: the state is saved at the end of a round so many steps, or so much time ("90s", "5m", "1h"),
            after the last time, for a run that is interrupted to go on from there; null: never.
        on_divergence: where a node is not finite any more, "stop": the run ends with the next record; "record": it
            goes on to its last step. Either way it has diverged if it is not finite in the end.
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
        on_divergence: OnDivergence = "stop",
        checkpoint_every: int | str | None = "60s",
    ) -> None:
        counts = {"epochs": epochs, "batch_size": batch_size, "steps": steps, "eval_every": eval_every}
        for name, value in (counts | {"log_every": log_every}).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        _one_of("dtype", dtype, get_args(Dtype))
        _one_of("init", init, get_args(Init))
        _one_of("engine", engine, get_args(Engine))
        _one_of("optimizer_state", optimizer_state, get_args(OptimizerState))
        _one_of("on_divergence", on_divergence, get_args(OnDivergence))
        if not (device == "cpu" or device.startswith("cuda")):
            raise ValueError(f'device must be "cpu" or "cuda", got {device!r}')
        if not isinstance(local_eval, bool) and local_eval < 1:
            raise ValueError(f"local_eval must be true, false or a number of nodes, got {local_eval}")
        self.epochs, self.batch_size, self.steps, self.eval_every = epochs, batch_size, steps, eval_every
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.device, self.init, self.augment, self.local_eval = device, init, augment, local_eval
        self.engine, self.on_divergence = engine, on_divergence
        self.mixes_state = optimizer_state == "mixed"
        if checkpoint_every is not None:
            Frequency.of(checkpoint_every)
        self.checkpoint_every = checkpoint_every
        self.requested = tuple(log or {})
        self.frequencies = frequencies(log_every, log or {})
        self.frames_every = self.frequencies.pop(FRAMES, None)

    def fit(self, parts: RunParts, transport: Transport, directory: Path, emit: Emit) -> str:
        """Runs to the end on this process's share of the nodes and writes the run's files (rank 0).

        Begins where the run's newest checkpoint was written, if there is one.

        Returns:
            "complete", "diverged", or "interrupted" where a stop was requested.
        """
        world = World(parts.network.nodes, transport)
        patience = 0.0 if parts.run.faults else FLUSH_SECONDS  # faults find on disk what was recorded before
        recorder = Recorder(directory if world.rank == 0 else None, patience)
        saving = Saving(Folder(directory, parts.run.key), self.checkpoint_every, emit)
        try:
            fit = _Fit.start(self, parts, world, recorder, emit)
            status = fit.run(saving)
            if status != "interrupted":
                write_result(directory, status, fit, parts.describe)
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

    run: RunSpec
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
    diverged: dict[str, int | None] | None = None
    finite: bool = True
    _periods: frozenset[int] = field(init=False)
    _evaluates: int = field(init=False)
    evaluated_at: float = 0.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._periods = frozenset(self.trainer.frequencies.values())
        self._evaluates = self.trainer.evaluation_length(self.epoch_length) or 0  # every so many steps; 0: never

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

    def run(self, saving: Saving) -> str:
        """From the start, or from the newest checkpoint, to the end."""
        try:
            self.parts.strategy.init(self.nodes, self.mix)
            if not saving.resume(self):
                state = State(self.evaluator)
                self._log(self._due(0) | {"batch_loss": False}, state)
                self._evaluate(state)
            self.nodes.between_steps, self.nodes.keeps_loss = self._between_steps, self._has_record
            if self.nodes.world.size >= MANY_RANKS:
                give_back_memory()
            return self._train(saving)
        except _Diverged:
            return "diverged"

    def tree(self) -> Tree:
        """What all processes know alike between two rounds, and on rank 0 where its files end."""
        kept = getattr(self.parts.strategy, "state_dict", dict)
        return {
            "nodes": self.nodes.tree(),
            "mix": self.mix.tree(),
            "recorder": self.recorder.tree(),
            "strategy": kept(),
            "recorded": self.recorded,
            "diverged": self.diverged,
            "train_seconds": self.train_seconds + time.perf_counter() - self.evaluated_at,
            "eval_seconds": self.eval_seconds,
        }

    def restore(self, shared: Tree, nodes: list[Tree]) -> None:
        """Undoes :meth:`tree`."""
        self.nodes.restore(shared["nodes"], nodes)
        self.mix.restore(shared["mix"])
        if hasattr(self.parts.strategy, "load_state_dict"):
            self.parts.strategy.load_state_dict(shared["strategy"])
        self.recorded, self.diverged = shared["recorded"], shared["diverged"]
        self.train_seconds, self.eval_seconds = shared["train_seconds"], shared["eval_seconds"]
        self.evaluated_at = time.perf_counter()

    def _train(self, saving: Saving) -> str:
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
            if self.nodes.step < self.total and saving.after_round(self):
                return "interrupted"
        return "complete" if self.finite else "diverged"

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
        if self._logs(step):
            self.mix.conservation.check()
            self._log(self._due(step), state)
        if self._evaluated(step):
            self._evaluate(state, last=last)
        elif self.frames and self.frames.due(step):
            self._frame(state, {})

    def _due(self, step: int) -> dict[str, bool]:
        """Which fields the record of a step in steps.jsonl has."""
        return {name: step >= self.total or step % k == 0 for name, k in self.trainer.frequencies.items()}

    def _logs(self, step: int) -> bool:
        """Whether a step has a record in steps.jsonl."""
        return step >= self.total or any(step % k == 0 for k in self._periods)

    def _evaluated(self, step: int) -> bool:
        """Whether a step has a record in history.jsonl."""
        return step >= self.total or (self._evaluates > 0 and step % self._evaluates == 0)

    def _has_record(self, step: int) -> bool:
        return self._logs(step) or self._evaluated(step)

    def _log(self, due: Mapping[str, bool], state: State) -> None:
        """Appends a record to steps.jsonl, and ends the run where that shows that it has diverged."""
        if not self._append_step(due, state):
            self._note_divergence()
            if self.trainer.on_divergence == "stop":
                if self.nodes.step:
                    self._evaluate(state, last=True)
                raise _Diverged

    def _append_step(self, due: Mapping[str, bool], state: State) -> bool:
        """Appends a record to steps.jsonl with the fields that are due; returns whether all is finite."""
        theory = [name for name in ("suboptimality", "distance") if due[name] and self.evaluator.knows_optimum]
        extra = [name for name in EXTRA_STEP_FIELDS if due.get(name)]
        loss, lost = self.evaluator.batch_loss()
        values = {"batch_loss": loss} if due["batch_loss"] else {}
        if due["consensus"]:
            values["consensus"] = consensus(state.distances)
        if theory:
            known = self.evaluator.theory(state.mean)
            values |= {name: known[name] for name in theory}
        values |= self.evaluator.some(extra, state.mean) if extra else {}
        self.recorder.write("steps", {"step": self.nodes.step} | values)
        self.emit({"step": self.nodes.step, "total": self.total, "loss": loss})
        return not lost and all(map(math.isfinite, (loss, *values.values())))

    def _note_divergence(self) -> None:
        """Tells once who was lost first; nobody, where it is the mean model that is at fault."""
        if self.diverged is None:
            lost = self.evaluator.first_lost()
            who = "the mean model" if lost is None else f"node {lost.node}"
            self.diverged = {"node": lost and lost.node, "step": self.nodes.step if lost is None else lost.step}
            if self.nodes.world.rank == 0:
                self.emit({"note": f"{who} is not finite from step {self.diverged['step']} on"})

    def _frame(self, state: State, own: OwnMetrics) -> None:
        """Appends a record to nodes.jsonl."""
        distances = state.distances  # of all processes, which meet here
        if self.nodes.world.rank == 0:
            by_node = self.evaluator.by_node(own)
            self.recorder.write("nodes", frame(self.nodes.step, self.mix.round, distances.tolist(), by_node))

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
        record |= self.evaluator.counts()
        self.recorder.write("history", record)
        self.finite = all(math.isfinite(record[name]) for name in ("train_loss", "consensus"))
        ends = not self.finite and self.trainer.on_divergence == "stop"
        if self.frames and (last or ends or self.frames.due(step)):
            self._frame(state, own)
        self.emit({"step": step, "total": self.total, "metrics": record})
        self.evaluated_at = time.perf_counter()
        self.eval_seconds += self.evaluated_at - started
        timing: dict[str, Any] = {"step": step, "train_seconds": self.train_seconds, "eval_seconds": self.eval_seconds}
        if step == 0:
            timing["engine"] = self.nodes.engine_choice
        self.recorder.write("timing", timing)
        if not self.finite:
            self._note_divergence()
        if ends:
            if not self._logs(step):  # the last step always has a record
                self._append_step(dict.fromkeys(self.trainer.frequencies, True), state)
            raise _Diverged


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
