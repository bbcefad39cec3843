"""From the specs of a run to its parts: task, network, strategy, shards, and the recipe of a node.

:mod:`gossipsim.preflight` builds everything once, so that a configuration that cannot work is refused before anything
is written; the run itself goes through the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from gossipsim.compression import Compressor
from gossipsim.config import ConfigError, RunSpec
from gossipsim.data.partition import class_histogram, seen_inputs, shards_of, total_variation
from gossipsim.network import Links, Network
from gossipsim.network.ours import check_growth
from gossipsim.nodes import Recipe, RowLayout, trainable
from gossipsim.parts.building import Cache, as_lists, cache_key, call_with, cast, default_dtype
from gossipsim.parts.cautions import too_large, unlogged, unstable, untracked
from gossipsim.protocols import check_schedule, check_shards, check_task
from gossipsim.spec import BuildError, build, build_callable, build_optimizer, in_one_line
from gossipsim.strategies import Claims, claims_of
from gossipsim.streams import generator, global_stream
from gossipsim.tasks.task import Optimum, Project, Task

Tensors = tuple[torch.Tensor, torch.Tensor]
MAX_DRAWN_EDGES = 5000
"""Graphs with more edges than this are not stored in a run's summary."""

MIB = 1 << 20


def _task_bytes(task: Task) -> int:
    """Memory of its tensors, and something for the rest."""
    sets = [data for name in ("train", "val", "test") if (data := getattr(task, name, None)) is not None]
    tensors: list[torch.Tensor] = [tensor for data in sets for tensor in data.tensors]
    return MIB // 16 + sum(tensor.nbytes for tensor in tensors)


_tasks: Cache[Task] = Cache(2, _task_bytes, budget=256 * MIB)
"""The tasks in use, built once in the process that forks the ranks, so that these share the data."""

_networks: Cache[Network] = Cache(16)
"""The networks in use, with the spectra that have been computed."""

_optima: Cache[Optimum | None] = Cache(64)


def forget() -> None:
    """Empties the caches: files and the user's modules may have changed since the last experiment of this process."""
    for cache in (_tasks, _networks, _optima):
        cache.clear()


def tasks_in_memory() -> frozenset[str]:
    """:attr:`Parts.task_key` of the tasks that are loaded: ranks that are forked now find them there."""
    return _tasks.keys()


class Parts:
    """What one run is made of, built on demand; errors carry file, line and path of the spec at fault.

    Raises:
        ConfigError: from every member, where its spec cannot be built or does not fit the others.
    """

    def __init__(self, run: RunSpec) -> None:
        self.run = run
        self.count: int = run.network["nodes"]
        self.schedule_every: str = (run.optimizer.get("schedule") or {}).get("every", "epoch")

    @cached_property
    def trainer(self) -> Any:
        with self.blame("trainer"):
            return build(self.run.trainer)

    @property
    def dtype(self) -> torch.dtype:
        """The trainer's; float32 for checks of the other parts where the trainer itself is at fault."""
        try:
            dtype: torch.dtype = self.trainer.dtype
        except ConfigError:
            return torch.float32
        return dtype

    @property
    def task_key(self) -> str:
        """Equal for runs that use the same data."""
        return cache_key([self.run.task, self.count])

    @cached_property
    def task(self) -> Task:
        return _tasks.get([self.run.task, self.count], self._build_task)

    @cached_property
    def network(self) -> Network:
        return _networks.get(self.run.network, self._build_network)

    @cached_property
    def links(self) -> Links | None:
        """What becomes of messages; None: all arrive at once."""
        spec = self.run.network.get("links")
        if spec is None:
            return None
        with self.blame("network.links"):
            links: Links = build(spec)
            if not hasattr(links, "deliver"):
                raise ValueError(f"{spec['class']} gave a {type(links).__name__}; use gossipsim.network.Links")
        where = self.run.origins.of
        if wrong := [f"{where(f'network.links.params.{at}')}: {text}" for at, text in links.problems(self.count)]:
            raise ConfigError(wrong)
        return links

    @cached_property
    def compressor(self) -> Compressor | None:
        """What every exchange of rows is compressed with; None: rows are sent whole."""
        spec = self.run.network.get("compression")
        if spec is None:
            return None
        with self.blame("network.compression"):
            compressor = build(spec)
            if not isinstance(compressor, Compressor):
                raise ValueError(
                    f"{spec['class']} gave a {type(compressor).__name__}; use gossipsim.compression.TopK, ..."
                )
            return compressor

    def _build_task(self) -> Task:
        with self.blame("task"):
            task: Task = build(self.run.task, nodes=self.count)
            check_task(task)
            return task

    def _build_network(self) -> Network:
        spec = self.run.network
        sizes = dict.fromkeys(("n", "nodes", "num_nodes", "n_nodes"), self.count)
        with self.blame("network.topology"):
            check_growth(spec["topology"]["class"], spec["topology"]["params"].get("n", self.count))
            topology = build(spec["topology"], seed=0, **sizes)
        with self.blame("network.weights"):
            weights = build_callable(spec["weights"])
        with self.blame_network():
            return Network(self.count, topology, weights, name=spec["topology"]["class"])

    @cached_property
    def strategy(self) -> Any:
        with self.blame("strategy"):
            return build(self.run.strategy)

    @property
    def claims(self) -> Claims:
        with self.blame("strategy"):
            return claims_of(self.strategy)

    @cached_property
    def partition(self) -> Any:
        """What deals out the samples; None where the task brings its own shards."""
        if getattr(self.task, "shards", None) is not None:
            return None
        with self.blame("partition"):
            return build_callable(self.run.partition)

    @cached_property
    def shards(self) -> list[torch.Tensor]:
        """Index tensors into the training set, one per node, none empty."""
        if self.partition is None:
            with self.blame("task"):
                return check_shards(getattr(self.task, "shards", []), self.count, "the task's shards")
        name = self.run.partition["class"]
        with self.blame("partition"):
            inputs, labels = self.task.train.tensors
            stream = generator(self.run.seed, None, "partition")
            return check_shards(shards_of(self.partition, labels, inputs, self.count, stream), self.count, name)

    def model(self) -> nn.Module:
        """A fresh model in the trainer's dtype; draws from torch's global generator."""
        task = self.task
        with self.blame("model"), default_dtype(self.dtype):
            offered = {"input_shape": task.input_shape, "num_classes": task.num_classes}
            model = build(self.run.model, **offered)
            if not isinstance(model, nn.Module):
                raise ValueError(f"{self.run.model['class']} gave a {type(model).__name__}, not a torch.nn.Module")
            if not any(p.requires_grad for p in model.parameters()):
                raise ValueError(f"{self.run.model['class']} has no trainable parameters")
            return model.to(self.dtype)

    def optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
        """The optimizer of one node's model, and its lr_scheduler or None."""
        with self.blame("optimizer"):
            optimizer = build_optimizer(self.run.optimizer, model)
        schedule = self.run.optimizer.get("schedule")
        if schedule is None:
            return optimizer, None
        with self.blame("optimizer.schedule"):
            spec = {key: value for key, value in schedule.items() if key != "every"}
            scheduler = build(spec, optimizer=optimizer)
            check_schedule(schedule["class"], scheduler)
            return optimizer, scheduler

    def recipe(self) -> Recipe:
        """How every node is made."""
        trainer = self.trainer
        return Recipe(
            model=self.model,
            optimizer=self.optimizer,
            seed=self.run.seed,
            batch_size=trainer.batch_size,
            dtype=trainer.dtype,
            init=trainer.init,
            augment=trainer.augment,
            clip_grad_norm=self.run.optimizer.get("clip_grad_norm"),
            engine=getattr(trainer, "engine", "loop"),
            loop_only=self._loop_only(),
            kind=cache_key([self.task_key, self.run.model, self.run.optimizer, self.run.trainer, self.run.partition]),
        )

    def _loop_only(self) -> str | None:
        """Why nodes cannot be stacked, as far as that is not about model and optimizer."""
        if not self.claims.everyone:
            return f"with {self.run.strategy['class']} nodes miss steps"
        if self.links is not None and self.links.loses:
            return "network.links lose messages or nodes, which then miss steps"
        if getattr(self.trainer, "mixes_state", False):
            return 'optimizer_state is "mixed"'
        return None

    def tensors(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensors, dict[str, Tensors]]:
        """(inputs, targets) of the training set and of the held-out sets, floating tensors in `dtype`."""
        splits = {name: getattr(self.task, name, None) for name in ("val", "test")}
        held_out = {
            name: cast(data.tensors, device, dtype)
            for name, data in splits.items()
            if data is not None and len(data.tensors[0])
        }
        inputs, targets = self.task.train.tensors
        with self.blame("partition"):
            stream = generator(self.run.seed, None, "feature shift")
            inputs = seen_inputs(self.partition, inputs, self.shards, stream)
        return cast((inputs, targets), device, dtype), held_out

    def optimum(self) -> Optimum | None:
        """x* and f* of the mean objective over the optimizer's feasible set, where the task knows them for this run.

        It knows them for its own inputs; where a partition changes these, nobody does.
        """
        optimum = getattr(self.task, "optimum", None)
        if optimum is None or hasattr(self.partition, "transform"):
            return None
        run = self.run
        subject = [run.task, self.count, run.model, run.optimizer, run.partition, run.seed]
        return _optima.get(subject, lambda: self._find_optimum(optimum))

    def _find_optimum(self, optimum: Callable[..., Optimum | None]) -> Optimum | None:
        with self.blame("task"), global_stream(generator(self.run.seed, 0, "init")):
            model = self.model().double()
            offered = {"model": model, "shards": self.shards, "project": self._projection(model)}
            found: Optimum | None = call_with(optimum, offered)
            return found

    def _projection(self, model: nn.Module) -> Project | None:
        """The Euclidean projection of a row onto the product of the optimizer's sets; None where it has none."""
        optimizer, _ = self.optimizer(model)
        sets = {id(p): one for p, one in getattr(optimizer, "constraints", list)()}
        if not sets:
            return None
        layout, parameters = RowLayout(model), trainable(model)

        def project(x: torch.Tensor) -> torch.Tensor:
            nearest = x.clone()
            for p, view in zip(parameters, layout.views(nearest), strict=True):
                if id(p) in sets:
                    view.copy_(sets[id(p)].project(view))
            return nearest

        return project

    def warnings(self) -> list[str]:
        """What is unusual or has no effect, but is not refused."""
        with self.blame_network():
            said = list(self._said())
        return self._unusual_network() + [f"{self.run.origins.of(path)}: {text}" for path, text in said]

    def _said(self) -> Iterator[tuple[str, str]]:
        """Warnings, each with the place that it is about."""
        run, claims, name = self.run, self.claims, self.run.strategy["class"]
        for text in unlogged(getattr(self.trainer, "requested", ()), self.task):
            yield "trainer.params.log", text
        if self.links is not None:
            for text in self.links.cautions(self.network.certificate(), claims.needs, claims.over):
                yield "network.links", text
        if self.count > 1:
            data = self.task if self.partition is None else self.partition
            for text in untracked(name, claims, run.optimizer["class"], data):
                yield "strategy", text
        for text in too_large(name, claims, self.network, run.optimizer, self.task):
            yield "optimizer", text
        if self.count > 1 and claims.over == "graph":
            for text in unstable(name, claims, self.network):
                yield "network.weights", text

    def _unusual_network(self) -> list[str]:
        if self.count == 1 or self.claims.over != "graph":
            return []
        with self.blame_network():
            return self.network.problems(self.claims.needs - {"reliable"})[1]

    def describe(self) -> dict[str, Any]:
        """What a run's summary.json says about its parts: split, shards, network, warnings."""
        train = self.task.train.tensors
        sizes = {
            name: len(data.tensors[0]) if (data := getattr(self.task, name, None)) is not None else 0
            for name in ("train", "val", "test")
        }
        about: dict[str, Any] = {"split": getattr(self.task, "split", sizes)}
        requested = getattr(self.task, "requested_split", None)
        if requested is not None and requested != about["split"]:
            about["requested_split"] = requested
        about["shard_sizes"] = [len(shard) for shard in self.shards]
        if self.task.num_classes and not train[1].is_floating_point():
            histogram = class_histogram(train[1], self.shards, self.task.num_classes)
            about["class_histogram"] = as_lists(histogram)
            about["total_variation"] = as_lists(total_variation(histogram))
        about["network"] = self.network.certificate()
        graph = self.network.graph(0)
        if graph.number_of_edges() <= MAX_DRAWN_EDGES:
            edges = [[int(u), int(v)] for u, v in graph.edges]
            about["graph"] = {"directed": graph.is_directed(), "edges": edges}
        about["warnings"] = self.warnings()
        return about

    def costs(self) -> dict[str, Any]:
        """Parameters of a model, bytes that all nodes send per round, bytes of one copy of all rows, slem of W."""
        with global_stream(generator(self.run.seed, 0, "init")):
            shapes = [p.shape for p in self.model().parameters() if p.requires_grad]
        parameters = sum(shape.numel() for shape in shapes)
        row = parameters * self.dtype.itemsize
        claims = self.claims
        compressor = claims.compressor or self.compressor
        sent = row if compressor is None else compressor.nbytes(parameters, self.dtype.itemsize, shapes)
        edges = claims.messages_per_exchange(self.count, self.network.messages(0))
        slem = self.network.certificate()["slem"] if claims.over == "graph" else None
        sent = round(edges * (claims.sends * sent + claims.numbers * self.dtype.itemsize))
        return {"parameters": parameters, "bytes_per_round": sent, "row_bytes": self.count * row, "slem": slem}

    @contextmanager
    def blame_network(self) -> Iterator[None]:
        """As :meth:`blame`; the network's own errors begin with the part at fault."""
        with self.blame("network.topology"):
            try:
                yield
            except ValueError as error:
                raise ConfigError([self.of_network(in_one_line(error))]) from error

    def of_network(self, message: str) -> str:
        """An error of the network with the file and line of the part at fault."""
        part = next((p for p in ("network.weights", "network.nodes") if message.startswith(p)), "network.topology")
        return f"{self.run.origins.of(part)}: {message.removeprefix(f'{part}: ')}"

    @contextmanager
    def blame(self, path: str) -> Iterator[None]:
        """Turns what goes wrong in building the spec at `path` into an error with file and line."""
        try:
            yield
        except ConfigError:
            raise
        except BuildError as error:
            where = self.run.origins.of(f"{path}.{error.path}" if error.path else path)
            raise ConfigError([f"{where}: {error.message}"]) from error
        except (Exception, SystemExit) as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ConfigError([f"{self.run.origins.of(path)}: {kind}{in_one_line(error)}"]) from error
