"""The hosted nodes: models as views into rows, one torch optimizer per node, shards, and random streams of their own.

`X` (n, d) holds the parameters of the n nodes that this process hosts, one contiguous row each. The parameters of
node k's model are views into row k, so an optimizer's in-place update changes the row, and the message that a
neighbour gets is that row. Assign in place (`nodes.X[:] = ...`), never rebind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gossipsim.data.batches import BatchStream
from gossipsim.streams import generator, global_stream
from gossipsim.tasks.task import Task
from gossipsim.world import World


class RowLayout:
    """Where each trainable parameter of a model lies in a row of d numbers, in `parameters()` order."""

    def __init__(self, model: nn.Module) -> None:
        self.shapes = [p.shape for p in model.parameters() if p.requires_grad]
        sizes = [shape.numel() for shape in self.shapes]
        self.slices = [slice(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
        self.d = sum(sizes)

    def views(self, row: torch.Tensor) -> list[torch.Tensor]:
        """The parameters' views into `row` (d,)."""
        return [row[s].view(shape) for s, shape in zip(self.slices, self.shapes, strict=True)]

    def flatten(self, tensors: list[torch.Tensor], out: torch.Tensor) -> None:
        """Copies parameter-shaped tensors into the row `out` (d,)."""
        torch.cat([t.reshape(-1) for t in tensors], out=out)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a row holds."""
    return [p for p in model.parameters() if p.requires_grad]


@dataclass(frozen=True)
class Recipe:
    """How every node is made; the same on all processes.

    Attributes:
        model: builds a fresh model in `dtype`, drawing from torch's global generator.
        optimizer: builds the optimizer (and its lr_scheduler, or None) of a model.
        init: "same": all nodes start from one seeded draw; "independent": each from its own.
        augment: changes a batch with the node's own stream, or None.
        clip_grad_norm: bound on the norm of the direction that a node's optimizer gets, or None.
    """

    model: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], tuple[torch.optim.Optimizer, Any]]
    seed: int = 0
    batch_size: int | None = 32
    dtype: torch.dtype = torch.float32
    init: str = "same"
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    clip_grad_norm: float | None = None


class Node:
    """One participant: its model (views into a row), optimizer, data order and random streams."""

    def __init__(self, ident: int, key: int, recipe: Recipe, shard: torch.Tensor, device: torch.device) -> None:
        self.id = ident
        seed = recipe.seed
        with global_stream(generator(seed, key if recipe.init == "independent" else 0, "init")):
            self.model = recipe.model().to(device)
        self.batches = BatchStream(shard, recipe.batch_size, generator(seed, key, "data"))
        self.stream = generator(seed, key, "model", device)
        self.augment_stream = generator(seed, key, "augment")
        self.noise_stream = generator(seed, key, "noise")
        self.parameters = trainable(self.model)
        self.gradients: list[torch.Tensor]  # views into the buffered direction that the optimizer reads
        self.places: list[int]  # addresses of the parameters in the row
        self.optimizer: torch.optim.Optimizer
        self.needs_closure: bool
        self.scheduler: Any
        self.inputs: torch.Tensor
        self.targets: torch.Tensor


class Nodes:
    """The nodes that this process hosts, and the verbs `grad` and `apply`.

    Args:
        shards: index tensors into the training set, for the hosted nodes in order.
        train: (inputs, targets) of the whole training set, on the world's device.
        streams: whose random streams each hosted node draws from; its own unless nodes are relabelled.

    Attributes:
        X: (n, d) rows. step: optimizer steps taken per node. gradient_evals: gradients computed here so far.
        losses: n losses, of the last batch of each node.
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
        self.losses = [0.0] * len(self.ids)
        self.step = self.gradient_evals = 0
        self.between_steps: Callable[[], None] = lambda: None
        self._state: dict[str, torch.Tensor] = {}
        self._needs_batch = True
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
        with _Blame(node):
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
        if self._needs_batch:
            self._draw()
        G = torch.empty_like(self.X)
        for k, node in enumerate(self._members):
            with _Blame(node):
                if at is not None:
                    self._point(node, at[k])
                self.losses[k] = self._gradient(node, G[k])
                if at is not None:
                    self._point(node, self.X[k])
        self.gradient_evals += len(self._members)
        return G

    def apply(self, G: torch.Tensor) -> None:
        """Each node's own optimizer takes one step with its row of G (n, d) as its gradient.

        Raises:
            ValueError: where G has another shape than X.
        """
        if G.shape != self.X.shape:
            raise ValueError(f"apply: G must be {tuple(self.X.shape)}, a row per hosted node, not {tuple(G.shape)}")
        self._directions.copy_(G)
        for node in self._members:
            with _Blame(node):
                self._optimizer_step(node, node.gradients)
        self._step_taken()

    def descend(self) -> None:
        """`apply(grad())`: a plain local step of every node, to the same bits.

        The optimizers read the gradients where autograd has left them; two copies of the model are saved.
        """
        if self._needs_rows:
            self.apply(self.grad())
            return
        if self._needs_batch:
            self._draw()
        for k, node in enumerate(self._members):
            with _Blame(node):
                loss = self._loss(node)
                gradients = torch.autograd.grad(loss, node.parameters, materialize_grads=True)
                self.losses[k] = loss.item()
                # contiguous, as in a row: matrix products give other bits for other strides
                self._optimizer_step(node, [g.contiguous() for g in gradients])
                for p in node.parameters:
                    p.grad = None  # returns the memory before the next backward pass asks for it
        self.gradient_evals += len(self._members)
        self._step_taken()

    def _step_taken(self) -> None:
        self.step += 1
        self._needs_batch = True

    def step_schedulers(self) -> None:
        """Lets every node's lr_scheduler take a step."""
        for node in self._members:
            if node.scheduler is not None:
                node.scheduler.step()

    def _draw(self) -> None:
        if self.step:
            self.between_steps()
        inputs, targets = self._train
        for node in self._members:
            batch = node.batches.next()
            node.inputs, node.targets = inputs.index_select(0, batch), targets.index_select(0, batch)
            if self.recipe.augment is not None:
                with _Blame(node):
                    node.inputs = self.recipe.augment(node.inputs, node.augment_stream)
        self._needs_batch = False

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


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `step` cannot do without a closure (LBFGS, line search)."""
    if getattr(optimizer, "needs_closure", False):
        return True
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def recipe_template(recipe: Recipe) -> nn.Module:
    """A model for evaluation at rows that no node owns; made from a stream of its own, so it costs nobody a draw."""
    with global_stream(generator(recipe.seed, 0, "init")):
        return recipe.model()


class _Blame:
    """Marks an exception with the node it happened on. A class: a generator would cost 1 % of a small model's step."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            error.node = self._node.id  # type: ignore[attr-defined]
