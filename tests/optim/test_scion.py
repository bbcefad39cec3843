"""Scion: the published rule on an MLP and a CNN, feasibility in training, Muon as a special case, recipes."""

import copy
import io
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gossipsim.models import CNN, MLP, LogisticRegression, Vector
from gossipsim.optim.constraints import L2, ByShape, ColumnNormBall, Linf, RowNormBall, SpectralBall, Unconstrained
from gossipsim.optim.muon import Muon
from gossipsim.optim.scion import Scion, UnconstrainedScion, scion_set, scion_sets
from gossipsim.spec import build_optimizer
from gossipsim.tasks import DigitsSupervisedTask


def polar(matrix):
    """U V^T without what is only rounding: behind a normalised layer a gradient is never of full rank."""
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return (U * (s > 1e-10 * s[0])) @ Vh


def published_lmo(name, d, *, radius, output_radius, mlp):
    """The table of the paper (d_out = rows), for a model whose output layer is called `output` or `layers.4`."""
    if d.ndim == 1:
        return -radius * d / (d.square().mean().sqrt())
    if name in ("output.weight", "layers.4.weight"):
        return -output_radius * torch.sign(d) / d.shape[1]
    if d.ndim == 4:
        rows, columns, k, _ = d.shape
        return -radius * math.sqrt(rows / columns) / k**2 * polar(d.reshape(rows, -1)).reshape(d.shape)
    gain = math.sqrt(d.shape[0] / d.shape[1])
    return -radius * (max(1.0, gain) if mlp and name == "layers.0.weight" else gain) * polar(d)


def loss_of(model, seed):
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(200, 1, 8, 8, dtype=torch.float64, generator=draw)
    return functional.cross_entropy(model(inputs), torch.randint(0, 4, (200,), generator=draw))


def reference_run(model, start, steps, gamma, alpha, constrained, **radii):
    """W <- (1 - gamma) W + gamma lmo(d) with d <- (1 - alpha) d + alpha g, from the formulas of the paper."""
    weights = {name: w.clone() for name, w in start.items()}
    d = {name: torch.zeros_like(w) for name, w in start.items()}
    for step in range(steps):
        model.load_state_dict(weights)
        gradients = torch.autograd.grad(loss_of(model, step), list(model.parameters()))
        for name, g in zip(start, gradients, strict=True):
            d[name] = (1 - alpha) * d[name] + alpha * g
            shrink = 1 - gamma if constrained else 1.0
            weights[name] = shrink * weights[name] + gamma * published_lmo(name, d[name], **radii)
    return weights


@pytest.mark.parametrize("kind", [Scion, UnconstrainedScion])
@pytest.mark.parametrize("method", ["svd", "exact_fast"])
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_against_the_published_rule(kind, method, architecture):
    torch.manual_seed(0)
    if architecture == "mlp":
        model = MLP((1, 8, 8), 4, hidden=[96, 12]).double()
    else:
        model = CNN((1, 8, 8), 4, channels=[5, 6], hidden=12).double()
    radii = {"radius": 2.0, "output_radius": 30.0}
    optimizer = kind.for_model(model, lr=0.03, momentum=0.7, method=method, **radii)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = reference_run(
        copy.deepcopy(model), start, 12, 0.03, 0.3, kind is Scion, mlp=architecture == "mlp", **radii
    )
    for step in range(12):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
    for name, p in model.named_parameters():
        assert (p - expected[name]).abs().max() < 1e-10
    assert optimizer.lmo_calls == 12 * len(start)


def train_on_digits(make, epochs=5):
    """The largest violation relative to the radius on the way, of iterates and of oracle answers; the accuracy."""
    torch.manual_seed(0)
    task = DigitsSupervisedTask()
    (inputs, targets), (unseen, answers) = task.train.tensors, task.test.tensors
    model = CNN((1, 8, 8), 10)
    optimizer = make(model)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, epochs * 41)
    iterates = oracle = 0.0
    for _ in range(epochs):
        for k, batch in enumerate(torch.randperm(len(targets)).split(32)):
            optimizer.zero_grad()
            task.loss_fn(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()
            for p, one in optimizer.constraints() if k % 10 == 0 else []:
                iterates = max(iterates, one.violation(p.detach()) / one.r)
                oracle = max(oracle, one.violation(one.lmo(optimizer.state[p]["momentum"])) / one.r)
    with torch.no_grad():
        return iterates, oracle, float((model(unseen).argmax(1) == answers).float().mean())


def test_exact_orthogonalisation_stays_feasible_in_training_and_newton_schulz_does_not():
    def small_balls(method):
        sets = ByShape(SpectralBall(1.0, method), L2(1.0))
        return lambda model: Scion.for_model(model, sets, lr=2**-3, momentum=0.9)

    for method in ("svd", "exact_fast"):
        iterates, oracle, accuracy = train_on_digits(small_balls(method))
        assert iterates <= 1e-6
        assert oracle <= 5e-6
        assert accuracy > 0.95
    iterates, oracle, _ = train_on_digits(small_balls("newton_schulz"))
    assert iterates > 0.03
    assert oracle > 0.15


def test_the_recipe_learns_the_digits():
    iterates, _, accuracy = train_on_digits(lambda model: Scion.for_model(model, momentum=0.5))
    assert iterates <= 1e-6
    assert accuracy > 0.95


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 3, 3, 3)], ids=str)
@pytest.mark.parametrize("method", ["svd", "exact_fast"])
def test_is_muon_with_weight_decay(shape, method):
    """gamma = lr wd and rho = c/wd, with the same exact orthogonalisation and without Nesterov momentum."""
    lr, decay = 0.02, 0.5
    draw = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(shape, dtype=torch.float64, generator=draw) / 10)
    theirs = nn.Parameter(ours.detach().clone())
    c = math.sqrt(max(1, shape[0] / math.prod(shape[1:])))
    scion = Scion([ours], SpectralBall(c / decay, method), lr=lr * decay, momentum=0.9)
    muon = Muon([theirs], lr=lr, momentum=0.9, nesterov=False, weight_decay=decay, orthogonalization=method)
    for _ in range(200):
        ours.grad = torch.randn(shape, dtype=torch.float64, generator=draw)
        theirs.grad = ours.grad.clone()
        scion.step()
        muon.step()
    assert (ours - theirs).abs().max() < 1e-13
    assert ours.norm() > 1


def test_sets_by_role_and_recipe():
    mlp = MLP((1, 4, 4), 10, hidden=[64, 8])
    assert scion_sets(mlp) == [
        SpectralBall(2.0, "exact_fast"),  # max(1, sqrt(64/16))
        L2(8.0),
        SpectralBall(math.sqrt(8 / 64), "exact_fast"),
        L2(math.sqrt(8)),
        Linf(1024 / 8),
        L2(math.sqrt(10)),
    ]
    assert scion_sets(MLP((1, 8, 8), 10, hidden=[16]))[0] == SpectralBall(1.0, "exact_fast")
    cnn = CNN((1, 8, 8), 10, channels=[4, 9], hidden=6)
    weights = scion_sets(cnn, method="svd")[::2]
    assert weights[:2] == [SpectralBall(8 * 2 / 25, "svd"), SpectralBall(8 * 1.5 / 9, "svd")]
    assert weights[2] == SpectralBall(8 * math.sqrt(6 / 36), "svd")
    assert weights[3] == Linf(128 / 6)
    assert scion_sets(LogisticRegression((8,), 3), output_radius=4.0) == [Linf(0.5), L2(math.sqrt(3))]
    assert scion_sets(Vector(4), radius=3.0) == [L2(6.0)]


class Language(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.tokens = nn.Embedding(12, 4)
        self.inner = nn.Linear(4, 16, bias=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(4, 12, bias=False)
        if tied:
            self.head.weight = self.tokens.weight


def test_transformers_and_tied_weights():
    inner, gains = SpectralBall(100.0, "exact_fast"), L2(200.0)
    assert scion_sets(Language(tied=False)) == [RowNormBall(100.0), inner, gains, gains, Linf(750.0)]
    assert scion_sets(Language(tied=True)) == [Linf(750.0), inner, gains, gains]
    other = scion_sets(
        Language(tied=False), recipe="mlp", radius=2.0, norms={"embedding": "ColNorm", "output": "RowNorm"}
    )
    assert other == [
        ColumnNormBall(2 * math.sqrt(12)),
        SpectralBall(4.0, "exact_fast"),
        L2(8.0),
        L2(8.0),
        RowNormBall(512.0),
    ]


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 3, 3, 3)], ids=str)
@pytest.mark.parametrize("norm", ["Spectral", "SpectralMax", "Sign", "ColNorm", "RowNorm", "Embedding", "BiasRMS"])
def test_radii_are_the_published_scales(norm, shape):
    """Of the reference's updates at radius 1, all of which have entries of the size that keeps activations O(1)."""
    g = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = shape[0], math.prod(shape[1:])
    matrix = g.reshape(rows, columns)
    gain = math.sqrt(shape[0] / shape[1]) / math.prod(shape[2:])
    expected = {
        "Spectral": gain * polar(matrix),
        "SpectralMax": max(1.0, gain) * polar(matrix),
        "Sign": matrix.sign() / columns,
        "ColNorm": math.sqrt(rows) * matrix / matrix.norm(dim=0, keepdim=True),
        "RowNorm": matrix / matrix.norm(dim=1, keepdim=True) / math.sqrt(columns),
        "Embedding": math.sqrt(columns) * matrix / matrix.norm(dim=1, keepdim=True),
        "BiasRMS": matrix / matrix.square().mean().sqrt(),
    }[norm]
    assert (scion_set(norm, shape).lmo(g).reshape(rows, columns) + expected).abs().max() < 1e-12
    assert (scion_set(norm, shape, 7.0).lmo(g).reshape(rows, columns) + 7 * expected).abs().max() < 1e-11


def test_gap_start_and_constraints():
    torch.manual_seed(0)
    model = MLP((1, 8, 8), 4, hidden=[5])
    with torch.no_grad():
        model.layers[0].weight.mul_(100)
    free = copy.deepcopy(model)
    constrained, unconstrained = Scion.for_model(model), UnconstrainedScion.for_model(free)
    assert constrained.feasibility < 1e-6  # the start is projected
    assert model.layers[0].weight.norm() < free.layers[0].weight.norm() / 10
    assert unconstrained.constraints() == []
    assert unconstrained.feasibility == 0
    for m, optimizer in ((model, constrained), (free, unconstrained)):
        assert optimizer.lmo_based
        assert math.isnan(optimizer.fw_gap)
        loss_of(m.double(), 0).backward()
        optimizer.step()
    assert math.isnan(unconstrained.fw_gap)
    d = {p: optimizer.state[p]["momentum"] for optimizer in (constrained,) for p in model.parameters()}
    assert constrained.fw_gap > 0
    assert all((d[p] - 0.1 * p.grad).abs().max() < 1e-15 for p in model.parameters())  # from zero, 1 - momentum of g


def test_unconstrained_parameters_take_gradient_steps():
    x, y = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = Scion(
        [{"params": [x], "constraint": Unconstrained()}, {"params": [y]}], Linf(1.0), lr=0.5, momentum=0.0
    )
    x.grad = y.grad = torch.tensor([1.0, -2.0], dtype=torch.float64)
    optimizer.step()
    assert x.tolist() == [0.5, 2.0]
    assert y.tolist() == [0.0, 1.0]
    assert optimizer.lmo_calls == 1


def test_schedules_and_saved_state():
    torch.manual_seed(0)
    model = CNN((1, 8, 8), 4, channels=[2, 3], hidden=8).double()
    optimizer = Scion.for_model(model, lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def run(model, optimizer, seeds):
        for seed in seeds:
            optimizer.zero_grad()
            loss_of(model, seed).backward()
            optimizer.step()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    run(model, optimizer, [0, 1])
    schedule.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    twin = copy.deepcopy(model)
    loaded = Scion.for_model(twin)
    loaded.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert loaded.param_groups[0]["lr"] == 0.05
    both = copy.deepcopy((model, optimizer))
    expected = run(model, optimizer, [2, 3])
    assert run(twin, loaded, [2, 3]).equal(expected)
    assert run(*both, [2, 3]).equal(expected)
    assert loaded.lmo_calls == optimizer.lmo_calls == 32


def test_from_a_configuration():
    model = CNN((1, 8, 8), 10)
    spec = {"class": "gossipsim.optim.scion.Scion", "params": {"recipe": "cnn", "radius": 4.0, "momentum": 0.5}}
    optimizer = build_optimizer(spec, model)
    assert [one for _, one in optimizer.constraints()] == scion_sets(model, radius=4.0)
    assert [p for p, _ in optimizer.constraints()] == list(model.parameters())
    given = Scion.for_model(model, Linf(1.0), lr=0.1)
    assert {one for _, one in given.constraints()} == {Linf(1.0)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 1.5}, r"^lr must lie in \[0, 1.0\], got 1.5"),
        ({"lr": math.nan}, r"^lr must"),
        ({"momentum": 1.0}, r"^momentum must lie in \[0, 1\), got 1.0: it is the weight of the old value"),
        ({"recipe": "rnn"}, r"^recipe must be one of 'auto', 'mlp', 'cnn', 'transformer', got 'rnn'"),
        ({"norms": {"head": "Sign"}}, r"^norms: a role is one of 'input', .* 'vector', got 'head'"),
        ({"norms": {"hidden": "Max"}}, r"^norms: the norm of 'hidden' must be one of 'Spectral', .* got 'Max'"),
        ({"norms": {"vector": "Sign"}}, r"^norm 'Sign' is for matrices"),
        ({"radius": -1.0}, r"^radius must be a number above 0"),
        ({"method": "qr"}, r"^method must be one of 'svd'"),
        ({"constraint": Linf(1.0), "radius": 2.0}, r"^constraint: sets are given"),
    ],
    ids=str,
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Scion.for_model(MLP((4,), 2, hidden=[3]), **options)
