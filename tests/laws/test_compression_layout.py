"""Compressed messages under the laws: every compressor, in CHOCO and for the exchanges of other strategies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gossipsim
from gossipsim import testing
from gossipsim.config import plan
from gossipsim.execution import one_thread
from gossipsim.nodes import Nodes
from gossipsim.parts import Parts
from gossipsim.rounds import connect
from gossipsim.world import World
from tests.subjects import experiment

LEARNER = "MLP, stochastic Frank-Wolfe"

COMPRESSORS: dict[str, Any] = {
    "identity": {"class": "gossipsim.compression.Identity"},
    "top-k": {"class": "gossipsim.compression.TopK", "params": {"fraction": 0.1}},
    "rand-k": {"class": "gossipsim.compression.RandK", "params": {"fraction": 0.1}},
    "unbiased rand-k": {"class": "gossipsim.compression.RandK", "params": {"fraction": 0.5, "unbiased": True}},
    "sign": {"class": "gossipsim.compression.Sign"},
    "QSGD": {"class": "gossipsim.compression.QSGD", "params": {"levels": 7, "block": 64, "unbiased": False}},
    "unbiased QSGD": {"class": "gossipsim.compression.QSGD", "params": {"levels": 127}},
    "low rank": {"class": "gossipsim.compression.LowRank", "params": {"rank": 2}},
}


def _compressed(name: str, strategy: str = "LocalThenGossip", **params: Any) -> dict[str, Any]:
    config = experiment(LEARNER, strategy, **params)
    config["network"]["compression"] = COMPRESSORS[name]
    return config


@pytest.mark.parametrize("name", COMPRESSORS)
def test_layout_of_compressed_exchanges(name: str) -> None:
    testing.layout(_compressed(name, "GT-atc", nodes=5, steps=4), processes=(1, 2, 5))


@pytest.mark.parametrize("name", [name for name in COMPRESSORS if not name.startswith("unbiased")])
def test_layout_of_choco(name: str) -> None:
    config = experiment(LEARNER, nodes=5, steps=4)
    params = {"compressor": COMPRESSORS[name], "gamma": 0.2}
    config["strategy"] = {"class": "gossipsim.strategies.CHOCO", "params": params}
    testing.layout(config, processes=(1, 2, 5))


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressed_exchange_keeps_the_mean_and_costs_what_the_formula_says(name: str) -> None:
    parts = Parts(plan(_compressed(name, nodes=6, dtype="float64")).runs[0])
    world = World(parts.count)
    with one_thread():
        nodes = Nodes(world, parts.task, parts.recipe(), parts.shards, parts.tensors(world.device, torch.float64)[0])
        mix = connect(nodes, parts.network, parts.links, parts.compressor)
        X = nodes.X + torch.from_numpy(np.random.default_rng(0).normal(size=nodes.X.shape))
        mixed = mix(X)
    assert float((mixed.mean(0) - X.mean(0)).abs().max()) <= 1e-14
    assert not torch.equal(mixed, X)
    assert parts.compressor is not None
    each = parts.compressor.nbytes(nodes.layout.d, 8, nodes.layout.shapes)
    assert mix.traffic.bytes_sent == 12 * each == parts.costs()["bytes_per_round"]


@pytest.mark.parametrize("name", ["low rank", "sign"])
def test_numbers_beside_a_row_go_whole(name: str) -> None:
    """Push-sum's weight is no parameter: it is 1 on a doubly stochastic W, and costs one number per edge."""
    config = _compressed(name, "push-sum", nodes=6)
    testing.traffic(config, processes=(1,))
    testing.layout(config, processes=(1, 3))
    parts = Parts(plan(_compressed(name, "push-sum", nodes=6, dtype="float64")).runs[0])
    plain = Parts(plan(_compressed(name, nodes=6, dtype="float64")).runs[0])
    assert np.abs(testing.trajectory(parts, 4)[-1] - testing.trajectory(plain, 4)[-1]).max() <= 1e-12


def test_uncompressed_is_plain_mixing() -> None:
    """X + (W - I) X, to rounding."""
    found = [
        testing.trajectory(Parts(plan(config).runs[0]), 4)[-1]
        for config in (_compressed("identity", dtype="float64"), experiment(LEARNER, dtype="float64"))
    ]
    assert np.abs(found[0] - found[1]).max() <= 1e-13


@pytest.mark.parametrize("strategy", ["AllReduce", "AD-PSGD", "stale gossip", "CHOCO, top-k", "FedAvg"])
def test_a_strategy_that_sends_in_its_own_way_refuses(strategy: str) -> None:
    with pytest.raises(gossipsim.ConfigError, match=r"network.compression: .* does not send rows through"):
        gossipsim.run(_compressed("sign", strategy))


def test_a_compressor_that_does_not_fit_is_refused() -> None:
    config = _compressed("top-k")
    config["network"]["compression"] = {"class": "gossipsim.compression.TopK", "params": {"k": 10**9}}
    with pytest.raises(gossipsim.ConfigError, match=r"network.compression: .*k"):
        gossipsim.run(config)
