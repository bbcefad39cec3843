"""Differentiable functions on tensors of n nodes whose backward pass also has the bits of one node's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gossipsim.stacked.memory import aligned, padded
from gossipsim.stacked.products import product, vector_product


class Linear(torch.autograd.Function):
    """x_i W_i^T (+ b_i): (n, r, k), (n, c, k), (n, c) or None -> (n, r, c)."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, W: Tensor, bias: Tensor | None) -> Tensor:
        X = aligned(X)
        ctx.save_for_backward(X, W)
        ctx.has_bias = bias is not None
        return product(X, W.transpose(1, 2), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        X, W = ctx.saved_tensors
        G = aligned(gradient)
        return (
            product(G, W) if ctx.needs_input_grad[0] else None,
            product(G.transpose(1, 2), X) if ctx.needs_input_grad[1] else None,
            G.sum(1) if ctx.has_bias else None,
        )


class MatrixVector(torch.autograd.Function):
    """A_i x_i: (n, r, k), (n, k) -> (n, r); A is data."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, x: Tensor) -> Tensor:
        assert not ctx.needs_input_grad[0]
        A = aligned(A)
        ctx.save_for_backward(A)
        return vector_product(A, aligned(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (A,) = ctx.saved_tensors
        return None, vector_product(A.transpose(1, 2), aligned(gradient))


class Spaced(torch.autograd.Function):
    """A copy with a gap between the nodes, so that torch treats the entries of each as if they were all."""

    @staticmethod
    def forward(ctx: Any, X: Tensor) -> Tensor:
        out = padded(X.shape, X, gap=True)
        out.copy_(X)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class LogisticLoss(torch.autograd.Function):
    """Mean over each node's entries of log(1 + exp(x)) - t x: (n, ...), (n, ...) -> (n,); t is data.

    torch's own with reduction, but for the gradient: (sigma(x) - t) g / m in this order.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, target: Tensor) -> Tensor:
        X = Spaced.apply(X)
        ctx.save_for_backward(X, target)
        losses = functional.binary_cross_entropy_with_logits(X, target, reduction="none")
        return losses.flatten(1).mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        X, target = ctx.saved_tensors
        g = gradient.view(-1, *[1] * (X.dim() - 1))
        return torch.sigmoid(X).sub_(target).mul_(g).div_(X[0].numel()), None


class SquaredError(torch.autograd.Function):
    """Mean over each node's entries of (x - t)^2: (n, ...), (n, ...) -> (n,); t is data.

    torch's own with reduction, but for the gradient: (2/m) (x - t) g in this order.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(X, target)
        return functional.mse_loss(X, target, reduction="none").flatten(1).mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        X, target = ctx.saved_tensors
        g = gradient.view(-1, *[1] * (X.dim() - 1))
        return (X - target).mul_(2 / X[0].numel()).mul_(g), None
