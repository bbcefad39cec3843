"""Which rows this process hosts, and the only way to bring a row from elsewhere."""

from gossipsim.world.launcher import Failure, Job, watch
from gossipsim.world.signals import hearing
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
    "Job",
    "PeerLost",
    "ProcessGroup",
    "Transport",
    "World",
    "blocks",
    "hearing",
    "joined_by_torchrun",
    "require_gpus",
    "tell_torchrun",
    "watch",
]
