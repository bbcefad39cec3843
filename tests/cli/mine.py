"""What a user writes beside a configuration, with ways to go wrong; copied there by the tests."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import networkx
import torch

from gossipsim.models import Vector
from gossipsim.strategies import LocalThenGossip


class Breaks(LocalThenGossip):
    """Goes wrong on the process that hosts `node`, at step `step`."""

    def __init__(self, how: str = "raise", node: int = 3, step: int = 2):
        super().__init__()
        self.how, self.node, self.at = how, node, step

    def round(self, nodes, mix):
        if nodes.step == self.at and self.node in nodes.ids:
            self.go_wrong()
        super().round(nodes, mix)

    def go_wrong(self):
        match self.how:
            case "raise":
                raise RuntimeError("strategy gave up\nsecond line")
            case "exit 0":
                os._exit(0)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "sys.exit":
                sys.exit(0)
            case "mute":
                raise Mute
            case "hang":
                while True:
                    signal.pause()  # until a signal that somebody handles


class Falls(LocalThenGossip):
    """The last rank is killed at steps 10 and 20, each once in a job of torchrun."""

    def round(self, nodes, mix):
        fatal = 10 * (1 + int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))
        if nodes.world.rank == nodes.world.size - 1 > 0 and nodes.step == fatal < 30:
            os.kill(os.getpid(), signal.SIGKILL)
        super().round(nodes, mix)
        time.sleep(float(os.environ.get("PAUSE", "0")))


class Slow(LocalThenGossip):
    """Takes its time where the environment says so."""

    def round(self, nodes, mix):
        super().round(nodes, mix)
        time.sleep(float(os.environ.get("PAUSE", "0")))


class Speaks(LocalThenGossip):
    def round(self, nodes, mix):
        print("said", file=sys.stdout, flush=True)
        print("said", file=sys.stderr, flush=True)
        warnings.warn("said", stacklevel=1)
        super().round(nodes, mix)


class Spoils(LocalThenGossip):
    """After step 2, does something to the disk that the run is written to."""

    def __init__(self, how: str = "nothing"):
        super().__init__()
        self.how = how

    def round(self, nodes, mix):
        super().round(nodes, mix)
        if nodes.step == 2 and nodes.world.rank == 0:
            (experiment,) = Path("wf").glob("exp_*")
            self.spoil(experiment)

    def spoil(self, experiment):
        match self.how:
            case "fill":
                with suppress(OSError), open("wf/filler", "wb", buffering=0) as file:
                    while file.write(b"0" * 512):
                        pass
            case "remove the run":
                (run,) = [p for p in experiment.rglob("run.json") if '"status": "running"' in p.read_text()]
                shutil.rmtree(run.parent)
            case "remove the experiment":
                shutil.rmtree(experiment)
            case "write-protect":
                subprocess.run(["mount", "--bind", "wf", "wf"], check=True)
                subprocess.run(["mount", "-o", "remount,ro,bind", "wf"], check=True)


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


class NoRound:
    def init(self, nodes, mix): ...


def node_of(p):
    """Of four nodes, in one process or one each: rows lie one after the other, each begins aligned."""
    rank = multiprocessing.current_process().name.removeprefix("gossipsim-rank-")
    row = -(-p.numel() * p.element_size() // 64) * 64 // p.element_size()
    return (int(rank) if rank.isdigit() else 0) + p.storage_offset() // row


class StopsAtNodeThree(torch.optim.SGD):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                if self.steps == 2 and node_of(p) == 3:
                    raise ArithmeticError("optimizer gave up")
        return super().step(closure)


class Rebinds(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - 0.1 * p.grad


class GivesUp(Vector):
    """Fails in training, on node 3."""

    def forward(self, x):
        if torch.is_grad_enabled() and node_of(next(self.parameters())) == 3:
            raise LookupError("model gave up")
        return super().forward(x)


class NotAGraph:
    def graph(self, round):  # noqa: A002
        return 3


def path_with_self_loops(n: int):
    graph = networkx.path_graph(n)
    graph.add_edge(0, 0)
    return graph


def too_small(graph):
    return torch.eye(3, dtype=torch.float64).numpy()
