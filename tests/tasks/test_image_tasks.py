"""Image tasks: splits, loaders, normalisation, and what happens without files."""

import gzip
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gossipsim.tasks import (
    CIFAR10SupervisedTask,
    DigitsSupervisedTask,
    FashionMNISTSupervisedTask,
    MissingDataError,
    MNISTSupervisedTask,
)
from gossipsim.tasks import files as task_files


def write_idx(path, array, compress=False):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = header + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + (".gz" if compress else "")).write_bytes(gzip.compress(content) if compress else content)


def fake_mnist(root, name="MNIST", train=60, held_out=40, compress=False):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", held_out)):
        folder = root / name / "raw"
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images, compress)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", rng.integers(0, 10, count, dtype=np.uint8), compress)


def test_digits():
    task = DigitsSupervisedTask()
    assert task.split == {"train": 1297, "val": 200, "test": 300}
    assert task.input_shape == (1, 8, 8)
    inputs, targets = task.train.tensors
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert (float(inputs.min()), float(inputs.max())) == (0.0, 1.0)
    smaller = DigitsSupervisedTask(train_size=100, val_size=0)
    assert smaller.val is None
    assert smaller.test.tensors[0].equal(task.test.tensors[0])
    with pytest.raises(ValueError, match=r"1400 .* is more than the 1797 digits"):
        DigitsSupervisedTask(train_size=1400)
    with pytest.raises(ValueError, match="train_size must be at least 1"):
        DigitsSupervisedTask(train_size=0)


def test_held_out_images_are_spread_evenly_and_disjoint(tmp_path):
    fake_mnist(tmp_path, train=1, held_out=40)
    everything = MNISTSupervisedTask(str(tmp_path), train_size=1, val_size=40, test_size=10)
    pieces = [everything.test.tensors[0], everything.val.tensors[0]]
    assert [len(piece) for piece in pieces] == [10, 30]
    assert len(torch.cat(pieces).flatten(1).unique(dim=0)) == 40


def test_splits_are_disjoint():
    task = DigitsSupervisedTask()
    images = torch.cat([part.tensors[0] for part in (task.train, task.val, task.test)])
    assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_loss_metrics_and_loaders():
    task = DigitsSupervisedTask()
    output = torch.eye(10)[torch.tensor([1, 2, 3, 4])]
    assert task.metrics_fn(output, torch.tensor([1, 2, 3, 9])) == {"accuracy": 0.75}
    assert float(task.loss_fn(torch.zeros(4, 10), torch.arange(4))) == pytest.approx(np.log(10))
    sizes = [len(targets) for _, targets in task.train_loader(500)]
    assert sizes == [500, 500, 297]
    first, again = (next(iter(task.train_loader(8, torch.Generator().manual_seed(3)))) for _ in range(2))
    assert first[0].equal(again[0])
    assert torch.cat([targets for _, targets in task.test_loader(64)]).equal(task.test.tensors[1])


@pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.environ.get("GOSSIPSIM_DATA", ""), "MNIST")),
    reason="GOSSIPSIM_DATA names no folder with MNIST",
)
def test_mnist_split_rule_on_the_real_files():
    task = MNISTSupervisedTask()
    assert task.split == {"train": 60_000, "val": 9_000, "test": 1_000}
    assert task.requested_split == {"train": 60_000, "val": 10_000, "test": 1_000}
    inputs, targets = task.train.tensors
    assert inputs.shape == (60_000, 1, 28, 28)
    assert abs(float(inputs.mean())) < 1e-3
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)
    assert targets[:5].tolist() == [5, 0, 4, 1, 9]
    held_out = torch.cat([task.val.tensors[1], task.test.tensors[1]])
    assert torch.bincount(held_out).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    smaller = MNISTSupervisedTask(train_size=1000, val_size=500, test_size=1000)
    assert smaller.split == {"train": 1000, "val": 500, "test": 1000}
    assert smaller.test.tensors[0].equal(task.test.tensors[0])


@pytest.mark.parametrize("compress", [False, True])
def test_files_in_the_layout_of_torchvision(tmp_path, compress):
    fake_mnist(tmp_path, "FashionMNIST", compress=compress)
    tmp_path.chmod(0o555)
    before = sorted(path.name for path in tmp_path.iterdir())
    task = FashionMNISTSupervisedTask(str(tmp_path), train_size=50, val_size=40, test_size=15)
    assert task.split == {"train": 50, "val": 25, "test": 15}
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    tmp_path.chmod(0o755)
    with pytest.raises(ValueError, match="train_size is 60000 but FashionMNIST has 60"):
        FashionMNISTSupervisedTask(str(tmp_path))


def test_the_environment_names_the_root(tmp_path, monkeypatch):
    fake_mnist(tmp_path)
    monkeypatch.setenv("GOSSIPSIM_DATA", str(tmp_path))
    assert MNISTSupervisedTask(train_size=60, val_size=30, test_size=10).split["val"] == 30


def test_damaged_files(tmp_path):
    fake_mnist(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(MissingDataError, match="train-images-idx3-ubyte is damaged"):
        MNISTSupervisedTask(str(tmp_path), train_size=60, val_size=30, test_size=10)


def test_missing_data_is_one_line_that_names_the_folder_and_the_alternative(tmp_path, monkeypatch):
    monkeypatch.setattr(task_files, "_knock", lambda server: (_ for _ in ()).throw(ConnectionError("no\nnetwork")))
    with pytest.raises(MissingDataError) as caught:
        MNISTSupervisedTask(str(tmp_path / "nowhere"))
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "nowhere") in message
    assert "DigitsSupervisedTask" in message


def test_a_server_that_does_not_answer_costs_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(task_files, "_PATIENCE", 0.2)
    monkeypatch.setattr(task_files.urllib.request, "urlopen", lambda *args, **kwargs: time.sleep(30))
    start = time.monotonic()
    with pytest.raises(MissingDataError, match="does not answer"):
        MNISTSupervisedTask(str(tmp_path))
    assert time.monotonic() - start < 5


def test_a_download_appears_as_a_whole_and_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr(task_files, "_knock", lambda server: None)
    calls = []

    def fetch(folder):
        calls.append(folder)
        (folder / "set").mkdir()
        (folder / "set" / "data").write_text("x")

    for _ in range(2):
        task_files.ensure("Set", tmp_path, lambda f: (f / "set" / "data").is_file(), fetch, "https://localhost")
    assert len(calls) == 1
    assert not calls[0].exists()


def test_who_waited_for_a_failed_download_does_not_try_again(tmp_path):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from gossipsim.tasks import files\n"
        "def fetch(folder):\n"
        "    print('tried'); time.sleep(3); raise OSError('broken')\n"
        "files._knock = lambda server: None\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try:\n"
        "    files.ensure('Set', Path(sys.argv[1]), lambda f: False, lambda f: fetch(f), '')\n"
        "except files.MissingDataError as error:\n"
        "    print(error)\n"
    ).replace("print('tried')", "(Path(sys.argv[1]) / 'tries').open('a').write('x')")
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for job in jobs:
        assert job.stdout.readline() == "ready\n"
    outputs = []
    for job in jobs:
        job.stdin.write("go\n")
        job.stdin.flush()
    for job in jobs:
        outputs.append(job.communicate(timeout=60)[0])
    assert all("broken" in output for output in outputs)
    assert (tmp_path / "tries").read_text() == "x"


def test_a_flipped_bit_in_the_published_files(tmp_path, data_root):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for file in (data_root / "MNIST" / "raw").glob("*ubyte"):
        shutil.copyfile(file, folder / file.name)
    assert len(MNISTSupervisedTask(str(tmp_path), train_size=10, val_size=10, test_size=10).train) == 10
    damaged = folder / "t10k-images-idx3-ubyte"
    content = bytearray(damaged.read_bytes())
    content[5000] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(MissingDataError, match=f"{re.escape(str(damaged))} is damaged, its MD5 sum is not"):
        MNISTSupervisedTask(str(tmp_path))


class _Payload:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_pickles_with_other_sums_are_not_opened(tmp_path, monkeypatch):
    """CIFAR-10 is published as pickles."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(_Payload()))
    with pytest.raises(MissingDataError, match=rf"files in {re.escape(str(folder))} are damaged"):
        CIFAR10SupervisedTask(str(tmp_path))
    assert not (tmp_path / "ran").exists()
