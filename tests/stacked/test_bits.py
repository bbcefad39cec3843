"""Every rule for many nodes at once gives each node the bits that it gets alone: outputs and gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gossipsim.models import CNN, MLP, LogisticRegression, Matrix, ResNet18, Vector
from gossipsim.stacked import Stacked, Unstackable, aligned, nodes_of, padded, stack_exactly
from gossipsim.stacked.memory import is_aligned
from gossipsim.stacked.products import product, vector_product
from gossipsim.tasks import LogisticTask

DTYPES = (torch.float32, torch.float64)
LOGISTIC = LogisticTask(samples=10, dim=3)
Loss = Callable[[Tensor, Tensor], Tensor]


def _random(*shape: int, dtype: torch.dtype, gap: int = 0) -> Tensor:
    """(n, ...) of which each begins aligned, or `gap` entries behind that."""
    size = torch.Size(shape[1:]).numel()
    store = padded((shape[0], size + gap), torch.empty(0, dtype=dtype))
    found = store[:, gap:].view(shape) if len(shape) > 1 else store.view(shape)
    return found.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("gap", [0, 3])  # where parameters begin in a row
def test_products_are_those_of_one_node(dtype: torch.dtype, n: int, gap: int) -> None:
    for batch in (1, 2, 3, 8, 33):
        for before, after in ((1, 1), (5, 1), (57, 1), (500, 1), (13, 2), (64, 31), (57, 10)):
            X, G = _random(n, batch, before, dtype=dtype), _random(n, batch, after, dtype=dtype)
            W, b = _random(n, after, before, dtype=dtype, gap=gap), _random(n, after, dtype=dtype, gap=gap)
            with_bias, without = product(X, W.transpose(1, 2), b), product(X, W.transpose(1, 2))
            to_inputs, to_weights = product(G, W), product(G.transpose(1, 2), X)
            for k in range(n):
                x, g = X[k].clone(), G[k].clone()
                assert torch.equal(with_bias[k], functional.linear(x, W[k], b[k])), (batch, before, after)
                assert torch.equal(without[k], functional.linear(x, W[k])), (batch, before, after)
                assert torch.equal(to_inputs[k], g @ W[k]), (batch, before, after)
                assert torch.equal(to_weights[k], g.t() @ x), (batch, before, after)
                if after == 1:
                    assert torch.equal(vector_product(X, W[:, 0])[k], x @ W[k, 0])
                    assert torch.equal(vector_product(X.transpose(1, 2), G[:, :, 0])[k], x.t() @ g[:, 0])


def test_rows_of_any_length_begin_aligned() -> None:
    for shape in ((3, 5), (4, 16), (2, 7, 3), (1, 1)):
        for gap in (False, True):
            X = padded(shape, torch.empty(0), gap=gap)
            assert is_aligned(X)
            assert X.shape == shape
    unaligned = torch.randn(3, 5)
    assert not is_aligned(unaligned)
    assert torch.equal(aligned(unaligned), unaligned)
    assert aligned(X) is X


def _chain(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: copy.deepcopy(nn.Sequential(nn.Flatten(), *layers))


def _classes(n: int, batch: int, dtype: torch.dtype) -> Tensor:
    return torch.randint(0, 10, (n, batch), generator=torch.Generator().manual_seed(1))


def _signs(n: int, batch: int, dtype: torch.dtype) -> Tensor:
    return torch.randint(0, 2, (n, batch), generator=torch.Generator().manual_seed(1))


def _numbers(n: int, batch: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(n, batch, generator=torch.Generator().manual_seed(1), dtype=dtype)


def _least_squares(output: Tensor, target: Tensor) -> Tensor:
    return 10 / 2 * (output.reshape(target.shape) - target).square().mean()


IMAGE = (1, 8, 8)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Loss, Any, bool]] = {
    # model, shape of an input, loss, targets, whether losses are equal too (the mean of torch's cross-entropy is
    # summed in an order of its own)
    "logistic regression": (lambda: LogisticRegression(IMAGE, 10), IMAGE, functional.cross_entropy, _classes, False),
    "MLP": (lambda: MLP(IMAGE, 10, hidden=[31, 7]), IMAGE, functional.cross_entropy, _classes, False),
    "wide MLP": (lambda: MLP((1, 28, 28), 10), (1, 28, 28), functional.cross_entropy, _classes, False),
    "vector": (lambda: Vector(57), (57,), LOGISTIC.loss_fn, _signs, True),
    "two logits": (lambda: LogisticRegression((57,), 2), (57,), LOGISTIC.loss_fn, _signs, False),
    "short vector": (lambda: Vector(5), (5,), _least_squares, _numbers, True),
    "long vector": (lambda: Vector(500), (500,), _least_squares, _numbers, True),
    "matrix": (lambda: Matrix(4, 6), (4, 6), _least_squares, _numbers, True),
    "mse": (lambda: nn.Sequential(nn.Linear(13, 1), nn.Flatten(0)), (13,), nn.MSELoss(), _numbers, True),
    "norm": (
        _chain(nn.Linear(64, 31), nn.LayerNorm(31, elementwise_affine=False), nn.ReLU(inplace=True), nn.Linear(31, 10)),
        IMAGE,
        nn.CrossEntropyLoss(),
        _classes,
        False,
    ),
} | {
    kind.__name__: (
        _chain(nn.Linear(64, 31), kind(), nn.Linear(31, 10)),
        IMAGE,
        functional.cross_entropy,
        _classes,
        False,
    )
    for kind in (nn.Tanh, nn.Sigmoid, nn.ELU, nn.SiLU, nn.Softplus, nn.LeakyReLU, nn.Hardtanh, nn.ReLU6, nn.LogSigmoid)
}


class _Bench:
    """n nodes with a model each, as rows; evaluated at once or one by one."""

    def __init__(self, make: Callable[[], nn.Module], shape: tuple[int, ...], loss: Loss, targets: Any) -> None:
        self.make, self.shape, self.loss, self.targets = make, shape, loss, targets

    def compare(self, n: int, batch: int, dtype: torch.dtype) -> tuple[list[Any], list[Any]]:
        """(gradients, loss, output) per node: at once, and one by one."""
        torch.manual_seed(0)
        model = self.make().to(dtype)
        own = list(model.parameters())
        rows = [_random(n, *p.shape, dtype=dtype) * 0.3 for p in own]
        rows = [aligned(row) for row in rows]
        inputs = _random(n, batch, *self.shape, dtype=dtype)
        targets = self.targets(n, batch, dtype)
        alone = []
        for k in range(n):
            for p, row in zip(own, rows, strict=True):
                p.data = row[k]
            output = model(inputs[k].clone())
            loss = self.loss(output, targets[k].clone())
            alone.append(([g.contiguous() for g in torch.autograd.grad(loss, own)], loss.detach(), output.detach()))
        leaves = [row.detach().requires_grad_() for row in rows]
        stacked = dict(zip(map(id, own), leaves, strict=True))
        for module in model.modules():
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = Stacked(stacked[id(p)])  # type: ignore[assignment]
        output = model(Stacked(inputs))
        loss = nodes_of(self.loss(output, Stacked(targets)))
        gradients = torch.autograd.grad(loss, leaves, torch.ones_like(loss))
        at_once = [([g[k] for g in gradients], loss[k], nodes_of(output)[k]) for k in range(n)]
        return at_once, alone


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_gradients_have_the_bits_of_one_node(case: str, dtype: torch.dtype) -> None:
    *parts, equal_losses = CASES[case]
    for n in (1, 2, 7):
        for batch in (1, 3, 32, 33):
            with stack_exactly() as exactness:
                at_once, alone = _Bench(*parts).compare(n, batch, dtype)
            assert exactness.losses == equal_losses
            for (found, loss, output), (expected, own_loss, own_output) in zip(at_once, alone, strict=True):
                assert torch.equal(output, own_output), (n, batch)
                assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), (n, batch)
                assert torch.equal(loss, own_loss) or not equal_losses, (n, batch)


@pytest.mark.parametrize("model", [lambda: CNN(IMAGE, 10), lambda: ResNet18(IMAGE, 10, width=4)])
def test_convolutions_agree_to_rounding_and_are_refused_where_bits_count(model: Callable[[], nn.Module]) -> None:
    bench = _Bench(model, IMAGE, functional.cross_entropy, _classes)
    at_once, alone = bench.compare(3, 5, torch.float64)
    for (found, loss, _), (expected, own_loss, _) in zip(at_once, alone, strict=True):
        assert loss.item() == pytest.approx(own_loss.item(), rel=1e-12)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    with stack_exactly(), pytest.raises(Unstackable, match="conv2d has other bits"):
        bench.compare(3, 5, torch.float64)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(0.5), "dropout draws"),
        (nn.GELU(), "gelu has no rule"),
        (nn.Softmax(dim=1), "softmax has no rule"),
        (nn.LayerNorm(64), "layer_norm with weights has other bits"),
    ],
)
def test_what_has_no_rule_is_told(layer: nn.Module, message: str) -> None:
    bench = _Bench(_chain(layer, nn.Linear(64, 10)), IMAGE, functional.cross_entropy, _classes)
    with stack_exactly(), pytest.raises(Unstackable, match=message):
        bench.compare(2, 4, torch.float32)


def test_it_looks_like_a_tensor_of_one_node() -> None:
    X = Stacked(torch.randn(5, 3, 4))
    assert (X.shape, X.dim(), X.size(1), len(X), X.numel(), X.dtype) == ((3, 4), 2, 4, 3, 12, torch.float32)
    with pytest.raises(Unstackable, match="the property T has no rule"):
        _ = X.T
    assert nodes_of((X + 1 - 2 * X) / 4).shape == (5, 3, 4)
