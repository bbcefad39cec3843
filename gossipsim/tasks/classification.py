"""Image classification: cross-entropy and accuracy; the handwritten digits that need no files."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gossipsim.data.digits import digits
from gossipsim.streams import generator
from gossipsim.tasks.task import InMemory, check_sizes


def accuracy(output: Tensor, target: Tensor) -> float:
    """Fraction of rows of `output` (batch, classes) whose largest entry is at `target` (batch,)."""
    return float((output.argmax(dim=1) == target).double().mean())


class Classification(InMemory):
    """Mean cross-entropy of logits (batch, num_classes) against class indices (batch,); metric `accuracy`."""

    def loss_fn(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy of a batch."""
        return functional.cross_entropy(output, target)

    def metrics_fn(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """The fraction of a batch that is classified correctly."""
        return {"accuracy": accuracy(output, target)}


class DigitsSupervisedTask(Classification):
    """Handwritten digits of 8 x 8 pixels, 10 classes, part of the package: 1797 samples in [0, 1], (1, 8, 8).

    One fixed permutation, the same for every seed and size, deals the samples: the first `test_size` are the
    test set, the next `val_size` the validation set, the next `train_size` the training set.
    Source: UCI optical recognition of handwritten digits (E. Alpaydin, C. Kaynak; CC BY 4.0), data/DIGITS.md.

    Raises:
        ValueError: when the sizes add up to more than 1797.

    >>> DigitsSupervisedTask().split
    {'train': 1297, 'val': 200, 'test': 300}
    """

    def __init__(self, train_size: int = 1297, val_size: int = 200, test_size: int = 300) -> None:
        images, labels = digits()
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        check_sizes(sizes)
        if sum(sizes.values()) > len(labels):
            raise ValueError(
                f"train_size + val_size + test_size = {train_size} + {val_size} + {test_size} is more than the "
                f"{len(labels)} digits there are: ask for fewer"
            )
        inputs = images.unsqueeze(1).to(torch.float32) / 16
        order = torch.randperm(len(labels), generator=generator(0, None, "digits split"))
        test, val = order[:test_size], order[test_size : test_size + val_size]
        train = order[test_size + val_size :][:train_size]
        super().__init__((inputs[train], labels[train]), (inputs[val], labels[val]), (inputs[test], labels[test]), 10)
