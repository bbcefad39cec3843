"""PyTorch's DistributedDataParallel, as a baseline: its processes must have been joined by gloo."""

from __future__ import annotations

import time

import torch
from torch import nn

from gossipsim.bench.jobs import LR
from gossipsim.parts import Parts
from gossipsim.world.transport import Transport


def ddp_step_seconds(parts: Parts, steps: int, transport: Transport, warm_up: int = 3) -> float:
    """The wall time of a step of DistributedDataParallel, batches of 32 from tensors in memory."""
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(parts.model())
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    inputs, targets = parts.task.train.tensors
    shard = parts.shards[transport.rank]
    started = time.perf_counter()
    for step in range(warm_up + steps):
        if step == warm_up:
            started = time.perf_counter()
        batch = shard[torch.randint(len(shard), (32,))]
        optimizer.zero_grad()
        torch.autograd.backward(parts.task.loss_fn(model(inputs[batch]), targets[batch]))
        optimizer.step()
    return (time.perf_counter() - started) / steps
