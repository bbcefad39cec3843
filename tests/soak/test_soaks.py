"""Short soaks; `python -m tests.soak.kills` and `python -m tests.soak.runs --single 500` are the long ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

SOAKS = {
    "whatever is killed, the files are those of one that nobody disturbed": (
        "kills",
        "--kills",
        "8",
        "--within",
        "900",
    ),
    "the last of 500 runs finds what the first did": ("runs", "--single", "60", "--together", "440"),
}


@pytest.mark.slow
@pytest.mark.parametrize("promise", SOAKS)
def test_soak(promise: str) -> None:
    name, *arguments = SOAKS[promise]
    command = [sys.executable, "-m", f"tests.soak.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1000, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    if name == "kills":
        assert "have the files of an undisturbed one" in done.stdout
