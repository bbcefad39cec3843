"""`mix(X)` against the time in which this machine copies X: what reading and writing the rows once takes."""

from __future__ import annotations

from functools import partial

import torch

from gossipsim.bench.jobs import MLP, images, job
from gossipsim.bench.measuring import Figure, Figures, Interleaved, seconds
from gossipsim.mixing import Mix
from gossipsim.world import World

GOALS = {"ring": 2.5, "exponential": 5.0, "complete": 3.0}
SHAPES = ((16, 1_200_000), (64, 101_770), (256, 101_770), (1024, 7_850))


def mixing(repeats: int, shapes: tuple[tuple[int, int], ...] = SHAPES) -> Figures:
    """One process, float32: time of a mix over time of a copy; and how fast the copy is."""
    figures: Figures = {}
    for nodes, d in shapes:
        X = torch.randn(nodes, d, generator=torch.Generator().manual_seed(0))
        out = torch.empty_like(X)
        actions = {"copy": seconds(partial(out.copy_, X))}
        for topology in GOALS:
            mix = Mix(World(nodes), job(images(), MLP, 1, nodes, topology).network)
            actions[topology] = seconds(partial(mix, X, out))
        found = Interleaved(actions, max(repeats, 7))
        figures[f"{nodes} x {d:,}: copy"] = Figure(2 * X.nbytes / found.median("copy") / 1e9, "GB/s")
        for topology, goal in GOALS.items():
            ratio = Figure(found.ratio(topology, "copy"), "x", at_most=goal)
            figures[f"{nodes} x {d:,}: {topology}, over copy"] = ratio
    return figures
