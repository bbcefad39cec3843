"""The hosted nodes: models as views into rows, torch optimizers, shards, and random streams of their own.

`X` (n, d) holds the parameters of the n nodes that this process hosts, one contiguous row each. The parameters of
node k's model are views into row k, so an optimizer's in-place update changes the row, and the message that a
neighbour gets is that row. Assign in place (`nodes.X[:] = ...`), never rebind.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from gossipsim.checkpoints import Tree
from gossipsim.compression import Compressor, compress
from gossipsim.data.batches import Batches
from gossipsim.mixing import Compressed, row_bytes
from gossipsim.network import Mask
from gossipsim.nodes.choice import choose
from gossipsim.nodes.engine import Hosted, template
from gossipsim.nodes.health import Health
from gossipsim.nodes.layout import RowLayout, zero_rows
from gossipsim.nodes.node import Node, Recipe, Streams
from gossipsim.stacked import aligned
from gossipsim.streams import draws
from gossipsim.tasks.task import Task
from gossipsim.world import World


class Nodes:
    """The nodes that this process hosts, and the verbs `grad` and `apply`.

    Args:
        shards: index tensors into the training set, for the hosted nodes in order.
        train: (inputs, targets) of the whole training set, on the world's device.
        streams: whose random streams each hosted node draws from; its own unless nodes are relabelled.

    Attributes:
        X: (n, d) rows. step: optimizer steps taken per node.
        batches, streams: the nodes' data orders and random streams. health: since when nodes are not finite.
        engine: what computes; engine_choice: which one it is, and why.
        keeps_loss: whether the loss of the batch of a step, by its number, will be asked for.
        worked: told who has taken a local step, (N,); of steps with a pace of their own it is not.
        acting: (N,) which nodes of all take part at present, wherever they are hosted; see :meth:`only`.
        between_steps: called before a new batch is drawn once a step has been taken; the trainer records there, and
            raises :class:`OutOfSteps` when the budget is spent.
    """

    def __init__(
        self,
        world: World,
        task: Task,
        recipe: Recipe,
        shards: list[torch.Tensor],
        train: tuple[torch.Tensor, torch.Tensor],
        streams: Sequence[int] | None = None,
    ) -> None:
        self.world, self.task, self.recipe, self.ids = world, task, recipe, world.hosted
        model = template(recipe)
        self.layout = RowLayout(model)
        self.template = model.to(world.device)
        self.step = 0
        self.between_steps: Callable[[], None] = lambda: None
        self.worked: Callable[[Mask], None] = lambda _: None
        self.keeps_loss: Callable[[int], bool] = lambda _: True
        self.acting: Mask = np.ones(world.nodes, dtype=bool)
        self._everyone, self._all_rows = self.acting, range(len(self.ids))
        self._state: dict[str, torch.Tensor] = {}
        self._server: dict[str, torch.Tensor] = {}
        self._unseen_step = False
        self._events = self._events_per_step = 0  # where steps are not counted by events, 0 of them make a step
        self._keys = None if streams is None else list(streams)
        keys = list(self.ids) if self._keys is None else self._keys
        self._rows = zero_rows(len(self.ids), self.layout.d, recipe.dtype, world.device)
        hosted = Hosted(
            self.ids,
            keys,
            task,
            recipe,
            self.layout,
            self._rows,
            train,
            Batches(shards, recipe.batch_size, recipe.seed, keys),
            Streams(recipe.seed, keys, world.device),
            Health(len(self.ids)),
        )
        self.batches, self.streams, self.health = hosted.batches, hosted.streams, hosted.health
        self.engine, self.engine_choice = choose(hosted, shards)

    @property
    def X(self) -> torch.Tensor:  # noqa: N802  the field's name for a matrix
        """The hosted rows (n, d), which the models' parameters are views of."""
        return self._rows

    @X.setter
    def X(self, value: torch.Tensor) -> None:  # noqa: N802
        if value is not self._rows:  # `nodes.X += ...` is in place and comes here too
            raise ValueError("nodes.X is where the parameters live: write `nodes.X[:] = ...` for `nodes.X = ...`")

    def __iter__(self) -> Iterator[Node]:
        """The nodes by themselves, which only the engine "loop" has."""
        return iter(self.engine)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def gradient_evals(self) -> int:
        """Gradients evaluated here so far."""
        return self.engine.gradient_evals

    def rows(self, name: str, width: int | None = None) -> torch.Tensor:
        """State of the algorithm: a named matrix (n, d) like X, or (n, width), zero at first, kept with the nodes."""
        if name not in self._state:
            columns = self.layout.d if width is None else width
            self._state[name] = zero_rows(len(self), columns, self.X.dtype, self.X.device)
        return self._state[name]

    def server(self, name: str) -> torch.Tensor:
        """State of a server that the nodes reach: a named vector (d,), zero at first, the same on every process.

        It is nobody's row: no node's absence holds it back.
        """
        if name not in self._server:
            self._server[name] = self.X.new_zeros(self.layout.d)
        return self._server[name]

    def state_bytes(self) -> tuple[int, int]:
        """Bytes of the algorithm's state, and of the state of all hosted optimizers."""
        entries = [entry for optimizer in self.engine.optimizers for entry in optimizer.state.values()]
        states = [value for entry in entries for value in entry.values()]
        sizes = [value.numel() * value.element_size() for value in states if isinstance(value, torch.Tensor)]
        kept = [*self._state.values(), *self._server.values()]
        return sum(rows.numel() * rows.element_size() for rows in kept), sum(sizes)

    def uniform(self, purpose: str, index: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """A number in [0, 1) for each of all N nodes, (N,): a function of the seed, `purpose` and `index`.

        The same on every process; for what is left to chance in an algorithm: who takes part, who meets whom.
        """
        numbers = draws(self.recipe.seed, purpose, index).random(self.world.nodes)
        return numbers if self._keys is None else numbers[self._keys]

    def compress(self, X: torch.Tensor, compressor: Compressor) -> Compressed:
        """What receivers make of the compressed rows (n, d), with the size of one message.

        Rows of another width, such as push-sum's weight (n, 1), are no parameters, and go whole.
        """
        if X.shape[1] != self.layout.d:
            return Compressed(X, row_bytes(X))
        rows, X = torch.empty_like(X), aligned(X)
        for k in range(len(self)):
            rows[k] = compress(X[k], compressor, self.layout.shapes, self.streams.of("compression", k))
        return Compressed(rows, compressor.nbytes(self.layout.d, X.element_size(), self.layout.shapes))

    @contextmanager
    def only(self, chosen: Mask, *, events: bool = False) -> Iterator[None]:
        """Within, `grad` and `apply` are about the chosen nodes: the others' gradients are zero, their rows stay.

        Args:
            chosen: (N,), the same on every process.
            events: a step of k of the n nodes that are there counts as k/n of a step, for algorithms in which each
                node has its own pace; otherwise it is a step that the others miss.
        """
        before, self.acting = self.acting, self.acting & chosen
        self._events_per_step, counted = int(before.sum()) if events else 0, self._events_per_step
        try:
            yield
        finally:
            self.acting, self._events_per_step = before, counted

    @contextmanager
    def without(self, absent: Mask) -> Iterator[None]:
        """Within, the absent nodes (N,) do nothing, and in the end their rows and state are what they were."""
        gone = np.flatnonzero(absent[self.ids.start : self.ids.stop])
        kept = {name: rows[gone].clone() for name, rows in self._state.items()} | {"": self.X[gone].clone()}
        try:
            with self.only(~absent):
                yield
        finally:
            self.X[gone] = kept.pop("")
            for name, rows in self._state.items():
                rows[gone] = kept.get(name, torch.zeros_like(rows[gone]))

    def learning_rates(self) -> torch.Tensor:
        """The present learning rate of each entry of the rows, (n, d); they differ between parameter groups.

        Raises:
            ValueError: for an optimizer that has none, or one of zero.
        """
        rates = torch.zeros_like(self.X)
        self.engine.learning_rates(rates)
        if not (rates > 0).all():
            kind = type(self.engine.optimizers[0]).__name__
            raise ValueError(f"this strategy divides by the learning rate: {kind} must have an `lr` above 0")
        return rates

    def grad(self, at: torch.Tensor | None = None) -> torch.Tensor:
        """One stochastic gradient per hosted node, at its row or at other rows of the same shape: a new (n, d).

        A fresh batch is drawn for the first gradient after each step; further calls use the same batch.
        """
        self._begin()
        rows = self._acting_rows()
        G = torch.empty_like(self.X) if len(rows) == len(self) else torch.zeros_like(self.X)
        self.engine.gradients(rows, at, G, self.keeps_loss(self.step + 1))
        return G

    def apply(self, G: torch.Tensor) -> None:
        """Each node's own optimizer takes one step with its row of G (n, d) as its gradient.

        Raises:
            ValueError: where G has another shape than X.
        """
        if G.shape != self.X.shape:
            raise ValueError(f"apply: G must be {tuple(self.X.shape)}, a row per hosted node, not {tuple(G.shape)}")
        self.engine.step(self._acting_rows(), G)
        self._step_taken()

    def descend(self) -> None:
        """`apply(grad())`: a plain local step of every node, to the same bits."""
        self._begin()
        self.engine.descend(self._acting_rows(), self.keeps_loss(self.step + 1))
        self._step_taken()

    def losses(self) -> torch.Tensor:
        """(n, 3) float64: the loss of each hosted node's last batch, whether there has been one, and the step since
        which the node is not finite, or 0."""
        return self.engine.losses()

    def step_schedulers(self) -> None:
        """Lets every node's lr_scheduler take a step, also of those that have sat out so far, of which torch warns."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before", UserWarning)
            for scheduler in self.engine.schedulers:
                scheduler.step()

    def tree(self) -> Tree:
        """What all processes know alike between two rounds. All processes come here."""
        counts = torch.tensor([[self.engine.gradient_evals]], dtype=torch.float64)
        return {
            "step": self.step,
            "events": self._events,
            "unseen_step": self._unseen_step,
            "gradient_evals": int(self.world.table(counts, self.world.size).sum()),
            "server": self._server,
        }

    def node_trees(self) -> list[Tree]:
        """What belongs to each of the hosted nodes between two rounds."""
        trees = [
            kept
            | {
                "x": self.X[k],
                "state": {name: rows[k] for name, rows in self._state.items()},
                "pass": int(self.batches.passes[k]),
                "position": int(self.batches.positions[k]),
                "not_finite_since": int(self.health.since[k]),
                "streams": {},
            }
            for k, kept in enumerate(self.engine.node_trees())
        ]
        for (purpose, k), stream in self.streams.made.items():
            trees[k]["streams"][purpose] = stream.get_state()
        return trees

    def restore(self, shared: Tree, trees: Sequence[Tree]) -> None:
        """Undoes :meth:`tree` and :meth:`node_trees`."""
        self.step, self._events, self._unseen_step = shared["step"], shared["events"], shared["unseen_step"]
        self.engine.gradient_evals = shared["gradient_evals"] if self.world.rank == 0 else 0
        for name, vector in shared["server"].items():
            self.server(name).copy_(vector)
        self.health.step = self.step + 1
        self.streams.made.clear()
        for k, tree in enumerate(trees):
            self.X[k] = tree["x"]
            self.health.since[k] = tree["not_finite_since"]
            for name, row in tree["state"].items():
                self.rows(name, len(row))[k] = row
            for purpose, state in tree["streams"].items():
                self.streams.of(purpose, k).set_state(state)
        self.engine.restore(trees)
        self.batches.go_to([tree["pass"] for tree in trees], [tree["position"] for tree in trees])

    def _begin(self) -> None:
        """Before a gradient is evaluated."""
        if self._unseen_step:
            self._unseen_step = False
            self.between_steps()

    def _acting_rows(self) -> Sequence[int]:
        """The places of the hosted nodes that take part."""
        if self.acting is self._everyone:
            return self._all_rows
        mine = self.acting[self.ids.start : self.ids.stop]
        return self._all_rows if mine.all() else np.flatnonzero(mine).tolist()

    def _step_taken(self) -> None:
        self.engine.forget_batches(self._acting_rows())
        if self._events_per_step:
            self._events += int(self.acting.sum())
            if self._events < self._events_per_step:
                return
            self._events -= self._events_per_step
        else:
            self.worked(self.acting)
        self.step += 1
        self.health.step = self.step + 1
        self._unseen_step = True


class OutOfSteps(Exception):
    """The budget of local steps is spent: ends a round before its exchange. For the trainer only."""
