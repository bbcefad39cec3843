"""What becomes of optimizer state (momentum, second moments) under gossip: each node keeps its own, or it is mixed too.

    local     S_i <- S_i                    the default, and what most papers mean by "momentum at every node"
    mixed     S <- W S                      in every round that mixes the rows, with the same W

Mixed state costs a row more per exchange and entry of state; it is counted. One node: nothing changes.
Source: mixed momentum as in Yu, Jin and Yang, "On the Linear Speedup Analysis of Communication Efficient Momentum SGD
for Distributed Non-Convex Optimization", ICML 2019, and Gao and Huang, arXiv 2010.11166.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gossipsim.mixing import Mix
from gossipsim.nodes import Node, Nodes


def mix_state(nodes: Nodes, mix: Mix) -> None:
    """S <- W S for every kind of optimizer state that is shaped like the parameters it belongs to."""
    members = list(nodes)
    names = sorted({name for node in members for p in node.parameters for name in _entries(node, p)})
    for name in names:
        rows = [[_entries(node, p)[name] for p in node.parameters if name in _entries(node, p)] for node in members]
        mixed = mix(torch.stack([torch.cat([entry.reshape(-1) for entry in row]) for row in rows]))
        for row, values in zip(rows, mixed, strict=True):
            for entry, piece in zip(row, values.split([entry.numel() for entry in row]), strict=True):
                entry.copy_(piece.view(entry.shape))


def _entries(node: Node, p: torch.Tensor) -> dict[str, torch.Tensor]:
    return dict(_shaped_like(p, node.optimizer.state.get(p, {})))


def _shaped_like(p: torch.Tensor, state: dict[str, object]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.shape == p.shape and value.dtype == p.dtype:
            yield name, value
