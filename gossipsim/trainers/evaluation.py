"""Metrics of the mean model and of the nodes' own models, with the same bits wherever the nodes are hosted.

Work is split over processes in pieces whose bounds do not depend on the number of processes (a node's shard, a chunk
of a held-out set); the pieces' sums are collected and added in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from gossipsim.nodes import Nodes, trainable
from gossipsim.results import higher_is_better
from gossipsim.tasks.task import Optimum

CHUNK = 1000
"""Samples per forward pass of an evaluation."""

AT_ONCE = 1 << 20
"""Numbers of rows that are compared with their mean at once."""

MAX_LOCAL = 32
"""With more nodes than this, `local_eval: true` evaluates this many of them, evenly spaced."""

Tensors = tuple[torch.Tensor, torch.Tensor]
OwnMetrics = dict[str, torch.Tensor]
"""Metrics of nodes' own models by name, a number per evaluated node."""


def evaluated_nodes(nodes: int, local_eval: bool | int) -> list[int]:
    """Ids of the nodes whose own models are evaluated; none with a single node, whose model is the mean model.

    >>> evaluated_nodes(100, 4), evaluated_nodes(3, True), evaluated_nodes(3, False)
    ([0, 25, 50, 75], [0, 1, 2], [])
    """
    if local_eval is False or nodes == 1:
        return []
    count = min(nodes, MAX_LOCAL if local_eval is True else int(local_eval))
    return [k * nodes // count for k in range(count)]


class Lost(NamedTuple):
    """A node that is not finite any more, and since which step."""

    node: int
    step: int


def consensus(distances: torch.Tensor) -> float:
    """(1/N) sum_i ||x_i - mean||^2, from the N distances."""
    return float(np.square(distances.numpy()).mean())


class Evaluator:
    """Evaluates the rows of `nodes`.

    Args:
        shards: index tensors into the training set for the hosted nodes.
        train: (inputs, targets) of the training set.
        held_out: "val" and "test" sets, those that the task has.
        optimum: of the mean objective, where it is known.
    """

    def __init__(
        self,
        nodes: Nodes,
        shards: list[torch.Tensor],
        train: Tensors,
        held_out: dict[str, Tensors],
        optimum: Optimum | None,
        local_eval: bool | int,
    ) -> None:
        self.nodes, self.world, self.task = nodes, nodes.world, nodes.task
        self._shards, self._train, self._held_out = shards, train, held_out
        self._local = evaluated_nodes(self.world.nodes, local_eval)
        self._probe = nodes.template
        self._parameters = trainable(self._probe)
        optimizer, _ = nodes.recipe.optimizer(self._probe)
        sets: list[tuple[torch.Tensor, Any]] = getattr(optimizer, "constraints", list)()
        self._constraints = [(p, one) for p, one in sets if math.isfinite(one.diameter(p.shape))]
        self.start_moved = float(getattr(optimizer, "start_moved", 0.0))
        self._counts_lmo = hasattr(optimizer, "lmo_calls")
        self._probe.eval()
        self._optimum = optimum if optimum is not None and self._feasible(optimum.x) else None
        self._names = self._metric_names()
        self._at_once: bool | None = None  # whether the nodes' objectives can be evaluated at once, with equal bits

    @property
    def knows_optimum(self) -> bool:
        """Whether x* and f* are known for this run."""
        return self._optimum is not None

    def distances(self, mean: torch.Tensor) -> torch.Tensor:
        """||x_i - mean|| of all N nodes, (N,) float64; one node agrees with itself."""
        if self.world.nodes == 1:
            return torch.zeros(1, dtype=torch.float64)
        few = torch.split(self.nodes.X, max(1, AT_ONCE // max(len(mean), 1)))  # not as much again as all rows
        return self._of_all(torch.cat([torch.linalg.vector_norm(rows - mean, dim=1) for rows in few]))

    def batch_loss(self) -> tuple[float, bool]:
        """The mean over nodes of the loss of the last batch, of those that have had one; whether a node is lost."""
        losses = self.nodes.losses()
        if self.world.size > 1:
            losses = self.world.table(losses, self.world.nodes)
        total, count, lost = np.add.reduce(losses.numpy()).tolist()
        return total / count if count else 0.0, lost > 0

    def first_lost(self) -> Lost | None:
        """The node that was the first whose loss, or whose row at present, was not finite; None: there is none."""
        earlier = torch.from_numpy(self.nodes.health.since)
        now = torch.where(self.nodes.X.isfinite().all(1).cpu(), 0, self.nodes.step)
        since = self._of_all(torch.where(earlier > 0, earlier, now)).numpy()
        first = int(np.where(since > 0, since, np.inf).argmin())
        return Lost(first, int(since[first])) if since[first] > 0 else None

    def theory(self, mean: torch.Tensor, loss: float | None = None) -> dict[str, float]:
        """`suboptimality` f(mean) - f* and `distance` ||mean - x*||, where the optimum is known."""
        if self._optimum is None:
            return {}
        loss = self.train_loss(mean)[0] if loss is None else loss
        distance = torch.linalg.vector_norm(mean.cpu().double() - self._optimum.x)
        return {"suboptimality": loss - self._optimum.value, "distance": float(distance)}

    def everything(self, mean: torch.Tensor, distances: torch.Tensor, own: OwnMetrics) -> dict[str, float]:
        """All metrics of a history record, in its order."""
        loss, gradient = self.train_loss(mean, gradient=bool(self._constraints))
        metrics = {"train_loss": loss} | self.held_out_metrics(mean) | self.over_nodes(own)
        metrics["consensus"] = consensus(distances)
        metrics |= self.theory(mean, loss)
        if gradient is not None:
            metrics |= {"fw_gap": self._gap(mean, gradient), "feasibility": self._violation(mean)}
        return metrics

    def some(self, names: list[str], mean: torch.Tensor) -> dict[str, float]:
        """Those of EXTRA_STEP_FIELDS that are asked for and apply, in the order of `names`."""
        values: dict[str, float] = {}
        if "train_loss" in names:
            values["train_loss"] = self.train_loss(mean)[0]
        if "fw_gap" in names or "feasibility" in names:
            values |= self._constrained(mean, names)
        if any(name.startswith(("val_", "test_")) for name in names):
            values |= self.held_out_metrics(mean)
        rates = [optimizer.param_groups[0].get("lr") for optimizer in self.nodes.engine.optimizers]
        if rates and rates[0] is not None:
            values["learning_rate"] = float(rates[0])
        return {name: values[name] for name in names if name in values}

    def counts(self) -> dict[str, int]:
        """`gradient_evals` and, for Frank-Wolfe, `lmo_calls`, summed over all nodes."""
        lmo = [getattr(optimizer, "lmo_calls", None) for optimizer in self.nodes.engine.optimizers]
        counts = torch.tensor([[self.nodes.gradient_evals, sum(c or 0 for c in lmo)]], dtype=torch.float64)
        totals = self.world.table(counts, self.world.size).sum(0)
        lmo_calls = {"lmo_calls": int(totals[1])} if self._counts_lmo else {}
        return {"gradient_evals": int(totals[0])} | lmo_calls

    def _constrained(self, row: torch.Tensor, names: list[str]) -> dict[str, float]:
        """Those of `fw_gap` and `feasibility` that are asked for, at a row (d,); nothing without feasible sets."""
        if not self._constraints:
            return {}
        values = {"feasibility": self._violation(row)}
        if "fw_gap" in names:
            _, gradient = self.train_loss(row, gradient=True)
            assert gradient is not None
            values["fw_gap"] = self._gap(row, gradient)
        return values

    def train_loss(self, row: torch.Tensor, *, gradient: bool = False) -> tuple[float, torch.Tensor | None]:
        """f(row) = mean over nodes of f_i(row), and on request its gradient (d,)."""
        self._point(row)
        if not gradient:
            return self._node_mean(self._objectives(row)), None
        losses, G = torch.zeros(len(self._shards), dtype=torch.float64), torch.zeros_like(self.nodes.X)
        for k, shard in enumerate(self._shards):
            losses[k] = self._objective(shard, G[k])
        return self._node_mean(losses), self.world.mean(G)

    def _objectives(self, row: torch.Tensor) -> torch.Tensor:
        """f_i of the probe, which is the model at `row`, on the shards of the hosted nodes, (n,) float64."""
        if self._at_once is None:  # found out at a row that is nothing special, such as zero
            nearby = row + torch.randn(row.shape, generator=torch.Generator().manual_seed(0)).to(row)
            at_once = self.nodes.engine.objectives(nearby, self._shards, CHUNK)
            self._point(nearby)
            ends = {0: self._shards[0], -1: self._shards[-1]} if at_once is not None else {}
            self._at_once = at_once is not None and all(
                float(at_once[k]) == self._objective(shard, None) for k, shard in ends.items()
            )
            self._point(row)
        if self._at_once and (found := self.nodes.engine.objectives(row, self._shards, CHUNK)) is not None:
            return found
        return torch.tensor([self._objective(shard, None) for shard in self._shards], dtype=torch.float64)

    def held_out_metrics(self, row: torch.Tensor) -> dict[str, float]:
        """`val_loss`, `test_accuracy`, ... of the model at `row`; chunks are shared among the processes."""
        self._point(row)
        metrics: dict[str, float] = {}
        for split, data in self._held_out.items():
            pieces = list(_chunks(data))
            mine = [self._sums(*pieces[i]) for i in self.world.share(len(pieces))]
            sums = self.world.table(_stack(mine, len(self._names)), len(pieces)).sum(0)
            metrics |= self._named(f"{split}_", sums / len(data[0]))
        return metrics

    def own_metrics(self) -> OwnMetrics:
        """`local_<split>_<metric>` of the evaluated nodes' own models, in the order of their ids."""
        found: OwnMetrics = {}
        for split, data in self._held_out.items() if self._local else ():
            rows = torch.zeros(len(self.nodes.ids), len(self._names), dtype=torch.float64)
            for k, node in enumerate(self.nodes.ids):
                if node in self._local:
                    self._point(self.nodes.X[k], own=k)
                    rows[k] = _stack([self._sums(*c) for c in _chunks(data)], 0).sum(0) / len(data[0])
            table = self.world.table(rows, self.world.nodes)[self._local]
            found |= {f"local_{split}_{name}": values for name, values in zip(self._names, table.T, strict=True)}
        return found

    def over_nodes(self, own: OwnMetrics) -> dict[str, float]:
        """`local_<split>_<metric>_mean` and `_worst` over the evaluated nodes."""
        metrics: dict[str, float] = {}
        for name, values in own.items():
            metrics[f"{name}_mean"] = float(values.mean())
            metrics[f"{name}_worst"] = float(values.min() if higher_is_better(name) else values.max())
        return metrics

    def by_node(self, own: OwnMetrics) -> dict[str, list[float | None]]:
        """The metrics of all N nodes, None for those that are not evaluated."""
        places = {node: k for k, node in enumerate(self._local)}
        order = [places.get(node) for node in range(self.world.nodes)]
        return {name: [None if k is None else float(values[k]) for k in order] for name, values in own.items()}

    def _gap(self, row: torch.Tensor, gradient: torch.Tensor) -> float:
        """<g, x - lmo(g)>, summed over the parameters with a set; NaN where g is not finite."""
        if not gradient.isfinite().all():
            return math.nan
        self._point(row)
        by_parameter = {id(p): g for p, g in zip(self._parameters, self._views(gradient), strict=True)}
        gap = 0.0
        for p, constraint in self._constraints:
            g = by_parameter[id(p)]
            gap += float(torch.sum(g.double() * (p.detach() - constraint.lmo(g)).double()))
        return gap

    def _violation(self, row: torch.Tensor) -> float:
        """The largest violation of a defining inequality; NaN at a row that is not finite."""
        if not row.isfinite().all():
            return math.nan
        self._point(row)
        return max(float(constraint.violation(p.detach())) for p, constraint in self._constraints)

    def _feasible(self, x: torch.Tensor) -> bool:
        """Whether the known optimum also is that of the constrained problem."""
        self._point(x.to(self.nodes.X))
        return all(bool(constraint.contains(p.detach(), tol=1e-9)) for p, constraint in self._constraints)

    def _objective(self, shard: torch.Tensor, out: torch.Tensor | None) -> float:
        """f_i of the probe on one shard; adds its gradient to the row `out`."""
        total = 0.0
        for inputs, targets in _chunks(self._train, shard):
            share = len(inputs) / len(shard)
            with torch.set_grad_enabled(out is not None):
                loss = self.task.loss_fn(self._probe(inputs), targets) * share
                total += loss.item()
                if out is not None:
                    self._add_gradient(loss, out)
        regularizer = getattr(self.task, "regularizer", None)
        if regularizer is not None:
            with torch.set_grad_enabled(out is not None):
                loss = regularizer(self._probe)
                total += loss.item()
                if out is not None:
                    self._add_gradient(loss, out)
        return total

    def _add_gradient(self, loss: torch.Tensor, out: torch.Tensor) -> None:
        gradients = torch.autograd.grad(loss, self._parameters, materialize_grads=True)
        for view, g in zip(self._views(out), gradients, strict=True):
            view.add_(g)

    @torch.no_grad()
    def _sums(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss and metrics of one chunk, times its number of samples: (k,) float64."""
        output = self._probe(inputs)
        values = {"loss": self.task.loss_fn(output, targets)} | dict(self.task.metrics_fn(output, targets))
        return torch.tensor([float(v) for v in values.values()], dtype=torch.float64) * len(inputs)

    def _metric_names(self) -> list[str]:
        for inputs, targets in self._held_out.values():
            with torch.no_grad():
                return ["loss", *self.task.metrics_fn(self._probe(inputs[:2]), targets[:2])]
        return ["loss"]

    def _point(self, row: torch.Tensor, own: int | None = None) -> None:
        """Makes the probe the model at `row`, with node `own`'s buffers or the mean of all nodes' buffers."""
        for p, view in zip(self._parameters, self._views(row), strict=True):
            p.data = view
        names = [name for name, b in self._probe.named_buffers() if b.is_floating_point()]
        if not names:
            return
        theirs = self.nodes.engine.buffers()
        for name, buffer in self._probe.named_buffers():
            if name in names and own is not None:
                buffer.copy_(theirs[own][name])
            elif name in names:
                rows = (
                    torch.stack([b[name].reshape(-1) for b in theirs])
                    if theirs
                    else buffer.new_empty(0, buffer.numel())
                )
                buffer.copy_(self.world.mean(rows).view_as(buffer))

    def _views(self, row: torch.Tensor) -> list[torch.Tensor]:
        return self.nodes.layout.views(row)

    def _node_mean(self, values: torch.Tensor) -> float:
        """The mean over all N nodes of one float64 number per hosted node."""
        return float(self._of_all(values).mean())

    def _of_all(self, values: torch.Tensor) -> torch.Tensor:
        """One number per hosted node, (n,) -> one of each of the N nodes, (N,) float64."""
        return self.world.table(values.double().cpu().unsqueeze(1), self.world.nodes).squeeze(1)

    def _named(self, prefix: str, values: torch.Tensor) -> dict[str, float]:
        return {prefix + name: float(value) for name, value in zip(self._names, values, strict=True)}


class State:
    """The rows after a step, as records see them; the processes meet where something is first asked for."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    @cached_property
    def mean(self) -> torch.Tensor:
        """Of all rows, (d,)."""
        nodes = self._evaluator.nodes
        return nodes.world.mean(nodes.X) if nodes.world.nodes > 1 else nodes.X[0]

    @cached_property
    def distances(self) -> torch.Tensor:
        """Of all nodes to the mean, (N,)."""
        return self._evaluator.distances(self.mean)


def _chunks(data: Tensors, indices: torch.Tensor | None = None) -> Iterator[Tensors]:
    inputs, targets = data
    for start in range(0, len(inputs) if indices is None else len(indices), CHUNK):
        if indices is None:
            yield inputs[start : start + CHUNK], targets[start : start + CHUNK]
        else:
            piece = indices[start : start + CHUNK]
            yield inputs.index_select(0, piece), targets.index_select(0, piece)


def _stack(rows: list[torch.Tensor], width: int) -> torch.Tensor:
    return torch.stack(rows) if rows else torch.zeros(0, width, dtype=torch.float64)
