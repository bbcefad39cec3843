"""Local runs open no port beyond loopback, by any transport."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import config

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc and asks ss"),
    pytest.mark.skipif(shutil.which("ss") is None, reason="needs ss, of iproute2"),
]

WAITS = """
import os, pathlib, time
from gossipsim.strategies import LocalThenGossip

class Waits(LocalThenGossip):
    def round(self, nodes, mix):
        super().round(nodes, mix)
        pathlib.Path(f"exchanged_{os.getpid()}").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.02)
"""


def _family(process: int) -> set[int]:
    """A process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _listening(processes: set[int]) -> list[str]:
    """Local addresses on which these processes wait for others."""
    lines = subprocess.run(["ss", "-Htulnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    own = [line for line in lines if processes & {int(pid) for pid in re.findall(r"pid=(\d+)", line)}]
    return [line.split()[4].rpartition(":")[0] for line in own]


@pytest.mark.parametrize("transport", [None, "gloo"])
def test_no_port_beyond_loopback(tmp_path: Path, transport: str | None) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    (tmp_path / "c.json").write_text(json.dumps(config(strategy="waits.Waits")))
    environment = {key: value for key, value in os.environ.items() if key != "GOSSIPSIM_TRANSPORT"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"GOSSIPSIM_TRANSPORT": transport} if transport else {})
    command = [sys.executable, "-m", "gossipsim", "run", "c.json", "--processes", "3"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as run:
        try:
            deadline = time.monotonic() + 120
            while len(list(tmp_path.glob("exchanged_*"))) < 3:
                assert run.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            processes = _family(run.pid)
            addresses = _listening(processes)
        finally:
            (tmp_path / "go").touch()
            run.wait(120)
    assert run.returncode == 0
    assert len(processes) >= 4
    assert {address for address in addresses if address not in ("127.0.0.1", "[::1]")} == set()
    assert bool(addresses) == (transport == "gloo"), "shared memory needs none; gloo listens, so that ss sees it"
