"""The exchange that people write on top of torch.distributed: isend and irecv, one by one, of every parameter.

`gossipsim bench` measures against it; nothing else uses it. Its processes must have been joined by gloo.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist

from gossipsim.world.transport import Transport


def parameter_exchange(shapes: list[torch.Size], transport: Transport) -> Callable[[], None]:
    """A round on a ring: every parameter goes to both neighbours, and becomes the mean of three."""
    mine = [torch.ones(shape) for shape in shapes]
    peers = [(transport.rank - 1) % transport.size, (transport.rank + 1) % transport.size]
    theirs = [[torch.empty(shape) for shape in shapes] for _ in peers]

    def exchange() -> None:
        requests = [dist.isend(p, peer) for peer in peers for p in mine]
        requests += [dist.irecv(p, peer) for peer, received in zip(peers, theirs, strict=True) for p in received]
        for request in requests:
            assert request is not None
            request.wait()
        for p, a, b in zip(mine, *theirs, strict=True):
            p.add_(a).add_(b).mul_(1 / 3)

    return exchange
