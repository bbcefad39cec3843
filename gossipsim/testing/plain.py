"""Ordinary supervised training, written as anyone would: what one node by itself must equal."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from gossipsim.data.batches import Batches
from gossipsim.nodes import needs_closure, trainable
from gossipsim.parts import Parts, Tensors
from gossipsim.strategies.strategy import Alone, Outer
from gossipsim.streams import generator, global_stream


def plain_loop(parts: Parts, steps: int) -> np.ndarray[Any, Any]:
    """Ordinary supervised training, written as anyone would: the final parameters (d,)."""
    trainer, seed = parts.trainer, parts.run.seed
    (inputs, targets), _ = parts.tensors(torch.device("cpu"), trainer.dtype)
    with global_stream(generator(seed, 0, "init")):
        model = parts.model()
    optimizer, scheduler = parts.optimizer(model)
    batches = Batches(parts.shards[:1], trainer.batch_size, seed, keys=[0])
    epoch = trainer.epoch_length(len(parts.shards[0]), 1)
    alone, kept = parts.claims.alone, [torch.zeros_like(p) for p in trainable(model)]
    outer, rounds = parts.claims.outer, [(p.detach().clone(), torch.zeros_like(p)) for p in trainable(model)]
    with global_stream(generator(seed, 0, "model")):
        for step in range(1, steps + 1):
            batch = batches.next(0)
            backward = partial(_backward, parts, model, optimizer, (inputs[batch], targets[batch]))
            backward()
            if alone is not None:
                _replace_gradients(model, alone, kept)
            _clip(parts, model)
            if needs_closure(optimizer):
                optimizer.step(backward)  # type: ignore[arg-type]  # torch's closures return tensors
            else:
                optimizer.step()
            if outer is not None and step % outer.every == 0:
                _outer_step(model, outer, rounds)
            if scheduler is not None and (parts.schedule_every == "step" or step % epoch == 0):
                scheduler.step()
    return torch.cat([p.detach().reshape(-1) for p in trainable(model)]).numpy()


def _replace_gradients(model: torch.nn.Module, alone: Alone, kept: list[torch.Tensor]) -> None:
    """What the method makes of a gradient on a node by itself, with the state that it keeps for it."""
    for k, p in enumerate(trainable(model)):
        assert p.grad is not None
        direction, kept[k] = alone(kept[k], p.grad)
        p.grad = direction.clone()  # clipping must not reach what is kept


def _outer_step(model: torch.nn.Module, outer: Outer, rounds: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """What the method makes of the parameters after a round of steps; `rounds`: they before it, and kept state."""
    for k, p in enumerate(trainable(model)):
        old, state = rounds[k]
        new, state = outer(old, p.detach(), state)
        p.data.copy_(new)
        rounds[k] = new, state


def _backward(parts: Parts, model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Tensors) -> torch.Tensor:
    """The loss of a batch, with its gradients in the parameters."""
    optimizer.zero_grad()
    inputs, targets = batch
    loss = parts.task.loss_fn(model(inputs), targets)
    regularizer = getattr(parts.task, "regularizer", None)
    if regularizer is not None:
        loss = loss + regularizer(model)
    torch.autograd.backward(loss)
    return loss


def _clip(parts: Parts, model: torch.nn.Module) -> None:
    clip = parts.run.optimizer.get("clip_grad_norm")
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
