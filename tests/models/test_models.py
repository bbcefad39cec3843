"""Models: shapes, parameter counts, dropout, initial values."""

import pytest
import torch

from gossipsim.models import CNN, MLP, LogisticRegression, ResNet18, Vector

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "build", [LogisticRegression, MLP, CNN, lambda *a: CNN(*a, dropout=0.5), lambda *a: ResNet18(*a, width=8)]
)
def test_logits_and_gradients(build, shape):
    model = build(shape, 10)
    output = model(torch.randn(3, *shape))
    assert output.shape == (3, 10)
    output.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_parameter_counts():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert count(LogisticRegression((1, 28, 28), 10)) == 7850
    assert count(MLP((1, 28, 28), 10, hidden=[128])) == 101_770
    assert count(MLP((4,), 2, hidden=[])) == 10
    assert count(CNN((1, 28, 28), 10)) == 52_266
    assert count(ResNet18((3, 32, 32), 10)) == 11_173_962


@pytest.mark.parametrize("side", range(4, 34))
def test_cnn_fits_every_image_size(side):
    assert CNN((1, side, side + 1), 3)(torch.zeros(1, 1, side, side + 1)).shape == (1, 3)


def test_dropout_acts_in_training_only():
    model = CNN((1, 8, 8), 10, dropout=0.5)
    inputs = torch.randn(4, 1, 8, 8)
    assert not model(inputs).equal(model(inputs))
    model.eval()
    assert model(inputs).equal(model(inputs))


def test_resnet_has_no_running_statistics():
    assert not list(ResNet18((3, 32, 32), 10, width=8).buffers())


def test_vector():
    model = Vector(input_shape=(3,))
    assert model.x.tolist() == [0.0, 0.0, 0.0]
    assert model(torch.ones(5, 3)).shape == (5,)
    assert Vector(2, init=1.5).x.tolist() == [1.5, 1.5]
    start = Vector(2, init=[3.0, 4.0])
    assert start(torch.tensor([[1.0, 2.0]])).tolist() == [11.0]
    assert start.initial_norm("x") == 5.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Vector, "dim must be"),
        (lambda: Vector(0), "dim must be"),
        (lambda: Vector(3, input_shape=(4,)), "dim is 3 but an input of the task has 4"),
        (lambda: Vector(3, init=[1.0, 2.0]), "init must be"),
        (lambda: CNN((5,), 2), "CNN takes images"),
        (lambda: CNN((1, 8, 8), 2, channels=[4]), "channels must be"),
        (lambda: ResNet18((5,), 2), "ResNet18 takes images"),
        (lambda: MLP((5,), 2, hidden=[0]), "hidden must be"),
    ],
)
def test_parameters_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()
