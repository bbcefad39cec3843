"""Decentralized algorithms, one idea per file, written with `grad`, `apply` and `mix`."""

from gossipsim.strategies.all_reduce import AllReduce
from gossipsim.strategies.gossip_then_local import GossipThenLocal
from gossipsim.strategies.gradient_tracking import GradientTracking
from gossipsim.strategies.local_and_gossip import LocalAndGossip
from gossipsim.strategies.local_then_gossip import LocalThenGossip
from gossipsim.strategies.strategy import Claims, Strategy, claims_of

__all__ = [
    "AllReduce",
    "Claims",
    "GossipThenLocal",
    "GradientTracking",
    "LocalAndGossip",
    "LocalThenGossip",
    "Strategy",
    "claims_of",
]
