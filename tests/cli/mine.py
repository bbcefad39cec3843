"""What a user writes beside a configuration, with ways to go wrong; copied there by the tests."""

import os
import signal
import sys

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
                signal.pause()


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


class NoRound:
    def init(self, nodes, mix): ...


def node_of(p):
    """Of four nodes, in one process or one each: rows lie one after the other."""
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    return rank + p.storage_offset() // p.numel()


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
