"""MNIST, FashionMNIST and CIFAR-10 as classification tasks, from files in torchvision's layout below `root`.

The training set is the first `train_size` images of the training file. Validation and test sets come from the
10,000-image file: `test_size` images evenly spaced over it are the test set, `val_size` evenly spaced over
the rest the validation set. Not the first ones: MNIST's first 5,000 are harder than its last (a CNN has 98.2
% of them right and 99.5 % of the others). Where the two sets together want more than there is, the test set
keeps its size and the validation set shrinks: 60,000/10,000/1,000 gives 60,000/9,000/1,000. `split` holds the
sizes in force, `requested_split` those asked for. Images are float32, normalised with the mean and standard
deviation of the training file's pixels.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossipsim.tasks.classification import Classification
from gossipsim.tasks.files import MissingDataError, data_root, ensure
from gossipsim.tasks.task import check_sizes

Arrays = tuple[Tensor, Tensor]

_REMOVE = "remove it, so that it is downloaded again"

_IDX_FILES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
"""The files and how many bytes they have as published; files of another size are data of the user's own."""

_MD5 = {
    "MNIST": (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    "FashionMNIST": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}
"""Sums of the published files, in the same order, unpacked."""


class _Vision(Classification):
    """What the three have in common: split and normalisation of uint8 images (count, channels, height, width)."""

    def __init__(
        self,
        name: str,
        training: Arrays,
        held_out: Arrays,
        sizes: dict[str, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        check_sizes(sizes)
        train_size, val_size, test_size = sizes["train_size"], sizes["val_size"], sizes["test_size"]
        for key, size, most in (
            ("train_size", train_size, len(training[1])),
            ("val_size", val_size, len(held_out[1])),
            ("test_size", test_size, len(held_out[1])),
        ):
            if size > most:
                raise ValueError(f"{key} is {size} but {name} has {most} images for it: ask for fewer")
        self.requested_split = {"train": train_size, "val": val_size, "test": test_size}
        test = _evenly_spaced(len(held_out[1]), test_size)
        chosen = torch.zeros(len(held_out[1]), dtype=torch.bool)
        chosen[test] = True
        rest = (~chosen).nonzero().flatten()
        val = rest[_evenly_spaced(len(rest), min(val_size, len(rest)))]
        super().__init__(
            (_normalise(training[0][:train_size], mean, std), training[1][:train_size].long()),
            (_normalise(held_out[0][val], mean, std), held_out[1][val].long()),
            (_normalise(held_out[0][test], mean, std), held_out[1][test].long()),
            num_classes=10,
        )


class MNISTSupervisedTask(_Vision):
    """MNIST: 28 x 28 grey images of handwritten digits, 10 classes; inputs (1, 28, 28).

    Args:
        root: folder that has ``MNIST/raw`` as torchvision writes it; None is the environment variable
            GOSSIPSIM_DATA, else a cache folder. What is missing is downloaded, by one process.
        train_size, val_size, test_size: at most 60,000, 10,000 and 10,000; see the top of this module.

    Raises:
        MissingDataError: when the files are neither there nor to be had.
        ValueError: for a size out of range.
    """

    def __init__(
        self,
        root: str | None = None,
        train_size: int = 60_000,
        val_size: int = 10_000,
        test_size: int = 1_000,
    ) -> None:
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        training, held_out = _idx_arrays("MNIST", data_root(root))
        super().__init__("MNIST", training, held_out, sizes, (0.1307,), (0.3081,))


class FashionMNISTSupervisedTask(_Vision):
    """FashionMNIST: 28 x 28 grey images of clothes, 10 classes; otherwise as :class:`MNISTSupervisedTask`."""

    def __init__(
        self,
        root: str | None = None,
        train_size: int = 60_000,
        val_size: int = 10_000,
        test_size: int = 1_000,
    ) -> None:
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        training, held_out = _idx_arrays("FashionMNIST", data_root(root))
        super().__init__("FashionMNIST", training, held_out, sizes, (0.2860,), (0.3530,))


class CIFAR10SupervisedTask(_Vision):
    """CIFAR-10: 32 x 32 colour images, 10 classes; inputs (3, 32, 32).

    As :class:`MNISTSupervisedTask`, with ``cifar-10-batches-py`` below `root` and at most 50,000 training
    images.
    """

    def __init__(
        self,
        root: str | None = None,
        train_size: int = 50_000,
        val_size: int = 10_000,
        test_size: int = 1_000,
    ) -> None:
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        training, held_out = _cifar_arrays(data_root(root))
        super().__init__("CIFAR10", training, held_out, sizes, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _evenly_spaced(total: int, count: int) -> Tensor:
    """`count` of the indices 0 ... total - 1, ascending: the middle of each of `count` equal parts."""
    return (2 * torch.arange(count) + 1) * total // max(2 * count, 1)


def _normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    center, scale = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    return images.to(torch.float32).div_(255).sub_(center).div_(scale)


def _idx_arrays(name: str, root: Path) -> tuple[Arrays, Arrays]:
    """The (images, labels) of the training and the held-out file.

    Read without torchvision, whose import takes several seconds; it serves only to download.
    """

    def present(folder: Path) -> bool:
        return all(_idx_path(folder / name / "raw", file) for file in _IDX_FILES)

    def fetch(folder: Path) -> None:
        from torchvision import datasets  # type: ignore[import-untyped]

        getattr(datasets, name)(folder, download=True)

    servers = {
        "MNIST": "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "FashionMNIST": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    }
    ensure(name, root, present, fetch, servers[name])
    arrays = []
    for (file, size), md5 in zip(_IDX_FILES.items(), _MD5[name], strict=True):
        path = _idx_path(root / name / "raw", file)
        assert path is not None
        content = _unpacked(path)
        if len(content) == size and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise MissingDataError(f"root: {path} is damaged, its MD5 sum is not that of {name}: {_REMOVE}")
        arrays.append(torch.from_numpy(_read_idx(path, content)))
    train_images, train_labels, test_images, test_labels = arrays
    if len(train_images) != len(train_labels) or len(test_images) != len(test_labels):
        raise MissingDataError(f"root: the images and labels in {root / name / 'raw'} do not belong together")
    return (train_images.unsqueeze(1), train_labels), (test_images.unsqueeze(1), test_labels)


def _idx_path(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise MissingDataError(f"root: {path} cannot be read ({error})") from None


def _read_idx(path: Path, content: bytes) -> NDArray[np.uint8]:
    """Bytes in the IDX format: 0, 0, 8 (unsigned byte), number of dimensions, the dimensions, the data."""
    header = np.frombuffer(content[:4], dtype=np.uint8)
    dimensions = int(header[3]) if len(header) == 4 else 0
    shape = tuple(np.frombuffer(content[4 : 4 + 4 * dimensions], dtype=">u4").astype(int).tolist())
    data = np.frombuffer(content, dtype=np.uint8, offset=min(4 + 4 * dimensions, len(content)))
    if not dimensions or len(shape) != dimensions or data.size != math.prod(shape):
        raise MissingDataError(f"root: {path} is damaged: {_REMOVE}")
    return data.reshape(shape).copy()


def _cifar_arrays(root: Path) -> tuple[Arrays, Arrays]:
    folder = "cifar-10-batches-py"
    files = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]

    def present(where: Path) -> bool:
        return all((where / folder / file).is_file() for file in files)

    def fetch(where: Path) -> None:
        from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

        CIFAR10(where, download=True)

    ensure("CIFAR10", root, present, fetch, "https://www.cs.toronto.edu/")
    from torchvision.datasets import CIFAR10

    try:  # the files are pickles: their MD5 sums are compared before any is read
        training, held_out = (CIFAR10(root, train=train) for train in (True, False))
    except RuntimeError:
        raise MissingDataError(f"root: files in {root / folder} are damaged: remove that folder") from None
    first, second = (
        (torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(data.targets))
        for data in (training, held_out)
    )
    return first, second
