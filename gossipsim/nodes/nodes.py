"""The hosted nodes: models as views into rows, one torch optimizer per node, shards, and random streams of their own.

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
from torch import nn

from gossipsim.compression import Compressor, compress
from gossipsim.mixing import Compressed, row_bytes
from gossipsim.network import Mask
from gossipsim.nodes.layout import RowLayout
from gossipsim.nodes.node import Blame, Node, Recipe, needs_closure, recipe_template
from gossipsim.streams import draws, global_stream
from gossipsim.tasks.task import Task
from gossipsim.world import World


class Nodes:
    """The nodes that this process hosts, and the verbs `grad` and `apply`.

    Args:
        shards: index tensors into the training set, for the hosted nodes in order.
        train: (inputs, targets) of the whole training set, on the world's device.
        streams: whose random streams each hosted node draws from; its own unless nodes are relabelled.

    Attributes:
        X: (n, d) rows. step: optimizer steps taken per node. gradient_evals: gradients computed here so far.
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
        self._train = train
        template = recipe_template(recipe)
        self.layout = RowLayout(template)
        self.template = template.to(world.device)
        shape = (len(self.ids), self.layout.d)
        self._rows = torch.zeros(shape, dtype=recipe.dtype, device=world.device)
        self._directions = torch.zeros_like(self._rows)
        self.step = self.gradient_evals = 0
        self.between_steps: Callable[[], None] = lambda: None
        self.worked: Callable[[Mask], None] = lambda _: None
        self.acting: Mask = np.ones(world.nodes, dtype=bool)
        self._state: dict[str, torch.Tensor] = {}
        self._server: dict[str, torch.Tensor] = {}
        self._unseen_step = False
        self._events = self._events_per_step = 0  # where steps are not counted by events, 0 of them make a step
        self._keys = None if streams is None else list(streams)
        self._members = [
            Node(i, key, recipe, shard, world.device)
            for i, key, shard in zip(self.ids, streams or self.ids, shards, strict=True)
        ]
        for k, node in enumerate(self._members):
            self._settle(k, node)
        noisy = getattr(task, "gradient_noise", None) is not None
        self._needs_rows = noisy or any(node.needs_closure for node in self._members)

    def _settle(self, k: int, node: Node) -> None:
        """Moves a node's parameters into its row and gives it an optimizer."""
        with Blame(node):
            self.layout.flatten([p.detach() for p in node.parameters], self.X[k])
            self._point(node, self.X[k])
            node.optimizer, node.scheduler = self.recipe.optimizer(node.model)
            node.needs_closure = needs_closure(node.optimizer)
            node.places = [p.data_ptr() for p in node.parameters]
            node.gradients = self.layout.views(self._directions[k])

    @property
    def X(self) -> torch.Tensor:  # noqa: N802  the field's name for a matrix
        """The hosted rows (n, d), which the models' parameters are views of."""
        return self._rows

    @X.setter
    def X(self, value: torch.Tensor) -> None:  # noqa: N802
        if value is not self._rows:  # `nodes.X += ...` is in place and comes here too
            raise ValueError("nodes.X is where the parameters live: write `nodes.X[:] = ...` for `nodes.X = ...`")

    def __iter__(self) -> Iterator[Node]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def rows(self, name: str, width: int | None = None) -> torch.Tensor:
        """State of the algorithm: a named matrix (n, d) like X, or (n, width), zero at first, kept with the nodes."""
        if name not in self._state:
            self._state[name] = self.X.new_zeros(len(self), self.layout.d if width is None else width)
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
        states = [value for node in self for each in node.optimizer.state.values() for value in each.values()]
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
        rows = torch.empty_like(X)
        for k, node in enumerate(self._members):
            rows[k] = compress(X[k], compressor, self.layout.shapes, node.compression_stream)
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
        for k, node in enumerate(self._members):
            groups = node.optimizer.param_groups
            rate = {id(p): float(group.get("lr", 0)) for group in groups for p in group["params"]}
            for p, view in zip(node.parameters, self.layout.views(rates[k]), strict=True):
                view.fill_(rate.get(id(p), 0))
        if not (rates > 0).all():
            kind = type(next(iter(self)).optimizer).__name__
            raise ValueError(f"this strategy divides by the learning rate: {kind} must have an `lr` above 0")
        return rates

    def grad(self, at: torch.Tensor | None = None) -> torch.Tensor:
        """One stochastic gradient per hosted node, at its row or at other rows of the same shape: a new (n, d).

        A fresh batch is drawn for the first gradient after each step; further calls use the same batch.
        """
        self._draw()
        G = torch.empty_like(self.X) if self._all_act else torch.zeros_like(self.X)
        for k, node in self._actors():
            with Blame(node):
                if at is not None:
                    self._point(node, at[k])
                node.loss = self._gradient(node, G[k])
                if at is not None:
                    self._point(node, self.X[k])
            self.gradient_evals += 1
        return G

    def apply(self, G: torch.Tensor) -> None:
        """Each node's own optimizer takes one step with its row of G (n, d) as its gradient.

        Raises:
            ValueError: where G has another shape than X.
        """
        if G.shape != self.X.shape:
            raise ValueError(f"apply: G must be {tuple(self.X.shape)}, a row per hosted node, not {tuple(G.shape)}")
        self._directions.copy_(G)
        for _, node in self._actors():
            with Blame(node):
                self._optimizer_step(node, node.gradients)
        self._step_taken()

    def descend(self) -> None:
        """`apply(grad())`: a plain local step of every node, to the same bits.

        The optimizers read the gradients where autograd has left them; two copies of the model are saved.
        """
        if self._needs_rows:
            self.apply(self.grad())
            return
        self._draw()
        for _, node in self._actors():
            with Blame(node):
                loss = self._loss(node)
                gradients = torch.autograd.grad(loss, node.parameters, materialize_grads=True)
                node.loss = loss.item()
                # contiguous, as in a row: matrix products give other bits for other strides
                self._optimizer_step(node, [g.contiguous() for g in gradients])
                for p in node.parameters:
                    p.grad = None  # returns the memory before the next backward pass asks for it
            self.gradient_evals += 1
        self._step_taken()

    @property
    def _all_act(self) -> bool:
        return bool(self.acting.all())

    def _actors(self) -> Iterator[tuple[int, Node]]:
        """The hosted nodes that take part, with their rows' numbers."""
        for k, node in enumerate(self._members):
            if self.acting[node.id]:
                yield k, node

    def _step_taken(self) -> None:
        for _, node in self._actors():
            node.needs_batch = True
        if self._events_per_step:
            self._events += int(self.acting.sum())
            if self._events < self._events_per_step:
                return
            self._events -= self._events_per_step
        else:
            self.worked(self.acting)
        self.step += 1
        self._unseen_step = True

    def step_schedulers(self) -> None:
        """Lets every node's lr_scheduler take a step, also of those that have sat out so far, of which torch warns."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before", UserWarning)
            for node in self._members:
                if node.scheduler is not None:
                    node.scheduler.step()

    def _draw(self) -> None:
        """A fresh batch for the nodes that have taken a step with theirs."""
        if self._unseen_step:
            self._unseen_step = False
            self.between_steps()
        inputs, targets = self._train
        for _, node in self._actors():
            if not node.needs_batch:
                continue
            batch = node.batches.next()
            node.inputs, node.targets = inputs.index_select(0, batch), targets.index_select(0, batch)
            if self.recipe.augment is not None:
                with Blame(node):
                    node.inputs = self.recipe.augment(node.inputs, node.augment_stream)
            node.needs_batch = False

    def _loss(self, node: Node) -> torch.Tensor:
        with global_stream(node.stream):
            loss = self.task.loss_fn(node.model(node.inputs), node.targets)
            regularizer = getattr(self.task, "regularizer", None)
            return loss if regularizer is None else loss + regularizer(node.model)

    def _gradient(self, node: Node, out: torch.Tensor) -> float:
        """Writes the node's gradient on its batch into `out` (d,); returns the loss."""
        loss = self._loss(node)
        gradients = torch.autograd.grad(loss, node.parameters, materialize_grads=True)
        self.layout.flatten(list(gradients), out)
        noise = getattr(self.task, "gradient_noise", None)
        if noise is not None:
            out += noise(node.noise_stream, out)
        return loss.item()

    def _clip(self, node: Node) -> None:
        if self.recipe.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(node.parameters, self.recipe.clip_grad_norm)

    def _optimizer_step(self, node: Node, gradients: Sequence[torch.Tensor]) -> None:
        for p, gradient in zip(node.parameters, gradients, strict=True):
            p.grad = gradient
        self._clip(node)
        if node.needs_closure:
            node.optimizer.step(self._closure(node))
        else:
            node.optimizer.step()
        for p, place in zip(node.parameters, node.places, strict=True):
            if p.data_ptr() != place:
                raise ValueError(
                    f"{type(node.optimizer).__name__} rebound the data of a parameter instead of updating it in "
                    "place, so its row no longer follows; write `p.copy_(...)` for `p.data = ...`"
                )

    def _closure(self, node: Node) -> Callable[[], float]:
        """Evaluates the node's same batch again, into the row of directions that its optimizer reads."""

        def closure() -> float:
            self.gradient_evals += 1
            with torch.enable_grad():
                loss = self._gradient(node, self._directions[node.id - self.ids.start])
            self._clip(node)
            return loss

        return closure

    def _point(self, node: Node, row: torch.Tensor) -> None:
        for p, view in zip(node.parameters, self.layout.views(row), strict=True):
            p.data = view


class OutOfSteps(Exception):
    """The budget of local steps is spent: ends a round before its exchange. For the trainer only."""
