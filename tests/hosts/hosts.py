"""Two hosts on this machine: network namespaces with a cable between them, and a torchrun in each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SUBNET = "10.77.83"
PORT = 29_700
RANKS = 2
"""Per host."""


def obstacle() -> str | None:
    """Why there can be no such hosts here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "tc", "nft") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = f"gossipsim-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespaces: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return None


@dataclass
class Hosts:
    """Two namespaces, `a` and `b`, with one cable."""

    names: tuple[str, str] = field(default_factory=lambda: (f"gossipsim-{os.getpid()}-a", f"gossipsim-{os.getpid()}-b"))
    cards: tuple[str, str] = field(default_factory=lambda: (f"gs{os.getpid()}a", f"gs{os.getpid()}b"))

    def connect(self) -> None:
        for name in self.names:
            _ip("netns", "add", name)
        first, second = self.cards
        _ip("link", "add", first, "type", "veth", "peer", "name", second)
        for number, (name, card) in enumerate(zip(self.names, self.cards, strict=True), start=1):
            _ip("link", "set", card, "netns", name)
            _ip("-n", name, "addr", "add", f"{SUBNET}.{number}/24", "dev", card)
            for device in (card, "lo"):
                _ip("-n", name, "link", "set", device, "up")

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def cable(self, state: str) -> None:
        """ "up" or "down"."""
        _ip("-n", self.names[0], "link", "set", self.cards[0], state)

    def lose(self, percent: int) -> None:
        """So many packets that arrive at either host are dropped, at random."""
        rules = (
            "add table inet loss; add chain inet loss arriving { type filter hook input priority 0; };"
            f'add rule inet loss arriving iifname "gs*" numgen random mod 100 < {percent} drop'
        )
        for name in self.names:
            _in(name, "nft", rules)

    def limit(self, rate: str) -> None:
        """What leaves either host, e.g. "20mbit"."""
        for name, card in zip(self.names, self.cards, strict=True):
            _in(
                name,
                "tc",
                "qdisc",
                "add",
                "dev",
                card,
                "root",
                "tbf",
                "rate",
                rate,
                "burst",
                "32kbit",
                "latency",
                "400ms",
            )

    @contextmanager
    def running(self, folder: Path, timeout: float, restarts: int = 0) -> Iterator[list[subprocess.Popen[str]]]:
        """A job with the configuration c.json of a folder; ended when the block is left."""
        jobs = [self._start(place, folder, timeout, restarts) for place in range(2)]
        try:
            yield jobs
        finally:
            for job in jobs:
                if job.poll() is None:
                    os.killpg(job.pid, signal.SIGKILL)
                    job.wait()

    def _start(self, place: int, folder: Path, timeout: float, restarts: int) -> subprocess.Popen[str]:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--nproc_per_node={RANKS}"]
        meeting = [f"--node_rank={place}", f"--master_addr={SUBNET}.1", f"--master_port={PORT}"]
        if restarts:
            torchrun += [f"--max-restarts={restarts}", f"--local-addr={SUBNET}.{place + 1}"]
            torchrun += [f"--rdzv-conf=is_host={int(place == 0)}"]  # it does not know its own address here
            meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={SUBNET}.1:{PORT}", "--rdzv-id=gossipsim"]
        command = [*torchrun, *meeting, "-m", "gossipsim.runner", "--config", "c.json"]
        settings = {
            "GLOO_SOCKET_IFNAME": self.cards[place],
            "GOSSIPSIM_TRANSPORT": "gloo",  # both hosts are this machine, and its ranks could share memory
            "GOSSIPSIM_TIMEOUT": str(timeout),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[place], *command],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | settings,
            start_new_session=True,
        )


def wait_for_lines(folder: Path, pattern: str, lines: int, seconds: float) -> None:
    """Until a file below `folder` that fits the pattern has so many lines."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(len(path.read_bytes().splitlines()) >= lines for path in folder.glob(pattern)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pattern} has not had {lines} lines within {seconds:g} s")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _in(name: str, *command: str) -> None:
    subprocess.run(["ip", "netns", "exec", name, *command], check=True, capture_output=True)
