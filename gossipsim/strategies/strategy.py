"""What a decentralized algorithm is: claims as data, and a round written with `grad`, `apply` and `mix`.

A user's strategy needs no base class; these three names are all that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from gossipsim.compression import Compressor
from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes

Alone = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Characteristic = Callable[[float, float], Sequence[float]]


class Outer(Protocol):
    """An optimizer over whole rounds of local steps.

    Attributes:
        every: the local steps of a round.
    """

    @property
    def every(self) -> int: ...

    def __call__(self, old: Tensor, new: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(parameters before the round, after its steps, state that is zero at first) -> (parameters, new state)."""


@dataclass(frozen=True)
class Claims:
    """What a strategy promises and needs, so that runs can be checked before they start and tests can measure it.

    Attributes:
        exact: reaches the optimum of the mean objective under heterogeneous data with a constant step of an optimizer
            that is linear in the gradient (SGD); None: not known.
        exact_lmo: the same for optimizers that normalise the direction (Frank-Wolfe, Muon, Scion).
        needs: properties of the graph and of W without which the run is refused: "connected", "doubly_stochastic",
            "row_stochastic", "column_stochastic", "symmetric", "static" (the graph does not change), "tree",
            "reliable" (no message is lost, nobody is away). What is usual but not needed only warns.
        lambda_min: bound on the smallest eigenvalue of W: below it small steps diverge, and the run is warned.
        sends: rows that a node sends to each out-neighbour per round once under way.
        numbers: further numbers beside these rows, once under way.
        compressor: what a row is compressed with by the strategy itself before it is sent; None: rows go whole.
        whole: what the strategy sends goes as it is, and `network.compression` is refused; it also is where `over`
            is not the graph, and where the strategy has a compressor.
        everyone: all nodes take every step, so that their optimizers' states can be mixed.
        over: "graph"; "complete" for methods that ignore the topology and reach all nodes; "server" for those in
            which a node sends to a server and gets its answer.
        messages: messages of one exchange, (nodes, directed edges) -> number; None: what `over` says.
        chance: the traffic of a round is left to chance; `messages` is what is expected.
        alone: what one node by itself hands to its optimizer, (state, gradient) -> (direction, new state) with a state
            that is zero at first; None: the gradient, so that the method is the plain optimizer.
        outer: what one node by itself makes of its parameters after every `outer.every` steps; None: nothing.
        characteristic: (lambda, a) -> coefficients, highest power first, of the polynomial whose roots multiply the
            error in the eigenspace of W's eigenvalue lambda once per round, for a = eta h with equal curvature h, a
            symmetric W and SGD. :func:`convergence_rate` and :func:`stability_limit` follow from it. None: not known.
        closure: the direction handed to the optimizer is the plain gradient at the node's own row, so that an
            optimizer may evaluate the same batch again (line search, LBFGS).
        citation: where the method comes from.
    """

    exact: bool | None = None
    exact_lmo: bool | None = None
    needs: frozenset[str] = frozenset({"connected", "doubly_stochastic"})
    lambda_min: float | None = None
    sends: int = 1
    numbers: int = 0
    compressor: Compressor | None = None
    whole: bool = False
    everyone: bool = True
    over: str = "graph"
    messages: Callable[[int, int], float] | None = None
    chance: bool = False
    alone: Alone | None = None
    outer: Outer | None = None
    characteristic: Characteristic | None = None
    closure: bool = False
    citation: str = ""

    def messages_per_exchange(self, nodes: int, edges: int) -> float:
        """How many messages go out, on a graph with so many directed edges."""
        if self.messages is not None:
            return self.messages(nodes, edges)
        return {"graph": edges, "complete": nodes * (nodes - 1), "server": 2 * nodes}[self.over]


class Strategy(Protocol):
    """A decentralized algorithm.

    What changes from round to round is in `nodes.rows(name)` and `nodes.server(name)`, or is a function of `mix.round`.
    A strategy that keeps anything else has `state_dict()` and `load_state_dict(state)`, about numbers and tensors that
    are the same on every process; else a run that was interrupted does not go on as it would have.
    """

    claims: Claims

    def init(self, nodes: Nodes, mix: Mix) -> None:
        """Prepares state; keep it in `nodes.rows(name)`, a row per node like X."""

    def round(self, nodes: Nodes, mix: Mix) -> None:
        """One round: local steps and one exchange."""


def claims_of(strategy: Any) -> Claims:
    """The claims of a strategy, which a user may also write as a dict or leave out.

    Raises:
        ValueError: for a claim that does not exist.
    """
    claims = getattr(strategy, "claims", None)
    if isinstance(claims, Claims):
        return claims
    if claims is None:
        return Claims()
    if not isinstance(claims, Mapping):
        raise ValueError(f"claims of {type(strategy).__name__} must be a Claims or a dict, not {claims!r}")
    known = {name: value for name, value in claims.items() if name in Claims.__dataclass_fields__}
    if unknown := sorted(set(claims) - set(known)):
        raise ValueError(
            f"claims of {type(strategy).__name__}: unknown {', '.join(unknown)}; "
            f"known are {', '.join(Claims.__dataclass_fields__)}"
        )
    if "needs" in known:
        needs = known["needs"]
        known["needs"] = frozenset([needs] if isinstance(needs, str) else needs or [])
    return Claims(**known)
