"""Shared by all tests: one torch thread, torch's compiler imported once, and where the real data is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch._dynamo  # the first optimizer imports it: once, here, before any rank is forked


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real data sets; tests that need them are skipped where it is not set."""
    root = Path(os.environ.get("GOSSIPSIM_DATA", "-"))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip("no MNIST: set GOSSIPSIM_DATA to a folder that has MNIST/raw")
    return root
