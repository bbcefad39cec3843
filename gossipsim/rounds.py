"""One round of a strategy on an imperfect network: who is away does nothing, and the clock sees every step."""

from __future__ import annotations

from gossipsim.compression import Compressor
from gossipsim.mixing import Mix
from gossipsim.network import Links, Network
from gossipsim.nodes import Nodes
from gossipsim.optimizer_state import mix_state
from gossipsim.strategies import Strategy


def connect(nodes: Nodes, network: Network, links: Links | None, compressor: Compressor | None) -> Mix:
    """The exchange between these nodes."""
    compress = None if compressor is None else (lambda X: nodes.compress(X, compressor))
    mix = Mix(nodes.world, network, links, nodes.recipe.seed, compress)
    if mix.clock is not None:
        nodes.worked = mix.clock.work
    return mix


def play(strategy: Strategy, nodes: Nodes, mix: Mix, *, mixes_state: bool = False) -> None:
    """A round, in which nothing happens where everyone is away; afterwards `mix` stands at the next one.

    Args:
        mixes_state: whether optimizer state is averaged whenever the rows are.
    """
    exchanges = mix.exchanges
    if mix.complete:
        strategy.round(nodes, mix)
    elif mix.present.any():
        with nodes.without(~mix.present):
            strategy.round(nodes, mix)
        if mix.clock is not None:
            mix.clock.pass_by(~mix.present)
    if mixes_state and mix.exchanges > exchanges:
        mix_state(nodes, mix)
    mix.round += 1
