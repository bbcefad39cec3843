r"""Regularised logistic regression on synthetic data: strongly convex, with an optimum computed to rounding error.

f = mean_i f_i,  f_i(x) = mean over node i's samples of log(1 + exp(-y <a, x>)) + l2/2 ||x||^2,  y = +-1.
f weighs nodes equally, not samples: the optimum depends on the shards. One node: logistic regression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gossipsim.streams import generator
from gossipsim.tasks.classification import accuracy
from gossipsim.tasks.task import InMemory, Optimum, check_sizes

_NEWTON_STEPS = 100


class LogisticTask(InMemory):
    """Two classes, Gaussian inputs a ~ N(0, I), labels Bernoulli(sigmoid(scale <a, u>)) with a random unit u.

    Works with :class:`gossipsim.models.Vector` (one logit, output (batch,)) and with
    :class:`gossipsim.models.LogisticRegression` (two logits, output (batch, 2)). How the nodes differ is up to the
    partition.

    Args:
        samples: size of the training set.
        dim: length of an input.
        l2: strong convexity; every loss has l2/2 ||parameters||^2 added (:meth:`regularizer`).
        scale: length of the true parameter; large values give cleaner labels.
        seed: of the data; the seeds of a run do not change the problem.
        val_size, test_size: sizes of the held-out sets.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(
        self,
        samples: int = 1000,
        dim: int = 10,
        l2: float = 1e-2,
        *,
        scale: float = 3.0,
        seed: int = 0,
        val_size: int = 200,
        test_size: int = 500,
    ) -> None:
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        if not 0 < l2 < math.inf:
            raise ValueError(f"l2 must be a number above 0, got {l2}")
        if not 0 <= scale < math.inf:
            raise ValueError(f"scale must be a number >= 0, got {scale}")
        sizes = {"samples": samples, "val_size": val_size, "test_size": test_size}
        check_sizes(sizes)
        self.l2 = l2
        draws = {"samples": "train", "val_size": "val", "test_size": "test"}
        direction = _normal(dim, seed, "direction")
        direction *= scale / direction.norm()
        train, val, test = (_sample(size, direction, seed, draws[name]) for name, size in sizes.items())
        super().__init__(train, val, test, num_classes=2)

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean loss without the regulariser: binary for outputs (batch,), cross-entropy for (batch, 2)."""
        if output.dim() == 1:
            return functional.binary_cross_entropy_with_logits(output, target.to(output.dtype))
        return functional.cross_entropy(output, target)

    def regularizer(self, model: nn.Module) -> Tensor:
        """l2/2 times the squared norm of all parameters."""
        return self.l2 / 2 * torch.stack([p.square().sum() for p in model.parameters()]).sum()

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """The fraction of a batch that is classified correctly."""
        if output.dim() == 1:
            return {"accuracy": float(((output > 0) == (target > 0)).double().mean())}
        return {"accuracy": accuracy(output, target)}

    def optimum(self, model: nn.Module, shards: Sequence[Tensor]) -> Optimum | None:
        """The minimiser of f = mean over nodes of f_i, regulariser included, for `model` and the nodes' `shards`.

        None where the output is not affine in the parameters: f is then not convex. `model` is left as it is.
        """
        inputs, targets = self.train.tensors
        weights = torch.zeros(len(inputs), dtype=torch.float64)
        for shard in shards:
            weights[shard] += 1 / (len(shards) * len(shard))

        def outputs(x: Tensor) -> Tensor:
            values: Tensor = torch.func.functional_call(model, _unflatten(model, x), (inputs,))
            return values

        def objective(x: Tensor) -> Tensor:
            output = outputs(x)
            if output.dim() == 1:
                output = torch.stack([torch.zeros_like(output), output], dim=1)
            losses = functional.cross_entropy(output, targets, reduction="none")
            return weights @ losses + self.l2 / 2 * x.square().sum()

        training = model.training
        model.eval()
        try:
            start = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
            if not _is_affine(outputs, start):
                return None
            x = _newton(objective, start)
            return Optimum(x, float(objective(x)))
        finally:
            model.train(training)


def _normal(dim: int, seed: int, purpose: str) -> Tensor:
    return torch.randn(dim, dtype=torch.float64, generator=generator(seed, None, f"logistic {purpose}"))


def _sample(size: int, direction: Tensor, seed: int, part: str) -> tuple[Tensor, Tensor]:
    stream = generator(seed, None, f"logistic {part}")
    inputs = torch.randn(size, len(direction), dtype=torch.float64, generator=stream)
    chance = torch.rand(size, dtype=torch.float64, generator=stream)
    return inputs, (chance < torch.sigmoid(inputs @ direction)).long()


def _unflatten(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    pieces = torch.split(x, [p.numel() for p in named.values()])
    return {name: piece.view(p.shape) for (name, p), piece in zip(named.items(), pieces, strict=True)}


def _is_affine(function: Callable[[Tensor], Tensor], like: Tensor) -> bool:
    stream = generator(0, None, "logistic affine")
    p, q = (torch.randn(like.shape, dtype=like.dtype, generator=stream) for _ in range(2))
    with torch.no_grad():
        return torch.allclose(function((p + q) / 2), (function(p) + function(q)) / 2, rtol=0, atol=1e-9)


def _newton(objective: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Newton's method with step halving on a strongly convex function, until rounding is all that is left."""

    def gradient(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_()
        return torch.autograd.grad(objective(at), at)[0]

    g = gradient(x)
    for _ in range(_NEWTON_STEPS):
        # not torch.func.hessian: it imports several seconds of compiler first
        hessian = torch.autograd.functional.hessian(objective, x)  # type: ignore[no-untyped-call]
        direction = torch.linalg.solve(hessian, g)
        decrease, value = float(g @ direction), objective(x)
        at_rounding = decrease <= 1e-14 * float(value)  # f cannot tell a step that is right: the gradient must
        step = 1.0
        while not at_rounding and step > 1e-10 and objective(x - step * direction) > value - 1e-4 * step * decrease:
            step /= 2
        candidate = x - step * direction
        g_new = gradient(candidate)
        if at_rounding and not g_new.norm() < 0.5 * g.norm():
            return candidate if g_new.norm() < g.norm() else x
        x, g = candidate, g_new
    return x
