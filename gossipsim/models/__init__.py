"""Models: called with their params, plus `input_shape` and `num_classes` where the signature names them."""

from gossipsim.models.cnn import CNN
from gossipsim.models.matrix import Matrix
from gossipsim.models.mlp import MLP, LogisticRegression
from gossipsim.models.resnet import ResNet18
from gossipsim.models.vector import Vector

__all__ = ["CNN", "MLP", "LogisticRegression", "Matrix", "ResNet18", "Vector"]
