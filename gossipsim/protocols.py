"""What a user's task, shards and schedule must offer; each check raises ValueError with what is missing."""

from __future__ import annotations

import inspect
from typing import Any

import torch


def check_task(task: Any) -> None:
    missing = [
        name for name in ("input_shape", "num_classes", "train", "loss_fn", "metrics_fn") if not hasattr(task, name)
    ]
    if missing:
        raise ValueError(f"{type(task).__name__} is not a task: it lacks {', '.join(missing)}")
    if not hasattr(task.train, "tensors") or not len(task.train.tensors[0]):
        raise ValueError(f"{type(task).__name__}.train must be a TensorDataset with at least one sample")


def check_shards(shards: list[torch.Tensor], nodes: int, source: str) -> list[torch.Tensor]:
    if len(shards) != nodes:
        raise ValueError(f"{source}: {len(shards)} shards for {nodes} nodes")
    for node, shard in enumerate(shards):
        if not len(shard):
            raise ValueError(
                f"{source}: node {node} has an empty shard ({sum(map(len, shards))} samples over {nodes} nodes); "
                "set min_samples to 1 or more where the partition has it, raise alpha, or use fewer nodes"
            )
    return [torch.as_tensor(shard, dtype=torch.int64) for shard in shards]


def check_schedule(name: str, scheduler: Any) -> None:
    parameters = inspect.signature(scheduler.step).parameters.values()
    if any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters):
        raise ValueError(
            f"{name} needs a metric at every step, and nodes have none in common while they train; use a schedule "
            "of the step alone, such as torch.optim.lr_scheduler.StepLR or CosineAnnealingLR"
        )
