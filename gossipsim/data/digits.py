"""The handwritten digits of the package: 1797 images of 8 x 8, so that a run needs neither files nor network.

Source: the test set of Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998; UCI
repository, CC BY 4.0), as in scikit-learn's copy (BSD 3-clause); DIGITS.md has the attribution in full.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
import torch
from torch import Tensor


def digits() -> tuple[Tensor, Tensor]:
    """Images (1797, 8, 8) of values 0..16 and labels (1797,) 0..9, both int64, in the order of the source.

    >>> images, labels = digits()
    >>> tuple(images.shape), int(images.max()), labels[:5].tolist()
    ((1797, 8, 8), 16, [0, 1, 2, 3, 4])
    """
    with (
        resources.files("gossipsim.data").joinpath("digits.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as arrays,
    ):
        images, labels = arrays["images"], arrays["labels"]
    return torch.from_numpy(images.astype(np.int64)), torch.from_numpy(labels.astype(np.int64))
