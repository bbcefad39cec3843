"""Which rows this process hosts, and the only way to bring a row from elsewhere."""

from gossipsim.world.gloo import ProcessGroup, has_told_torchrun, tell_torchrun
from gossipsim.world.launcher import Failure, Ranks, watch
from gossipsim.world.machines import joined_by_torchrun
from gossipsim.world.processes import give_back_memory, raising_exits
from gossipsim.world.signals import deferred, hearing
from gossipsim.world.stacks import end_stuck
from gossipsim.world.stopping import PATIENCE, Request, listening, stop_requested, stoppable
from gossipsim.world.transport import Alone, PeerLost, Transfer, Transport, environment_problems, require_gpus
from gossipsim.world.world import Addresses, Arriving, Chosen, World, blocks

__all__ = [
    "PATIENCE",
    "Addresses",
    "Alone",
    "Arriving",
    "Chosen",
    "Failure",
    "PeerLost",
    "ProcessGroup",
    "Ranks",
    "Request",
    "Transfer",
    "Transport",
    "World",
    "blocks",
    "deferred",
    "end_stuck",
    "environment_problems",
    "give_back_memory",
    "has_told_torchrun",
    "hearing",
    "joined_by_torchrun",
    "listening",
    "raising_exits",
    "require_gpus",
    "stop_requested",
    "stoppable",
    "tell_torchrun",
    "watch",
]
