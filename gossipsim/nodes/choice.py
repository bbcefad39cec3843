"""Which engine a process takes for its nodes.

`auto` takes the stacked one where a trial on a few of the nodes gives the bits of the loop, and is faster; so that the
choice, which may differ from process to process, changes nothing but speed. `stacked` takes it in any case in which
it works: its rules for convolutions and some norms are not those of one node, and how the nodes are spread over
processes then changes the last bits.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from gossipsim.data.batches import Batches
from gossipsim.nodes.blocks import Blocks
from gossipsim.nodes.engine import Engine, Hosted, template
from gossipsim.nodes.health import Health
from gossipsim.nodes.layout import zero_rows
from gossipsim.nodes.loop import Loop
from gossipsim.nodes.node import Recipe, Streams
from gossipsim.optim.stacking import elementwise, stacking_obstacle
from gossipsim.stacked import Unstackable

FEW = 4
"""With fewer nodes than this per process, nothing is gained."""

TRIED, COMPARED = 64, 6
"""Nodes of a trial, and those of them that are also evaluated one by one."""


def choose(hosted: Hosted, shards: list[torch.Tensor]) -> tuple[Engine, str]:
    """The engine, and why.

    Raises:
        ValueError: where the stacked engine is asked for and cannot work.
    """
    asked = hosted.recipe.engine
    if asked == "loop":
        return Loop(hosted), "loop: asked for"
    if asked == "auto" and len(hosted.ids) < FEW:
        return Loop(hosted), f"loop: fewer than {FEW} nodes in this process"
    obstacle = stacked_obstacle(hosted.recipe)
    exact_losses = False
    if obstacle is None and asked == "auto":
        obstacle, exact_losses, gain = _tried(hosted, shards)
        if obstacle is None:
            return Blocks(
                hosted, exactly=True, exact_losses=exact_losses
            ), f"stacked: {gain:.1f} times as fast, equal bits"
    if obstacle is None:
        return Blocks(hosted, exactly=False), "stacked: asked for"
    if asked == "stacked":
        raise ValueError(refusal(obstacle))
    return Loop(hosted), f"loop: {obstacle}"


def refusal(obstacle: str) -> str:
    """What to say where the stacked engine is asked for and cannot work."""
    return f'"stacked" cannot work here: {obstacle}; set it to "auto" or "loop"'


def stacked_obstacle(recipe: Recipe) -> str | None:
    """What keeps nodes from being stacked, as far as it is known without a trial."""
    if recipe.loop_only is not None:
        return recipe.loop_only
    if recipe.clip_grad_norm is not None:
        return "clip_grad_norm looks at each node's own gradient"
    model = template(recipe)
    if any(buffer.is_floating_point() for buffer in model.buffers()):
        return f"{type(model).__name__} has buffers, of which each node has its own"
    optimizer, _ = recipe.optimizer(model)
    if recipe.init == "independent" and not elementwise(optimizer):
        return f"{type(optimizer).__name__} may depend on where a node starts"
    return stacking_obstacle(optimizer, exact=recipe.engine == "auto")


Verdict = tuple[str | None, bool, float]
"""An obstacle or None, whether losses are equal too, and how many times faster the stacked engine is."""

_verdicts: dict[tuple[str, int], Verdict] = {}
"""Of earlier runs in this process, by the kind of recipe and the number of nodes."""


def _tried(hosted: Hosted, shards: list[torch.Tensor]) -> Verdict:
    """The verdict of a trial, or of an earlier one on the like."""
    key = hosted.recipe.kind, len(hosted.ids)
    if not hosted.recipe.kind:
        return _trial(hosted, shards)
    if key not in _verdicts:
        _verdicts[key] = _trial(hosted, shards)
    return _verdicts[key]


def _trial(hosted: Hosted, shards: list[torch.Tensor]) -> Verdict:
    """Compares gradients of some nodes with those of the loop, and times."""
    count = min(len(hosted.ids), TRIED)
    some = np.unique(np.linspace(0, count - 1, min(count, COMPARED)).astype(int)).tolist()
    try:
        stacked = Blocks(_scratch(hosted, shards, list(range(count))), exactly=True, exact_losses=True)
        loop = Loop(_scratch(hosted, shards, some))
        _scatter(stacked._hosted.X)
        loop._hosted.X.copy_(stacked._hosted.X[some])
        G, expected = torch.zeros_like(stacked._hosted.X), torch.zeros_like(loop._hosted.X)
        stacked.gradients(range(count), None, G, True)
        loop.gradients(range(len(some)), None, expected, True)
    except Unstackable as error:
        return str(error), False, 0.0
    except Exception as error:  # parts are anybody's code; if it is at fault, the loop will tell where
        return f"{type(error).__name__} on a trial: {' '.join(str(error).split())}", False, 0.0
    if not torch.equal(G[some], expected):
        return "its gradients have other bits", False, 0.0
    losses = torch.equal(stacked.losses()[some], loop.losses())
    gain = _seconds(loop, len(some)) / _seconds(stacked, count)
    return None if gain > 1 else f"stacking is slower here ({gain:.2f} times as fast)", losses, gain


def _scratch(hosted: Hosted, shards: list[torch.Tensor], places: list[int]) -> Hosted:
    """Some of the nodes with rows, data orders and streams that nobody else sees."""
    recipe, keys = hosted.recipe, [hosted.keys[k] for k in places]
    return replace(
        hosted,
        ids=range(len(places)),
        keys=keys,
        X=zero_rows(len(places), hosted.layout.d, hosted.X.dtype, hosted.X.device),
        batches=Batches([shards[k] for k in places], recipe.batch_size, recipe.seed, keys),
        streams=Streams(recipe.seed, keys, hosted.X.device),
        health=Health(len(places)),
    )


def _scatter(X: torch.Tensor) -> None:
    """Moves rows apart: equal rows, or rows of zeros, would have equal bits by any way."""
    X.add_(torch.randn(X.shape, generator=torch.Generator().manual_seed(0), dtype=X.dtype).to(X.device), alpha=0.1)


def _seconds(engine: Engine, count: int) -> float:
    """Per node and step, the best of some."""
    rows, times = range(count), []
    for _ in range(3):
        started = time.perf_counter()
        engine.forget_batches(rows)
        engine.descend(rows, False)
        times.append(time.perf_counter() - started)
    return min(times) / count
