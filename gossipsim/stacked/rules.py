"""What torch functions and methods do with :class:`Stacked` tensors: (n, *shape) of n nodes instead of (*shape).

The bits of one node are kept by what only moves data; by operations on entries that IEEE 754 rounds in one way (sums,
products, maxima); and by what is computed for each node as torch computes it for one: products
(:mod:`gossipsim.stacked.products`) and functions such as exp, of which torch evaluates the end of a tensor by other
code than its bulk, and which therefore begin with a copy that has gaps between the nodes. What is computed otherwise
says so by :func:`inexact`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gossipsim.stacked.functions import Linear, LogisticLoss, MatrixVector, Spaced, SquaredError
from gossipsim.stacked.tensor import Stacked, Unstackable, inexact, inexact_loss, nodes_of, rule

ROUNDED: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "radd": lambda a, b: b + a,
    "iadd": operator.add,
    "sub": operator.sub,
    "rsub": lambda a, b: b - a,
    "mul": operator.mul,
    "rmul": lambda a, b: b * a,
    "div": operator.truediv,
    "truediv": operator.truediv,
    "rtruediv": lambda a, b: b / a,
    **{name: getattr(torch, name) for name in ("neg", "abs", "square", "sqrt", "maximum", "minimum", "relu")},
    **{name: getattr(functional, name) for name in ("leaky_relu", "hardtanh", "relu6")},
    "clamp": torch.clamp,
}
"""Entry by entry, by operations that are rounded in one way."""

BY_SERIES: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in ("exp", "log", "log1p", "expm1", "sigmoid", "tanh", "sin", "cos")},
    **{name: getattr(functional, name) for name in ("softplus", "silu", "elu")},
    "log_sigmoid": functional.logsigmoid,
}
"""Entry by entry, by code that differs between the bulk and the end of a tensor."""


def _entrywise(function: Callable[..., Any], prepare: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    def apply(*args: Any, inplace: bool = False, **kwargs: Any) -> Stacked:
        result = function(*_alike(args, prepare), **kwargs)
        if inplace and isinstance(args[0], Stacked):
            args[0].nodes = result
            return args[0]
        return Stacked(result)

    return apply


def _alike(args: Sequence[Any], prepare: Callable[[Tensor], Tensor]) -> list[Any]:
    """Operands that broadcast as the tensors of one node do, behind the dimension of the nodes."""
    rank = max(a.dim() for a in args if isinstance(a, Tensor))
    return [_of_rank(prepare(a.nodes), rank) if isinstance(a, Stacked) else a for a in args]


def _of_rank(nodes: Tensor, rank: int) -> Tensor:
    missing = rank - (nodes.dim() - 1)
    return nodes.reshape(nodes.shape[0], *[1] * missing, *nodes.shape[1:]) if missing else nodes


for _name, _function in ROUNDED.items():
    rule(_name)(_entrywise(_function, lambda X: X))
for _name, _function in BY_SERIES.items():
    rule(_name)(_entrywise(_function, Spaced.apply))


@rule("pow")
def _power(X: Stacked, exponent: Any) -> Stacked:
    if exponent != 2:
        raise Unstackable(f"the power {exponent} has no rule for many nodes at once")
    return Stacked(X.nodes.pow(2))


# --- products ---


@rule("linear")
def _linear(inputs: Any, weight: Any, bias: Any = None) -> Stacked:
    if not (isinstance(inputs, Stacked) and isinstance(weight, Stacked)):
        raise Unstackable("linear has a rule for many nodes at once where inputs and weight are the nodes' own")
    X, W = inputs.nodes, weight.nodes
    rows = Linear.apply(X.reshape(X.shape[0], -1, X.shape[-1]), W, nodes_of(bias))
    return Stacked(rows if X.dim() == 3 else rows.reshape(*X.shape[:-1], W.shape[1]))


@rule("matmul", "mv")
def _matmul(A: Any, x: Any) -> Stacked:
    if not (isinstance(A, Stacked) and isinstance(x, Stacked) and (A.dim(), x.dim()) == (2, 1)):
        raise Unstackable("matmul has a rule for many nodes at once where a matrix of data meets a vector")
    if A.nodes.requires_grad:
        raise Unstackable("matmul with a matrix that has a gradient has no rule for many nodes at once")
    return Stacked(MatrixVector.apply(A.nodes, x.nodes))


# --- shapes ---


def _behind(dim: int, rank: int) -> int:
    """The place of a node's dimension behind that of the nodes."""
    return dim % max(rank, 1) + 1


@rule("flatten")
def _flatten(X: Stacked, start_dim: int = 0, end_dim: int = -1) -> Stacked:
    if X.dim() == 0:
        return Stacked(X.nodes.unsqueeze(1))
    return Stacked(X.nodes.flatten(_behind(start_dim, X.dim()), _behind(end_dim, X.dim())))


@rule("reshape", "view")
def _reshape(X: Stacked, *shape: Any) -> Stacked:
    sizes = shape if not shape or isinstance(shape[0], int) else shape[0]
    return Stacked(X.nodes.reshape(X.nodes.shape[0], *sizes))


@rule("unflatten")
def _unflatten(X: Stacked, dim: int, sizes: Sequence[int]) -> Stacked:
    return Stacked(torch.unflatten(X.nodes, _behind(dim, X.dim()), list(sizes)))


@rule("squeeze")
def _squeeze(X: Stacked, dim: int) -> Stacked:
    return Stacked(X.nodes.squeeze(_behind(dim, X.dim())))


@rule("unsqueeze")
def _unsqueeze(X: Stacked, dim: int) -> Stacked:
    return Stacked(X.nodes.unsqueeze(_behind(dim, X.dim() + 1)))


@rule("stack")
def _stack(tensors: Sequence[Stacked], dim: int = 0) -> Stacked:
    if not all(isinstance(each, Stacked) for each in tensors):
        raise Unstackable("stack has a rule for many nodes at once where all tensors are the nodes' own")
    return Stacked(torch.stack([each.nodes for each in tensors], _behind(dim, tensors[0].dim() + 1)))


@rule("to")
def _to(X: Stacked, *args: Any, **kwargs: Any) -> Stacked:
    return Stacked(X.nodes.to(*map(nodes_of, args), **kwargs))


@rule("contiguous")
def _contiguous(X: Stacked, memory_format: torch.memory_format = torch.contiguous_format) -> Stacked:
    return X


@rule("dropout")
def _dropout(X: Stacked, p: float = 0.5, training: bool = True, inplace: bool = False) -> Stacked:
    if training and p > 0:
        raise Unstackable("dropout draws from a node's own stream, and has no rule for many nodes at once")
    return X


# --- sums ---


@rule("sum")
def _sum(X: Stacked, dim: Any = None, keepdim: bool = False) -> Stacked:
    return _reduce(torch.sum, X, dim, keepdim)


@rule("mean")
def _mean(X: Stacked, dim: Any = None, keepdim: bool = False) -> Stacked:
    return _reduce(torch.mean, X, dim, keepdim)


def _reduce(function: Callable[..., Tensor], X: Stacked, dim: Any, keepdim: bool) -> Stacked:
    if dim is None:
        return Stacked(function(X.nodes.flatten(1), 1) if X.dim() else X.nodes)
    inexact(f"{function.__name__} over some dimensions")
    dims = [dim] if isinstance(dim, int) else list(dim)
    return Stacked(function(X.nodes, [_behind(each, X.dim()) for each in dims], keepdim))


# --- losses ---


@rule("cross_entropy")
def _cross_entropy(output: Stacked, target: Stacked, *args: Any, **kwargs: Any) -> Stacked:
    """The mean is summed in another order than torch does for one node; its gradient has the same bits."""
    _only_mean("cross_entropy", target, args, kwargs)
    if output.dim() != 2 or target.dim() != 1:
        raise Unstackable("cross_entropy has a rule for many nodes at once for logits (batch, classes)")
    inexact_loss()
    losses = functional.cross_entropy(output.nodes.flatten(0, 1), target.nodes.flatten(), reduction="none")
    return Stacked(losses.view(target.nodes.shape).mean(1))


@rule("binary_cross_entropy_with_logits")
def _logistic_loss(output: Stacked, target: Stacked, *args: Any, **kwargs: Any) -> Stacked:
    _only_mean("binary_cross_entropy_with_logits", target, args, kwargs)
    return Stacked(LogisticLoss.apply(output.nodes, target.nodes))


@rule("mse_loss")
def _squared_error(output: Stacked, target: Stacked, *args: Any, **kwargs: Any) -> Stacked:
    _only_mean("mse_loss", target, args, kwargs)
    if output.shape != target.shape:
        raise Unstackable(f"mse_loss of {tuple(output.shape)} and {tuple(target.shape)} has no rule for many nodes")
    return Stacked(SquaredError.apply(output.nodes, target.nodes))


def _only_mean(name: str, target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    usual = {"reduction": "mean", "label_smoothing": 0.0, "ignore_index": -100}
    unusual = {key: value for key, value in kwargs.items() if value is not None and usual.get(key) != value}
    if args or unusual or not isinstance(target, Stacked):
        raise Unstackable(f"{name} has a rule for many nodes at once for the plain mean over a node's own batch")


# --- layers ---


@rule("layer_norm")
def _layer_norm(X: Stacked, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Stacked:
    normal = functional.layer_norm(X.nodes, shape, eps=eps)
    return Stacked(_scaled("layer_norm", normal, weight, bias, X.dim() - len(shape)))


@rule("group_norm")
def _group_norm(X: Stacked, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Stacked:
    folded = functional.group_norm(X.nodes.flatten(0, 1), groups, eps=eps)
    channels = (-1, X.shape[1], *[1] * (X.dim() - 2))
    weight, bias = (None if each is None else Stacked(each.nodes.view(channels)) for each in (weight, bias))
    return Stacked(_scaled("group_norm", folded.view(X.nodes.shape), weight, bias, 1))


def _scaled(name: str, normal: Tensor, weight: Any, bias: Any, missing: int) -> Tensor:
    """Times the nodes' own weights, of which `missing` dimensions of the batch come first."""
    for function, each in ((torch.mul, weight), (torch.add, bias)):
        if each is not None:
            inexact(f"{name} with weights")
            own = nodes_of(each)
            normal = function(normal, own.reshape(own.shape[0], *[1] * missing, *own.shape[1:]))
    return normal


@rule("conv2d")
def _conv2d(X: Stacked, weight: Stacked, bias: Any = None, *args: Any, **kwargs: Any) -> Stacked:
    """One convolution with a group of channels for every node."""
    inexact("conv2d")
    options = dict(zip(("stride", "padding", "dilation", "groups"), args, strict=False)) | kwargs
    options["groups"] = X.nodes.shape[0] * options.get("groups", 1)
    own = None if bias is None else bias.nodes.flatten()
    return _as_channels(X, lambda images: functional.conv2d(images, weight.nodes.flatten(0, 1), own, **options))


@rule("max_pool2d")
def _max_pool2d(X: Stacked, *args: Any, **kwargs: Any) -> Stacked:
    return _as_channels(X, lambda images: functional.max_pool2d(images, *args, **kwargs))


def _as_channels(X: Stacked, function: Callable[[Tensor], Tensor]) -> Stacked:
    """Of images whose channels are those of all nodes, (batch, nodes * channels, height, width), these innermost."""
    nodes, batch = X.nodes.shape[:2]
    images = X.nodes.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    found = function(images)
    return Stacked(found.view(batch, nodes, -1, *found.shape[2:]).transpose(0, 1))
