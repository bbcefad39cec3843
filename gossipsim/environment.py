"""Where results come from: versions, processor, and the command."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def environment(command: Sequence[str] | None = None) -> dict[str, Any]:
    """What a reader needs to know about where results come from."""
    packages = ("gossipsim", "torch", "numpy", "networkx", "scipy")
    return {
        "command": shlex.join(command or [Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads_per_process": torch.get_num_threads(),
        "packages": {name: version(name) for name in packages},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
