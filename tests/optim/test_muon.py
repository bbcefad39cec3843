"""Muon: torch's own to the bit, a numpy reference, which parameters go to which method, state, schedules."""

import copy
import io
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from gossipsim.models import CNN, MLP, LogisticRegression, Vector
from gossipsim.optim.muon import Muon, muon_groups
from gossipsim.spec import build_optimizer

SHAPES = [(16, 8), (8, 16), (10, 10), (3, 1), (1, 7)]


def parameters(shapes, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, dtype=torch.float64, generator=draw).to(dtype)) for shape in shapes]


def gradients(shapes, steps, dtype=torch.float64):
    draw = torch.Generator().manual_seed(7)
    return [
        [torch.randn(shape, dtype=torch.float64, generator=draw).to(dtype) * 10.0 ** (t % 4 - 2) for shape in shapes]
        for t in range(steps)
    ]


def take_steps(optimizer, params, gradients):
    for step in gradients:
        for p, g in zip(params, step, strict=True):
            p.grad = g.clone()
        optimizer.step()


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equals_torch(nesterov, adjust_lr, dtype):
    """To the bit in float32 and float64. In bfloat16 within one unit in the last place of the largest entry a step:
    torch adds a transposed update, and rounds that twice."""
    ours, theirs = parameters(SHAPES, dtype), parameters(SHAPES, dtype)
    options = {"lr": 0.03, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
    steps = gradients(SHAPES, 6, dtype)
    take_steps(Muon(ours, adjust_lr=adjust_lr, ns_dtype="bfloat16", **options), ours, steps)
    take_steps(torch.optim.Muon(theirs, adjust_lr_fn=adjust_lr, **options), theirs, steps)
    for p, q in zip(ours, theirs, strict=True):
        if dtype == torch.bfloat16:
            assert (p - q).abs().max() <= 6 * 2**-8 * q.abs().max()
        else:
            assert p.equal(q)


def reference(start, gradients, lr, momentum, nesterov, weight_decay, factor):
    """The rule as on its first page, by numpy's SVD."""
    W, M = start.copy(), np.zeros_like(start)
    for g in gradients:
        M = momentum * M + (1 - momentum) * g
        U, _, Vh = np.linalg.svd(momentum * M + (1 - momentum) * g if nesterov else M, full_matrices=False)
        W = (1 - lr * weight_decay) * W - lr * factor * U @ Vh
    return W


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (6, 3, 2, 2), (4, 2, 3)], ids=str)
@pytest.mark.parametrize("method", ["svd", "exact_fast"])
def test_against_a_reference_by_svd(nesterov, shape, method):
    """Convolutions are the matrices (out, in * kernel)."""
    rows, columns = shape[0], math.prod(shape[1:])
    for adjust_lr, factor in (
        ("original", max(1, rows / columns) ** 0.5),
        ("match_rms_adamw", 0.2 * max(rows, columns) ** 0.5),
    ):
        (p,) = parameters([shape])
        start = p.detach().numpy().reshape(rows, columns).copy()
        steps = gradients([shape], 8)
        options = {"lr": 0.05, "momentum": 0.8, "nesterov": nesterov, "weight_decay": 0.3}
        take_steps(Muon([p], orthogonalization=method, adjust_lr=adjust_lr, **options), [p], steps)
        expected = reference(start, [g.numpy().reshape(rows, columns) for (g,) in steps], factor=factor, **options)
        assert np.abs(p.detach().numpy().reshape(rows, columns) - expected).max() < 1e-12


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_parameters_take_the_steps_of_torch_adam(weight_decay, dtype):
    shapes = [(7,), (), (3,)]
    ours, theirs = parameters(shapes, dtype), parameters(shapes, dtype)
    adam = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": weight_decay}
    optimizer = Muon(ours, **{f"adam_{name}": value for name, value in adam.items()})
    reference = torch.optim.AdamW(theirs, **adam) if weight_decay else torch.optim.Adam(theirs, **adam)
    steps = gradients(shapes, 10, dtype)
    take_steps(optimizer, ours, steps)
    take_steps(reference, theirs, steps)
    for p, q in zip(ours, theirs, strict=True):
        assert p.equal(q)
        assert {name: value.tolist() for name, value in optimizer.state[p].items()} == {
            name: value.tolist() for name, value in reference.state[q].items()
        }


class Language(nn.Module):
    """Tables, gains of two dimensions, and an output layer that may be tied to the table."""

    def __init__(self, tied=False):
        super().__init__()
        self.tokens = nn.Embedding(11, 4)
        self.inner = nn.Linear(4, 4)
        self.norm = nn.LayerNorm((2, 4))
        self.positions = nn.Parameter(torch.zeros(3, 4))
        self.head = nn.Linear(4, 11, bias=False)
        if tied:
            self.head.weight = self.tokens.weight


def to_muon(model, **options):
    names = {p: name for name, p in model.named_parameters()}
    groups = muon_groups(model, **options)
    assert sorted(names[p] for group in groups for p in group["params"]) == sorted(
        name for name, p in model.named_parameters() if p.requires_grad
    )
    return [names[p] for group in groups if group["use_muon"] for p in group["params"]]


def test_which_parameters_go_to_muon():
    mlp, cnn = MLP((8,), 3, hidden=[5, 4]), CNN((1, 8, 8), 10)
    assert to_muon(mlp) == ["layers.0.weight", "layers.2.weight"]
    assert to_muon(mlp, head=True) == ["layers.0.weight", "layers.2.weight", "layers.4.weight"]
    assert to_muon(cnn) == ["conv1.weight", "conv2.weight", "hidden.weight"]
    assert to_muon(LogisticRegression((8,), 3)) == ["linear.weight"]
    assert to_muon(Language()) == ["positions", "inner.weight"]
    assert to_muon(Language(), head=True) == ["positions", "inner.weight", "head.weight"]
    assert to_muon(Language(tied=True)) == to_muon(Language(tied=True), head=True) == ["positions", "inner.weight"]


def test_frozen_parameters_stay_out():
    model = MLP((8,), 3, hidden=[5, 4])
    model.layers[0].requires_grad_(False)
    model.layers[4].requires_grad_(False)
    assert to_muon(model) == ["layers.2.weight"]  # the frozen layer still is the output layer


def test_a_model_without_matrices_warns():
    with pytest.warns(UserWarning, match="Vector has no matrices"):
        optimizer = Muon.for_model(Vector(3))
    assert [group["use_muon"] for group in optimizer.param_groups] == [False]


def test_for_model_and_the_plain_constructor():
    model = CNN((1, 8, 8), 10)
    chosen = Muon.for_model(model, lr=0.01, adam_lr=0.002)
    assert [(group["lr"], len(group["params"])) for group in chosen.param_groups] == [(0.01, 3), (0.002, 5)]
    assert "betas" not in chosen.param_groups[0]
    assert "momentum" not in chosen.param_groups[1]
    plain = Muon(model.parameters())
    assert [(group["use_muon"], len(group["params"])) for group in plain.param_groups] == [(True, 4), (False, 4)]
    built = build_optimizer({"class": "gossipsim.optim.muon.Muon", "params": {"head": True, "momentum": 0.9}}, model)
    assert [(group["use_muon"], len(group["params"])) for group in built.param_groups] == [(True, 4), (False, 4)]
    assert built.param_groups[0]["momentum"] == 0.9


def test_groups_bring_their_own_options():
    a, b, c, d = parameters([(2, 3), (4,), (5, 6), (7, 8)])
    optimizer = Muon(
        [
            {"params": [a, b], "lr": 0.1, "adam_lr": 0.2},
            {"params": [c], "use_muon": False, "lr": 0.3},
            {"params": d, "momentum": 0.5},
        ],
        lr=0.4,
    )
    groups = [
        (group["use_muon"], group["lr"], [p.shape[0] for p in group["params"]]) for group in optimizer.param_groups
    ]
    assert groups == [(True, 0.1, [2]), (False, 0.2, [4]), (False, 0.3, [5]), (True, 0.4, [7])]
    assert optimizer.param_groups[3]["momentum"] == 0.5
    named = Muon(nn.Linear(2, 3).named_parameters())
    assert [group["param_names"] for group in named.param_groups] == [["weight"], ["bias"]]


def test_schedules_scale_both_methods():
    model = MLP((4,), 2, hidden=[3])
    optimizer = Muon.for_model(model, lr=0.2, adam_lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    params = list(model.parameters())
    before = [p.detach().clone() for p in params]
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.0
    take_steps(optimizer, params, gradients([p.shape for p in params], 1, torch.float32))
    assert all(p.equal(q) for p, q in zip(params, before, strict=True))
    optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 0.2, 0.01
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.005]


def trained(model, optimizer, steps=3, seed=1):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 1, 8, 8, generator=draw)).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def test_state_survives_saving_and_copying():
    torch.manual_seed(0)
    model = CNN((1, 8, 8), 10, channels=[2, 3], hidden=8)
    optimizer = Muon.for_model(model, weight_decay=0.1)
    trained(model, optimizer)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    twin = copy.deepcopy(model)
    loaded = Muon.for_model(twin)
    loaded.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    both = copy.deepcopy((model, optimizer))
    expected = trained(model, optimizer, seed=2)
    assert all(map(torch.equal, trained(twin, loaded, seed=2), expected))
    assert all(map(torch.equal, trained(*both, seed=2), expected))
    both[1].add_param_group({"params": nn.Parameter(torch.zeros(2))})
    assert both[1].param_groups[-1]["betas"] == (0.9, 0.999)


def test_updates_in_place_and_draws_no_random_numbers():
    row = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    params = [nn.Parameter(torch.empty(0)) for _ in range(3)]
    for p, view in zip(params, (row[:12].view(3, 4), row[12:24].view(2, 3, 2), row[24:]), strict=True):
        p.data = view
    before, state = row.clone(), torch.random.get_rng_state()
    take_steps(Muon(params), params, gradients([p.shape for p in params], 2))
    assert torch.random.get_rng_state().equal(state)
    assert (row != before).all()
    assert [p.data_ptr() - row.data_ptr() for p in params] == [0, 96, 192]


def test_a_closure_and_parameters_without_a_gradient():
    weight, bias, unused = parameters([(2, 2), (2,), (3, 3)])
    optimizer = Muon([weight, bias, unused])
    before = unused.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = (weight @ bias).square().sum()
        loss.backward()
        return loss

    first = (weight @ bias).square().sum().item()
    assert optimizer.step(closure).item() == first
    assert optimizer.step(closure).item() < first
    assert unused.equal(before)
    assert unused not in optimizer.state


@pytest.mark.parametrize(("tracked", "end"), [(False, 0.0), (True, 1.0)])
def test_local_steps_then_averages_end_at_the_median_and_tracked_ones_at_the_mean(tracked, end):
    """f_i = (x - b_i)^2/2, b = (0, 0, 3), on the complete graph: why such a method needs gradient tracking."""
    points = [nn.Parameter(torch.full((1, 1), 0.4, dtype=torch.float64)) for _ in range(3)]
    optimizers = [Muon([x], momentum=0.0, orthogonalization="svd") for x in points]
    for t in range(500):
        g = [x.detach() - b for x, b in zip(points, (0.0, 0.0, 3.0), strict=True)]
        mean_gradient = sum(g) / 3
        for x, own, optimizer in zip(points, g, optimizers, strict=True):
            x.grad = mean_gradient if tracked else own
            optimizer.param_groups[0]["lr"] = 1 / (t + 10)
            optimizer.step()
        average = sum(x.detach() for x in points) / 3
        for x in points:
            x.data.copy_(average)
    assert abs(points[0].item() - end) < 4e-3
    assert Muon.lmo_based


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, r"^lr must be a number >= 0, got -1"),
        ({"lr": math.nan}, r"^lr must"),
        ({"momentum": 1.0}, r"^momentum must lie in \[0, 1\), got 1"),
        ({"weight_decay": -0.1}, r"^weight_decay must"),
        ({"orthogonalization": "qr"}, r"^orthogonalization must be one of .*got 'qr'"),
        ({"ns_steps": 0}, r"from 1 to 99, got 0"),
        ({"orthogonalization": "svd", "ns_steps": 5}, r"takes none"),
        ({"ns_dtype": "float16"}, r"^ns_dtype must be one of float32, float64, bfloat16"),
        ({"orthogonalization": "svd", "ns_dtype": "bfloat16"}, r"in float32 or float64"),
        ({"adjust_lr": "none"}, r"^adjust_lr must be"),
        ({"adam_lr": -1.0}, r"^adam_lr must"),
        ({"adam_betas": (0.9, 1.0)}, r"^adam_betas must be two numbers"),
        ({"adam_eps": -1e-8}, r"^adam_eps must"),
        ({"adam_weight_decay": -1.0}, r"^adam_weight_decay must"),
    ],
    ids=str,
)
def test_wrong_options_are_named(options, message):
    for params in (parameters([(2, 2)]), parameters([(2,)])):
        with pytest.raises(ValueError, match=message):
            Muon(params, **options)


def test_wrong_groups_are_named():
    with pytest.raises(ValueError, match="a number is no matrix"):
        Muon([{"params": parameters([()]), "use_muon": True}])
    with pytest.raises(ValueError, match=r"^momentum must"):
        Muon([{"params": parameters([(2, 2)]), "momentum": 2.0}])
    with pytest.raises(ValueError, match="a list, not a set"):
        Muon([{"params": set(parameters([(2, 2)]))}])
    with pytest.raises(ValueError, match=r"^betas: no option .* use_muon=True; its options are lr, momentum"):
        Muon([{"params": parameters([(2, 2), (2,)]), "betas": (0.5, 0.9)}])
    with pytest.raises(ValueError, match=r"^adam_lr, momentum: no option .* use_muon=False; its options are lr, betas"):
        Muon([{"params": parameters([(2,)]), "use_muon": False, "momentum": 0.9, "adam_lr": 0.1}])
    with pytest.raises(ValueError, match=r"^lr: the parameter group has no matrix: say use_muon"):
        Muon([{"params": parameters([(2,)]), "lr": 0.1}])
    with pytest.raises(ValueError, match=r"^adam_lr: the parameter group has no parameter for Adam: say use_muon"):
        Muon([{"params": parameters([(2, 2)]), "adam_lr": 0.1}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Muon.for_model(LogisticRegression((4,), 2))
