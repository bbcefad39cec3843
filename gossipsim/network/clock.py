"""Simulated time: when each node is done, by discrete-event rules; the same on every process.

    a local step    t_i <- t_i + c_i                                 c_i: how long node i computes
    an exchange     t_i <- max(t_i, max_j (t_j + m_ji))              over what i receives
    a meeting       t_i <- max_jk (t_j + m_jk)                       over all pairs of those that take part
    from a server   t_i <- max(t_i, s) + m_ii                        s: when the server was last done
    to a server     s <- max_j (t_j + m_jj)                          over those that take part

m_ij = latency_ij + size / bandwidth_ij is how long a message travels; messages do not slow each other down. A node
waits for its neighbours only: after k exchanges a straggler has delayed those within k hops. What is lost is not
waited for, and for those who are away time passes too: they are never behind all of the others. An asynchronous
algorithm asks who is done next instead, and nobody waits.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from gossipsim.network.spectrum import Matrix
from gossipsim.streams import draws

Seconds = np.ndarray[Any, np.dtype[np.float64]]
Ids = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class NodeModel(Protocol):
    """How long a local step takes."""

    def of_nodes(self, steps: Ids, rng: np.random.Generator) -> Seconds:
        """Seconds of the next step of each node, (N,); `steps` (N,) are those that it has taken."""


class EdgeModel(Protocol):
    """A quantity of a message: its latency in seconds, or its bandwidth in bytes per second."""

    def of_edges(self, senders: Ids, receivers: Ids, exchange: int, rng: np.random.Generator) -> Seconds:
        """Its value for each message of exchange number `exchange`; a line to a server has the node at both ends."""


def ends(W: Matrix) -> tuple[Ids, Ids]:
    """Receiver and sender of each entry of W, in the order of `W.data`, the diagonal included."""
    return np.repeat(np.arange(W.shape[0]), np.diff(W.indptr)), W.indices.astype(np.int64)


class Clock:
    """The simulated seconds of every node.

    Args:
        nodes: N. seed: of what the models draw.
        compute: of a local step; None takes no time.
        latency, bandwidth: of a message; None is no delay, and no limit.

    Attributes:
        seconds: (N,) how far each node is.
        server: how far a server is that they reach.
    """

    def __init__(
        self,
        nodes: int,
        seed: int,
        compute: NodeModel | None = None,
        latency: EdgeModel | None = None,
        bandwidth: EdgeModel | None = None,
    ) -> None:
        self.seconds: Seconds = np.zeros(nodes)
        self.server = 0.0
        self._seed, self._compute, self._latency, self._bandwidth = seed, compute, latency, bandwidth
        self._steps = np.zeros(nodes, dtype=np.int64)
        self._draws = self._exchanges = 0
        self._finish: Seconds | None = None

    def tree(self) -> dict[str, Any]:
        """How far it is; see :meth:`restore`."""
        return {
            "seconds": self.seconds,
            "server": self.server,
            "steps": self._steps,
            "draws": self._draws,
            "exchanges": self._exchanges,
            "finish": self._finish,
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Goes on from what :meth:`tree` told."""
        self.seconds, self.server, self._steps = tree["seconds"], tree["server"], tree["steps"]
        self._draws, self._exchanges, self._finish = tree["draws"], tree["exchanges"], tree["finish"]

    @property
    def now(self) -> float:
        """The time of the node that is furthest, or of the server, in seconds."""
        return max(float(self.seconds.max()), self.server)

    @property
    def computes(self) -> bool:
        """Whether local steps take time."""
        return self._compute is not None

    def pass_by(self, away: Mask) -> None:
        """A round has passed without those who are away (N,)."""
        if not away.all():
            self.seconds[away] = np.maximum(self.seconds[away], self.seconds[~away].min())

    def work(self, acting: Mask) -> None:
        """The acting nodes (N,) have taken one local step."""
        self.seconds[acting] += self._durations()[acting]
        self._steps[acting] += 1

    def exchange(self, W: Matrix, nbytes: int) -> None:
        """Every node has waited for the messages that W says it receives."""
        receivers, senders = ends(W)
        apart = receivers != senders
        receivers, senders = receivers[apart], senders[apart]
        np.maximum.at(self.seconds, receivers, self.seconds[senders] + self.travel(senders, receivers, nbytes))

    def meet(self, taking_part: Mask, nbytes: int) -> None:
        """Those who take part (N,) have waited for the messages of each other."""
        members = np.flatnonzero(taking_part)
        senders, receivers = (side.ravel() for side in np.meshgrid(members, members))
        apart = senders != receivers
        senders, receivers = senders[apart], receivers[apart]
        arrivals = self.seconds[senders] + self.travel(senders, receivers, nbytes)
        self.seconds[members] = max(self.seconds[members].max(initial=0.0), arrivals.max(initial=0.0))

    def from_server(self, taking_part: Mask, nbytes: int) -> None:
        """Those who take part (N,) have what the server knew when it was last done."""
        members = np.flatnonzero(taking_part)
        departures = np.maximum(self.seconds[members], self.server)
        self.seconds[members] = departures + self.travel(members, members, nbytes)

    def to_server(self, taking_part: Mask, nbytes: int) -> None:
        """The server has what those who take part (N,) have sent; they go on at once."""
        members = np.flatnonzero(taking_part)
        arrivals = self.seconds[members] + self.travel(members, members, nbytes)
        self.server = float(arrivals.max(initial=self.server))

    def travel(self, senders: Ids, receivers: Ids, nbytes: int) -> Seconds:
        """Seconds from each sender to its receiver."""
        rng, exchange = draws(self._seed, "travel", self._exchanges), self._exchanges
        self._exchanges += 1
        seconds = np.zeros(len(senders))
        if self._latency is not None:
            delays = self._latency.of_edges(senders, receivers, exchange, rng)
            seconds += _checked("latency", delays, len(senders), delays >= 0)
        if self._bandwidth is not None:
            widths = self._bandwidth.of_edges(senders, receivers, exchange, rng)
            seconds += nbytes / _checked("bandwidth", widths, len(senders), widths > 0)
        return seconds

    # --- for asynchronous algorithms: every node computes at its own pace ---

    def next_to_finish(self, among: Mask) -> int:
        """The node of `among` (N,) whose step under way ends first, ties to the lowest id; its clock moves there.

        The others have not ended theirs before that.
        """
        if self._finish is None:
            self._finish = self.seconds + self._durations()
        node = int(np.argmin(np.where(among, self._finish, np.inf)))
        self._finish[~among] = np.maximum(self._finish[~among], self._finish[node])
        self.seconds[node] = max(self.seconds[node], self._finish[node])
        self._steps[node] += 1
        return node

    def begin(self, node: int) -> None:
        """`node` begins a local step at its present time."""
        assert self._finish is not None, "next_to_finish comes first"
        self._finish[node] = self.seconds[node] + self._durations()[node]

    def _durations(self) -> Seconds:
        rng = draws(self._seed, "compute", self._draws)
        self._draws += 1
        if self._compute is None:
            return np.zeros(len(self.seconds))
        durations = self._compute.of_nodes(self._steps, rng)
        return _checked("compute", durations, len(self.seconds), durations >= 0)


def _checked(name: str, values: Seconds, count: int, sound: Mask) -> Seconds:
    """What a model gave, a number for each of `count` nodes or messages."""
    if values.shape != (count,):
        raise ValueError(f"{name}: the model gave values of shape {values.shape} for {count} nodes or messages")
    if not sound.all():
        least = "above 0" if name == "bandwidth" else ">= 0"
        raise ValueError(f"{name}: the model gave {values[~sound][0]}, and numbers {least} are needed")
    return values
