"""Builds everything that a run needs once, and sees whether it fits together, before anything is written."""

from __future__ import annotations

import inspect
import json
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gossipsim.config import ConfigError
from gossipsim.nodes import needs_closure, refusal, stacked_obstacle
from gossipsim.parts import Parts
from gossipsim.spec import in_one_line
from gossipsim.streams import generator, global_stream

SHARE_OF_MEMORY = 75
"""Percent of the free memory that a check may use; others want some, too."""

Check = Callable[[Parts], object]


def check(parts: Parts, done: set[str]) -> None:
    """Whether the run that `parts` are of can work.

    Args:
        done: checks that earlier runs of the experiment have passed; extended.

    Raises:
        ConfigError: with all that is wrong.
    """
    run, problems = parts.run, []
    checks: list[tuple[Check, tuple[object, ...]]] = [
        (_trainer, (run.trainer,)),
        (_network, (run.network, run.strategy)),
        (_links, (run.network, run.strategy, run.trainer)),
        (_state, (run.strategy, run.trainer)),
        (_shards, (run.task, run.partition, parts.count, run.seed)),
        (_model, (run.task, run.model, run.trainer, parts.count)),
        (_compression, (run.task, run.model, run.trainer, run.network, run.strategy)),
        (_optimizer, (run.task, run.model, run.optimizer, run.strategy, run.trainer)),
        (_engine, (run.task, run.model, run.optimizer, run.strategy, run.trainer, run.network)),
    ]
    for check_, subject in checks:
        key = f"{check_.__name__}{json.dumps(subject, sort_keys=True, default=str)}"
        if key in done:
            continue
        done.add(key)
        try:
            check_(parts)
        except ConfigError as error:
            problems += [line for line in error.errors if line not in problems]
    if problems:
        raise ConfigError(problems)


@contextmanager
def within_memory() -> Iterator[None]:
    """Makes what does not fit in memory an error of its spec, where Linux would end this process without a word."""
    free, used = _kilobytes("/proc/meminfo", "MemAvailable"), _kilobytes("/proc/self/status", "VmData")
    limit, most = resource.getrlimit(resource.RLIMIT_DATA)
    if free and used and limit == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * used + SHARE_OF_MEMORY * free // 100 * 1024, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _kilobytes(file: str, key: str) -> int | None:
    """A figure of the kernel's; None on another system."""
    with suppress(OSError):
        found = re.search(rf"^{key}:\s*(\d+) kB$", Path(file).read_text(), re.MULTILINE)
        return int(found[1]) if found else None
    return None


def _trainer(parts: Parts) -> object:
    return parts.trainer


def _shards(parts: Parts) -> object:
    return parts.shards


def _network(parts: Parts) -> None:
    network, claims = parts.network, parts.claims
    with parts.blame_network():
        network.certificate()  # also told of a network that the strategy does not use
    if parts.count > 1 and claims.over == "graph":
        with parts.blame_network():
            errors, _ = network.problems(claims.needs - {"reliable"})
        if errors:
            raise ConfigError([parts.of_network(error) for error in errors])


def _links(parts: Parts) -> None:
    """Whether the strategy can lose a message, and the clock can time a step and an exchange."""
    links = parts.links
    if links is None:
        return
    there = links.present(0, parts.count, parts.run.seed)
    if there is not None and not there.all() and getattr(parts.trainer, "mixes_state", False):
        raise ConfigError(
            [
                f"{parts.run.origins.of('network.links.params.absences')}: nodes that are away from round 0 have no "
                'optimizer state to mix; let them leave later, or set trainer.params.optimizer_state to "local"'
            ]
        )
    if (clock := links.clock(parts.count, parts.run.seed)) is not None:
        everyone = np.ones(parts.count, dtype=bool)
        with parts.blame("network.links"):
            clock.work(everyone)
            if parts.claims.over == "graph":
                clock.exchange(parts.network.matrix(0), nbytes=1)
            elif parts.claims.over == "server":
                clock.to_server(everyone, nbytes=1)
            else:
                clock.meet(everyone, nbytes=1)
    if links.loses and "reliable" in parts.claims.needs:
        raise ConfigError(
            [
                f"{parts.run.origins.of('network.links')}: {parts.run.strategy['class']} needs links that lose "
                "nothing; leave out drop, absences and churn, or take gossipsim.strategies.LocalThenGossip"
            ]
        )


def _state(parts: Parts) -> None:
    """Optimizers' states are mixed where all nodes have one."""
    if getattr(parts.trainer, "mixes_state", False) and not parts.claims.everyone:
        raise ConfigError(
            [
                f"{parts.run.origins.of('trainer.params.optimizer_state')}: with {parts.run.strategy['class']} nodes "
                'miss steps, and have no optimizer state to mix at first; set it to "local"'
            ]
        )


def _compression(parts: Parts) -> None:
    """Whether the compressor fits the model, and the strategy sends through it."""
    run, claims = parts.run, parts.claims
    if parts.compressor is None and claims.compressor is None:
        return
    own = claims.whole or claims.compressor is not None or claims.over != "graph"
    if parts.compressor is not None and own:
        raise ConfigError(
            [
                f"{run.origins.of('network.compression')}: {run.strategy['class']} does not send rows through the "
                "network's compression; leave it out, or take a strategy that mixes its rows with its neighbours'"
            ]
        )
    with parts.blame("network.compression" if claims.compressor is None else "strategy.params.compressor"):
        parts.costs()


def _model(parts: Parts) -> None:
    """A model and its loss on two samples; no backward pass, so that this process can still fork."""
    run = parts.run
    (inputs, targets), _ = parts.tensors(torch.device("cpu"), parts.dtype)
    with global_stream(generator(run.seed, 0, "init")):
        model = parts.model()
        try:
            with torch.no_grad():
                parts.task.loss_fn(model(inputs[:2]), targets[:2])
        except Exception as error:
            raise ConfigError(
                [
                    f"{run.origins.of('model')}: {run.model['class']} does not fit {run.task['class']} with inputs "
                    f"{tuple(inputs[:2].shape)}: {type(error).__name__}: {in_one_line(error)}"
                ]
            ) from error
    _size(parts, model)


def _size(parts: Parts, model: nn.Module) -> None:
    """A task whose optimum does not depend on the model is about models of that many parameters."""
    run = parts.run
    optimum = getattr(parts.task, "optimum", None)
    with parts.blame("task"):
        found = optimum() if optimum is not None and "model" not in inspect.signature(optimum).parameters else None
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if found is not None and size != found.x.numel():
        raise ConfigError(
            [
                f"{run.origins.of('model')}: {run.model['class']} has {size} parameters, but the "
                f"optimum of {run.task['class']} has {found.x.numel()}; use gossipsim.models.Vector or Matrix"
            ]
        )


def _optimizer(parts: Parts) -> None:
    run = parts.run
    with global_stream(generator(run.seed, 0, "init")):
        optimizer, _ = parts.optimizer(parts.model())
    if needs_closure(optimizer) and not parts.claims.closure:
        raise ConfigError(
            [
                f"{run.origins.of('optimizer')}: {run.optimizer['class']} needs a closure that "
                f"evaluates the gradient again, but {run.strategy['class']} hands over a corrected direction; "
                "use LocalThenGossip or GossipThenLocal, or an optimizer without a closure"
            ]
        )


def _engine(parts: Parts) -> None:
    """Whether nodes can be stacked, where that is asked for."""
    if getattr(parts.trainer, "engine", None) != "stacked":
        return
    if (obstacle := stacked_obstacle(parts.recipe())) is not None:
        raise ConfigError([f"{parts.run.origins.of('trainer.params.engine')}: {refusal(obstacle)}"])
