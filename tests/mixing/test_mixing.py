"""The mixing kernel: right numbers (against W @ X in float64), and the bits that its definition prescribes."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from gossipsim.mixing import Mix, Traffic
from gossipsim.network import Network, exponential, ring, star
from gossipsim.world import World
from tests.mixing.definition import bits, by_definition

GRAPHS: dict[str, Any] = {
    "ring": ring(9),
    "star": star(8),
    "random": nx.erdos_renyi_graph(12, 0.4, seed=1),
    "complete": nx.complete_graph(7),
    "directed": exponential(8),
    "isolated node": nx.Graph([(0, 1), (1, 2)]),
}
GRAPHS["isolated node"].add_node(3)


def _network(name: str) -> Network:
    return Network(len(GRAPHS[name]), GRAPHS[name])


def _rows(nodes: int, d: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(nodes, d, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", GRAPHS)
def test_it_is_the_product_with_w(name: str) -> None:
    network = _network(name)
    X = _rows(network.nodes, 50)
    expected = network.matrix(0).toarray() @ X.numpy()
    assert np.abs(Mix(World(network.nodes), network)(X).numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GRAPHS)
def test_its_bits_are_those_of_the_definition(name: str, dtype: torch.dtype) -> None:
    network = _network(name)
    X = _rows(network.nodes, 300, dtype)
    expected = by_definition(network.matrix(0), X.numpy())
    assert bits(Mix(World(network.nodes), network)(X)) == bits(expected)


def test_a_direction_is_from_sender_to_receiver() -> None:
    """On 0 -> 1 -> 2 a change travels along the arrows only: W[i, j] is what i gives to what it has from j."""
    network = Network(3, nx.DiGraph([(0, 1), (1, 2)]))
    X = torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)
    mixed = Mix(World(3), network)(X)
    assert mixed[1] > 0
    assert mixed[2] == 0
    backwards = Mix(World(3), network)(X.flip(0))
    assert torch.equal(backwards[:2], torch.zeros(2, 1, dtype=torch.float64))


def test_one_node_gets_its_row_back_exactly() -> None:
    mix, X = Mix(World(1), Network(1, nx.empty_graph(1))), _rows(1, 1000, torch.float32)
    assert torch.equal(mix(X), X)
    assert torch.equal(mix.average(X), X)
    assert mix.traffic == Traffic(messages=0, bytes_sent=0)


def test_the_result_is_a_new_matrix_and_the_argument_is_left_alone() -> None:
    network = _network("complete")
    X = _rows(network.nodes, 5)
    before = X.clone()
    mixed = Mix(World(network.nodes), network)(X)
    mixed.zero_()
    assert torch.equal(X, before)


def test_a_transposed_argument_is_mixed_by_value() -> None:
    network = _network("ring")
    X = _rows(6, network.nodes).T
    mix = Mix(World(network.nodes), network)
    assert torch.equal(mix(X), mix(X.contiguous()))


def test_traffic_counts_rows_over_directed_edges() -> None:
    for name, edges in (("ring", 18), ("star", 14), ("directed", 24), ("isolated node", 4)):
        network = _network(name)
        mix = Mix(World(network.nodes), network)
        mix(_rows(network.nodes, 10, torch.float32))
        mix(_rows(network.nodes, 10, torch.float64))
        assert mix.traffic == Traffic(messages=2 * edges, bytes_sent=edges * 10 * (4 + 8))


def test_an_average_counts_as_the_complete_graph() -> None:
    network = _network("ring")
    mix, X = Mix(World(9), network), _rows(9, 10)
    average = mix.average(X)
    assert torch.equal(average, average[:1].expand(9, 10))
    assert float((average[0] - X.mean(0)).abs().max()) < 1e-15
    assert mix.traffic == Traffic(messages=9 * 8, bytes_sent=9 * 8 * 80)


def test_a_changing_graph_mixes_with_the_matrix_of_its_round() -> None:
    class Alternating:
        period = 2

        def graph(self, t: int) -> Any:
            return nx.Graph([(0, 1), (2, 3)] if t % 2 == 0 else [(1, 2), (3, 0)])

    network = Network(4, Alternating())
    mix, X = Mix(World(4), network), _rows(4, 3)
    for t in range(5):
        expected = network.matrix(t).toarray() @ X.numpy()
        X = mix(X)
        mix.round += 1
        assert np.abs(X.numpy() - expected).max() < 1e-12


def test_one_node_keeps_nothing_of_its_argument() -> None:
    X = _rows(1, 3)
    Mix(World(1), Network(1, nx.empty_graph(1)))(X).zero_()
    assert bool(X.abs().min() > 0)
