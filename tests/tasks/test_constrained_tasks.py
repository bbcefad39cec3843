"""Lasso, matrix completion, and the optimum over a feasible set."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from gossipsim.models import Matrix
from gossipsim.optim.constraints import L1, L2, NuclearBall
from gossipsim.tasks import LassoTask, MatrixCompletionTask, QuadraticTask


def test_centers_are_the_local_minimisers():
    task = QuadraticTask(centers=[0, 0, 3], nodes=3)
    optimum = task.optimum()
    assert (float(optimum.x), optimum.value) == pytest.approx((1.0, 1.0))
    assert not task.homogeneous
    assert QuadraticTask(centers=[[1.0, 2.0]] * 4).homogeneous
    matrices = QuadraticTask(centers=[[[1, 0], [0, 1]], [[-3, 0], [0, 1]]])
    assert matrices.optimum().x.tolist() == pytest.approx([-1, 0, 0, 1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"centers": [0, 1], "nodes": 3}, "centers has 2 entries, there are 3 nodes"),
        ({"centers": [0, float("nan")]}, "centers must be"),
        ({"centers": [[0], [1, 2]]}, "centers must be"),
        ({"centers": []}, "centers must be"),
        ({"centers": ["a"]}, "centers must be"),
        ({"centers": [1], "path": "x.npz"}, "give one of them"),
        ({"centers": [1], "dim": 3}, "centers brings its own functions"),
    ],
)
def test_centers_that_are_none(params, message):
    with pytest.raises(ValueError, match=message):
        QuadraticTask(**params)


@pytest.mark.parametrize("ball", [L1(1.0), L2(0.7)], ids=repr)
def test_optimum_over_a_ball_against_scipy(ball):
    task = QuadraticTask(dim=4, nodes=3, heterogeneity=3.0)
    found = task.optimum(ball.project)

    def value(x):
        residual = np.einsum("nmd,d->nm", task.A.numpy(), x) - task.b.numpy()
        return 0.5 * float((residual**2).sum()) / 3

    inside = {"type": "ineq", "fun": lambda x: -float(ball.norm(torch.from_numpy(x))) + ball.r}
    if isinstance(ball, L1):  # smooth form: x = p - q with p, q >= 0
        start, bounds = np.zeros(8), [(0, None)] * 8
        sum_constraint = {"type": "ineq", "fun": lambda z: 1.0 - z.sum()}
        solved = minimize(
            lambda z: value(z[:4] - z[4:]), start, bounds=bounds, constraints=[sum_constraint], options={"ftol": 1e-14}
        )
    else:
        solved = minimize(value, np.zeros(4), constraints=[inside], method="SLSQP", options={"ftol": 1e-14})
    assert found.value == pytest.approx(solved.fun, rel=1e-7)
    assert ball.contains(found.x, tol=1e-12)
    # first-order optimality: no point of the ball has a smaller inner product with the gradient
    gradient = torch.einsum("nmd,nm->d", task.A, torch.einsum("nmd,d->nm", task.A, found.x) - task.b) / 3
    assert float(gradient @ found.x + ball.support(-gradient)) < 1e-11


def test_a_set_that_holds_the_optimum_changes_nothing():
    task = QuadraticTask(dim=4, nodes=3)
    assert task.optimum(L2(1e3).project).x.equal(task.optimum().x)


def test_lasso_recovers_the_support():
    task = LassoTask(dim=60, rows=20, sparsity=5, nodes=10, heterogeneity=0.0, measurement_noise=0.02)
    assert float(task.truth.abs().sum()) == 5
    found = task.optimum(L1(5.0).project).x
    assert set(found.abs().topk(5).indices.tolist()) == set(task.truth.nonzero().flatten().tolist())
    assert (found - task.truth).norm() < 0.05
    alone = LassoTask(dim=60, rows=20, sparsity=5, nodes=1, heterogeneity=0.0, measurement_noise=0.02)
    assert alone.A[0].equal(task.A[0])  # a node's data do not depend on how many there are


@pytest.mark.parametrize(
    "params", [{"dim": 0}, {"rows": 0}, {"sparsity": 101}, {"heterogeneity": -1.0}, {"measurement_noise": float("nan")}]
)
def test_lasso_parameters_out_of_range(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        LassoTask(**params)


class TestMatrixCompletion:
    def test_problem(self):
        task = MatrixCompletionTask(rows=30, columns=20, rank=2, observed=0.5, noise=0.0, nodes=4)
        assert torch.linalg.matrix_rank(task.truth) == 2
        assert float(task.truth.square().mean()) == pytest.approx(1.0)
        assert float(torch.linalg.matrix_norm(task.truth, "nuc")) == pytest.approx((2 * 30 * 20) ** 0.5)
        positions, values = task.train.tensors
        assert len(positions) == 300
        assert values.equal(task.truth[positions[:, 0], positions[:, 1]])
        held_out, _ = task.test.tensors
        seen = {tuple(p) for p in positions.tolist()}
        assert not seen & {tuple(p) for p in held_out.tolist()}

    def test_rows_belong_to_one_node(self):
        task = MatrixCompletionTask(rows=30, columns=20, nodes=4)
        rows = [set(task.train.tensors[0][shard, 0].tolist()) for shard in task.shards]
        assert sorted(torch.cat(task.shards).tolist()) == list(range(len(task.train)))
        assert all(not a & b for i, a in enumerate(rows) for b in rows[:i])
        assert not task.homogeneous
        assert MatrixCompletionTask(by="entries").homogeneous

    def test_optimum_over_the_nuclear_ball(self):
        task = MatrixCompletionTask(rows=12, columns=9, rank=2, nodes=3)
        ball = NuclearBall(12.0)
        found = task.optimum(lambda x: ball.project(x.view(12, 9)).reshape(-1))
        assert ball.contains(found.x.view(12, 9), tol=1e-10)
        weights = torch.zeros(12 * 9, dtype=torch.float64)
        positions, values = task.train.tensors
        flat = positions[:, 0] * 9 + positions[:, 1]
        for shard in task.shards:
            weights[flat[shard]] = 1 / (3 * len(shard))
        gradient = torch.zeros(12 * 9, dtype=torch.float64)
        gradient[flat] = weights[flat] * (found.x[flat] - values)
        gap = float(gradient @ found.x + ball.support(-gradient.view(12, 9)))
        assert 0 <= gap + 1e-12 < 1e-10
        assert found.value == pytest.approx(0.5 * float(weights[flat] @ (found.x[flat] - values).square()))
        assert task.optimum() is None

    def test_model_reads_entries(self):
        task = MatrixCompletionTask(rows=8, columns=6, rank=2)
        model = Matrix(8, 6).double()
        with torch.no_grad():
            model.X.copy_(task.truth)
        inputs, targets = task.test.tensors
        assert task.loss_fn(model(inputs), targets).item() < 1e-30

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"rank": 0}, "rank"),
            ({"rank": 41}, "rank"),
            ({"observed": 1.0}, "observed"),
            ({"noise": -1.0}, "noise"),
            ({"by": "columns"}, "by must be"),
            ({"nodes": 61}, "leave node"),
        ],
    )
    def test_parameters_out_of_range(self, params, message):
        with pytest.raises(ValueError, match=message):
            MatrixCompletionTask(**params)


def test_matrix_model():
    model = Matrix(2, 3, init=2.0)
    assert model.initial_norm("X") == pytest.approx(2 * 6**0.5)
    assert model(torch.ones(5, 2, 3)).tolist() == [12.0] * 5
    with pytest.raises(ValueError, match="entries"):
        model(torch.ones(5, 7))
    for wrong in ({"rows": 0, "columns": 1}, {"rows": 2, "columns": 2, "init": [1.0, 2.0]}):
        with pytest.raises(ValueError, match=r"rows and columns|init"):
            Matrix(**wrong)
