"""Which rows this process hosts, and the only way to bring a row from elsewhere."""

from gossipsim.world.launcher import Failure, Ranks, watch
from gossipsim.world.signals import deferred, hearing
from gossipsim.world.transport import (
    Alone,
    PeerLost,
    ProcessGroup,
    Transport,
    joined_by_torchrun,
    require_gpus,
    tell_torchrun,
)
from gossipsim.world.world import World, blocks

__all__ = [
    "Alone",
    "Failure",
    "PeerLost",
    "ProcessGroup",
    "Ranks",
    "Transport",
    "World",
    "blocks",
    "deferred",
    "hearing",
    "joined_by_torchrun",
    "require_gpus",
    "tell_torchrun",
    "watch",
]
