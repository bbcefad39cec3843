"""What this machine offers: for bug reports, and before a long run."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def findings() -> dict[str, str]:
    """Names and values, in the order in which they are shown."""
    import torch

    from gossipsim.tasks.files import data_root

    root = data_root(None)
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("gossipsim", "torch", "torchvision", "networkx", "numpy"):
        found[package] = _version(package)
    found["cores"] = f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}"
    found["CPU capability"] = torch.backends.cpu.get_cpu_capability()
    found["GPUs"] = str(torch.cuda.device_count())
    found["gloo, nccl"] = f"{_yes(torch.distributed.is_gloo_available())}, {_yes(torch.cuda.is_available())}"
    found["data folder"] = f"{root} ({'exists' if root.exists() else 'made when a data set is downloaded'})"
    found["free disk here"] = f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB"
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _yes(available: bool) -> str:
    return "yes" if available else "no"
