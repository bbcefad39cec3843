"""torchrun jobs of the configuration c.json."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

TIMEOUT = 120


def start(*arguments: str, after: Sequence[str] = ()) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *arguments,
        "-m",
        "gossipsim.runner",
        "--config",
        "c.json",
        *after,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(job: subprocess.Popen[str]) -> str:
    output, _ = job.communicate(timeout=TIMEOUT)
    return output
