"""Real ranks: what an exchange costs them, and a step with one."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from gossipsim.bench.data_parallel import ddp_step_seconds
from gossipsim.bench.jobs import MLP, Work, Workers, images, job, wall_on_ranks, without_gossip
from gossipsim.bench.measuring import Figure, Figures, Interleaved
from gossipsim.mixing import Mix
from gossipsim.parts import Parts
from gossipsim.world import World
from gossipsim.world.per_parameter import parameter_exchange
from gossipsim.world.transport import Transport

RANKS = 16


def exchange(repeats: int, size: int = RANKS, rounds: int = 40) -> Figures:
    """CPU time of a round on a ring with the rows of an MLP, 101,770 parameters: sent, received and averaged."""
    parts = job(images(), MLP, 1, size)
    parts.network.matrix(0)
    shapes = [p.shape for p in parts.model().parameters()]
    work: dict[str, Work] = {
        "ours": lambda transport: _cpu_seconds(_mix(parts, transport), transport, rounds),
        "naive": lambda transport: _cpu_seconds(parameter_exchange(shapes, transport), transport, rounds),
    }
    with Workers(size, work, "gloo") as gloo, Workers(size, work) as default:
        found = Interleaved(
            {
                "naive": gloo.mean("naive"),
                "gloo": gloo.mean("ours"),
                "default": default.mean("ours"),
            },
            repeats,
        )
    return {
        "isend and irecv per parameter: CPU time of a node's exchange": Figure(found.median("naive") * 1e6, "us"),
        "over gloo: CPU time of a node's exchange": Figure(found.median("gloo") * 1e6, "us"),
        "by default: CPU time of a node's exchange": Figure(found.median("default") * 1e6, "us"),
        "over gloo, of isend and irecv": Figure(found.ratio("gloo", "naive"), "x", at_most=0.7),
        "by default, of isend and irecv": Figure(found.ratio("default", "naive"), "x", at_most=0.3),
    }


def ring_step(repeats: int, size: int = RANKS, steps: int = 120) -> Figures:
    """A step of an MLP with its exchange against the same ranks' step alone."""
    runs = {
        "ring": job(images(), MLP, steps, size, log_every=steps // 2),
        "alone": job(images(), MLP, steps, size, log_every=steps // 2, strategy=without_gossip()),
    }
    with Workers(size, {name: wall_on_ranks(parts) for name, parts in runs.items()}) as workers:
        found = Interleaved({name: workers.largest(name) for name in runs}, repeats)
    return {
        f"{size} ranks: step alone": Figure(found.median("alone") * 1e3, "ms"),
        f"{size} ranks: step and exchange on a ring": Figure(found.median("ring") * 1e3, "ms"),
        f"{size} ranks: ring over alone": Figure(found.ratio("ring", "alone"), "x", at_most=1.8),
    }


def ddp(repeats: int, size: int = RANKS, steps: int = 60) -> Figures:
    """PyTorch's DistributedDataParallel over gloo against AllReduce and gossip on a complete graph."""
    runs = {
        "all_reduce": job(
            images(), MLP, steps, size, log_every=steps // 2, strategy={"class": "gossipsim.strategies.AllReduce"}
        ),
        "complete": job(images(), MLP, steps, size, "complete", log_every=steps // 2),
    }
    ours = {name: wall_on_ranks(parts) for name, parts in runs.items()}
    theirs = partial(ddp_step_seconds, runs["complete"], max(steps // 4, 2))
    with Workers(size, {"ddp": theirs}, "gloo") as gloo, Workers(size, ours) as default:
        found = Interleaved(
            {"ddp": gloo.largest("ddp")} | {name: default.largest(name) for name in runs},
            repeats,
        )
    steps_taken = {name: Figure(found.median(name) * 1e3, "ms") for name in ("ddp", "all_reduce", "complete")}
    return {f"{size} ranks: step of {name}": figure for name, figure in steps_taken.items()} | {
        f"{size} ranks: AllReduce, times as fast as DDP": Figure(found.ratio("ddp", "all_reduce"), "x", at_least=4),
        f"{size} ranks: complete graph, times as fast as DDP": Figure(found.ratio("ddp", "complete"), "x", at_least=4),
    }


def _mix(parts: Parts, transport: Transport) -> Callable[[], object]:
    """A round of ours on the same rows."""
    d = sum(p.numel() for p in parts.model().parameters())
    mix, X = Mix(World(parts.count, transport), parts.network), torch.ones(1, d)
    return lambda: mix(X, out=X)


def _cpu_seconds(action: Callable[[], object], transport: Transport, rounds: int) -> float:
    """Of this process, for one of so many rounds, after a first; all ranks begin together."""
    action()
    transport.gather(torch.zeros(1))
    before = time.process_time()
    for _ in range(rounds):
        action()
    return (time.process_time() - before) / rounds
