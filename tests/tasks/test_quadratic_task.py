"""Quadratics: gradients by autograd against A^T (A x - b), optimum, noise, files."""

import numpy as np
import pytest
import torch

from gossipsim.models import MLP, Vector
from gossipsim.tasks import InMemory, QuadraticTask, Task


def gradient(task: QuadraticTask, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    model = Vector(input_shape=task.input_shape).double()
    with torch.no_grad():
        model.x.copy_(x)
    inputs, targets = task.train[rows]
    task.loss_fn(model(inputs), targets).backward()
    assert model.x.grad is not None
    return model.x.grad


def test_gradient_on_a_shard_and_on_a_batch():
    task = QuadraticTask(dim=4, nodes=3)
    x = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for i, shard in enumerate(task.shards):
        A, b = task.A[i], task.b[i]
        assert gradient(task, x, shard) == pytest.approx(A.T @ (A @ x - b), abs=1e-12)
        batch = torch.tensor([2, 0])
        expected = len(A) / 2 * A[batch].T @ (A[batch] @ x - b[batch])
        assert gradient(task, x, shard[batch]) == pytest.approx(expected, abs=1e-12)


def test_loss_on_a_shard_is_half_the_squared_residual():
    task = QuadraticTask(dim=4, nodes=3)
    x = torch.randn(4, dtype=torch.float64)
    inputs, targets = task.train[task.shards[1]]
    expected = 0.5 * (task.A[1] @ x - task.b[1]).square().sum()
    assert float(task.loss_fn(inputs @ x, targets)) == pytest.approx(float(expected))


def test_optimum_is_the_minimiser_of_the_mean():
    task = QuadraticTask(dim=5, nodes=4, heterogeneity=3.0)
    optimum = task.optimum()
    residual = torch.einsum("nmd,d->nm", task.A, optimum.x) - task.b
    assert torch.einsum("nmd,nm->d", task.A, residual).norm() < 1e-12
    assert optimum.value == pytest.approx(float(residual.square().sum() / 8))
    assert optimum.x.dtype == torch.float64


def test_generated_problems():
    task = QuadraticTask(dim=6, nodes=3, condition=50.0, heterogeneity=2.0)
    for A in task.A:
        eigenvalues = torch.linalg.eigvalsh(A.T @ A)
        assert float(eigenvalues[0]) == pytest.approx(1 / 50)
        assert float(eigenvalues[-1]) == pytest.approx(1.0)
    assert task.A.equal(QuadraticTask(dim=6, nodes=3, condition=50.0, heterogeneity=2.0).A)
    larger = QuadraticTask(dim=6, nodes=5, condition=50.0, heterogeneity=2.0)
    assert larger.b[:3].equal(task.b)
    assert not QuadraticTask(dim=6, nodes=3, seed=1).A.equal(QuadraticTask(dim=6, nodes=3).A)

    def spread(heterogeneity):
        task = QuadraticTask(dim=6, nodes=30, heterogeneity=heterogeneity)
        local = torch.linalg.solve(task.A, task.b)
        return float((local - local.mean(dim=0)).norm(dim=1).mean())

    assert spread(0.0) < 1e-12
    assert spread(4.0) == pytest.approx(2 * spread(2.0))


def test_noise():
    assert QuadraticTask(nodes=2).gradient_noise is None
    noise = QuadraticTask(nodes=2, noise=0.5).gradient_noise
    assert noise is not None
    like = torch.zeros(20_000, dtype=torch.float32)
    draw = noise(torch.Generator().manual_seed(0), like)
    assert draw.dtype == torch.float32
    assert float(draw.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(float(draw.mean())) < 0.02


def test_from_a_file(tmp_path):
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5))
    file = tmp_path / "problem.npz"
    np.savez(file, A=A, b=b)
    task = QuadraticTask(path=str(file), nodes=3)
    assert task.input_shape == (2,)
    assert [len(shard) for shard in task.shards] == [5, 5, 5]
    assert np.allclose(task.optimum().x, np.linalg.lstsq(A.reshape(15, 2), b.reshape(15), rcond=None)[0])
    with pytest.raises(ValueError, match=r"holds 3 functions, there are 4 nodes: set network.nodes to 3"):
        QuadraticTask(path=str(file), nodes=4)
    with pytest.raises(ValueError, match="leave out dim"):
        QuadraticTask(path=str(file), dim=3)


@pytest.mark.parametrize(
    "arrays",
    [
        {"A": np.ones((2, 3, 4))},
        {"A": np.ones((2, 3)), "b": np.ones(2)},
        {"A": np.ones((2, 3, 4)), "b": np.ones((3, 2))},
        {"A": np.full((1, 1, 1), np.nan), "b": np.ones((1, 1))},
    ],
)
def test_files_with_other_contents(tmp_path, arrays):
    file = tmp_path / "bad.npz"
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"^path: "):
        QuadraticTask(path=str(file))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        QuadraticTask(path=str(tmp_path / "absent.npz"))
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(ValueError, match="is not an"):
        QuadraticTask(path=str(tmp_path / "text.npz"))


@pytest.mark.parametrize("params", [{"noise": -1}, {"condition": 0.5}, {"heterogeneity": -1}, {"dim": 0}, {"nodes": 0}])
def test_parameters_out_of_range(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        QuadraticTask(**params)


def test_other_models_do_not_broadcast_silently():
    task = QuadraticTask(dim=3, nodes=2)
    inputs, targets = (t.float() for t in task.train.tensors)
    output = MLP(task.input_shape, task.num_classes)(inputs)
    assert output.shape == (6, 1)
    expected = task.rows / 2 * (output[:, 0] - targets).square().mean()
    assert task.loss_fn(output, targets).item() == pytest.approx(expected.item())


def test_protocol():
    task = QuadraticTask()
    assert isinstance(task, Task)
    assert isinstance(task, InMemory)
    assert task.split == {"train": 10, "val": 0, "test": 0}
    with pytest.raises(ValueError, match="no validation set"):
        task.val_loader(4)
