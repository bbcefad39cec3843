"""Decentralized algorithms, one idea per file, written with `grad`, `apply` and `mix`."""

from gossipsim.strategies.all_reduce import AllReduce
from gossipsim.strategies.d2 import D2
from gossipsim.strategies.decentlam import DecentLaM
from gossipsim.strategies.dmsgd import DmSGD
from gossipsim.strategies.exact_diffusion import ExactDiffusion
from gossipsim.strategies.extra import EXTRA
from gossipsim.strategies.gossip_then_local import GossipThenLocal
from gossipsim.strategies.gradient_tracking import GradientTracking
from gossipsim.strategies.local_and_gossip import LocalAndGossip
from gossipsim.strategies.local_then_gossip import LocalThenGossip
from gossipsim.strategies.multi_gossip import MultiGossip
from gossipsim.strategies.push_diging import PushDIGing
from gossipsim.strategies.push_sum import PushSum
from gossipsim.strategies.qg_dsgdm import QGDSGDm
from gossipsim.strategies.strategy import Claims, Strategy, claims_of

__all__ = [
    "D2",
    "EXTRA",
    "AllReduce",
    "Claims",
    "DecentLaM",
    "DmSGD",
    "ExactDiffusion",
    "GossipThenLocal",
    "GradientTracking",
    "LocalAndGossip",
    "LocalThenGossip",
    "MultiGossip",
    "PushDIGing",
    "PushSum",
    "QGDSGDm",
    "Strategy",
    "claims_of",
]
