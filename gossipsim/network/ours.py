"""Which of our topologies is meant where a networkx generator has made a graph of another size than was asked for."""

from __future__ import annotations

from gossipsim.network.topologies import Graph

# networkx's generators that take something else than the number of nodes -> ours that takes it
_OURS = {
    "star_graph": "star",
    "hypercube_graph": "hypercube",
    "grid_graph": "grid",
    "grid_2d_graph": "grid",
    "cycle_graph": "ring",
    "path_graph": "path",
    "complete_graph": "complete",
    "wheel_graph": "star",
    "circular_ladder_graph": "torus",
    "ladder_graph": "grid",
    "gnp_random_graph": "erdos_renyi",
    "erdos_renyi_graph": "erdos_renyi",
    "random_regular_graph": "random_regular",
    "watts_strogatz_graph": "small_world",
}


_EXPONENTIAL = ("binomial_tree", "dorogovtsev_goltsev_mendes_graph", "hypercube_graph", "mycielski_graph")
_LARGEST_EXPONENT = 12


def check_growth(path: str, n: object) -> None:
    """Whether it is safe to call a topology with this `n`.

    Raises:
        ValueError: for a networkx generator of 2^n nodes or more that would fill the memory.

    >>> check_growth("networkx.hypercube_graph", 64)
    Traceback (most recent call last):
    ValueError: networkx.hypercube_graph(n) has at least 2^n nodes, here n is 64; use gossipsim.network.hypercube
    """
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] != "networkx" or name not in _EXPONENTIAL:
        return
    if isinstance(n, int) and n > _LARGEST_EXPONENT:
        use = f"; use gossipsim.network.{_OURS[name]}" if name in _OURS else ""
        raise ValueError(f"{path}(n) has at least 2^n nodes, here n is {n}{use}")


def ours_for(generator: str, graph: Graph, nodes: int) -> str | None:
    """Our function in the place of a networkx `generator` that was to make `nodes` nodes and made `graph`."""
    return _OURS.get(generator) or _recognise(graph, nodes)


def _recognise(graph: Graph, nodes: int) -> str | None:
    """Our function for a graph whose generator took something else than the number of nodes."""
    count = graph.number_of_nodes()
    if count == nodes + 1 and max(dict(graph.degree).values()) == nodes and graph.number_of_edges() == nodes:
        return "star"
    if nodes < 64 and count == 1 << nodes and graph.number_of_edges() * 2 == nodes * count:
        return "hypercube"
    if count == nodes**2 and max(dict(graph.degree).values()) <= 4:
        return "grid"
    return None
