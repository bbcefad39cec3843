"""The flags of the older command line, and what each means as a part of an experiment.

A flag that was not given is None and has a default that fits the task. One that would change nothing is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Env = Literal["single", "gossip"]
Task = Literal["quadratic", "logistic", "mnist"]
Optimizer = Literal["fw", "gd", "pgd", "sgd", "adam"]
Strategy = Literal["local_then_gossip", "gossip_then_local", "gradient_tracking"]
Heterogeneity = Literal["iid", "label_skew"]
Constraint = Literal["l1", "l2", "linf", "simplex", "ksparse", "nuclear", "spectral"]

Spec = dict[str, Any]

OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
CONSTRAINED = ("fw", "pgd")
CONSTRAINTS: dict[str, str] = {
    "l1": "L1",
    "l2": "L2",
    "linf": "Linf",
    "simplex": "ProbabilitySimplex",
    "ksparse": "KSparsePolytope",
    "nuclear": "NuclearBall",
    "spectral": "SpectralBall",
}
_OF_MATRICES = ("nuclear", "spectral")

_STRATEGIES = {
    "local_then_gossip": "LocalThenGossip",
    "gossip_then_local": "GossipThenLocal",
    "gradient_tracking": "GradientTracking",
}
_RATES: dict[str, dict[str, float]] = {
    "quadratic": {"gd": 0.5, "pgd": 0.5, "sgd": 0.1, "adam": 0.05},
    "logistic": {"gd": 0.5, "pgd": 0.5, "sgd": 0.2, "adam": 0.05},
    "mnist": {"gd": 0.1, "pgd": 0.1, "sgd": 0.1, "adam": 0.001, "fw": 0.1},
}
_BATCHES = {"quadratic": 4, "logistic": 32, "mnist": 64}
_SIZES = {"dim": ("quadratic", "logistic"), "cond": ("quadratic",), "n_samples": ("logistic", "mnist")}
_RADIUS = 5.0


@dataclass(frozen=True)
class Flags:
    """What was typed; None where nothing was.

    Attributes:
        step_size: the step-size rule of Frank-Wolfe, such as "2/(t+2)" or "0.1".
        heterogeneity: "iid", or "label_skew": two label shards per node, and minimisers that lie apart where there
            are no labels (quadratic).
    """

    env: Env = "single"
    task: Task = "quadratic"
    optimizer: Optimizer = "gd"
    strategy: Strategy | None = None
    topology: str | None = None
    heterogeneity: Heterogeneity | None = None
    n_nodes: int | None = None
    steps: int | None = None
    lr: float | None = None
    dim: int | None = None
    cond: float | None = None
    n_samples: int | None = None
    batch_size: int | None = None
    constraint: Constraint | None = None
    radius: float | str | None = None
    step_size: str | None = None
    seeds: Sequence[int] = (0,)

    def problems(self) -> list[str]:
        """Flags that would change nothing or do not fit each other, one sentence each."""
        found = [
            f"--{name.replace('_', '-')}: --env single has one node; use --env gossip"
            for name in ("strategy", "topology", "heterogeneity", "n_nodes")
            if self.env == "single" and getattr(self, name) is not None
        ]
        found += [
            f"--{name.replace('_', '-')}: --task {self.task} has no such size; {' and '.join(tasks)} have"
            for name, tasks in _SIZES.items()
            if self.task not in tasks and getattr(self, name) is not None
        ]
        found += [
            f"--{name}: --optimizer {self.optimizer} is not constrained; use fw or pgd"
            for name in ("constraint", "radius")
            if self.optimizer not in CONSTRAINED and getattr(self, name) is not None
        ]
        if self.optimizer == "fw" and self.task != "mnist" and self.lr is not None:
            found.append("--lr: full Frank-Wolfe has a rule; use --step-size, e.g. --step-size '2/(t+2)'")
        if self.optimizer != "fw" and self.step_size is not None:
            found.append(f"--step-size: a rule of Frank-Wolfe; --optimizer {self.optimizer} has --lr")
        if self.optimizer == "fw" and self.lr is not None and self.step_size is not None:
            found.append("--step-size: stochastic Frank-Wolfe takes --lr or --step-size; give one of them")
        if self.optimizer == "gd" and self.batch_size is not None:
            found.append("--batch-size: gd takes the whole shard; use --optimizer sgd")
        if self.constraint in _OF_MATRICES and self.task != "mnist":
            found.append(f"--constraint {self.constraint}: a set of matrices; --task {self.task} has a vector")
        if self.constraint == "simplex" and self.radius is not None:
            found.append("--radius: the probability simplex has none")
        return found

    def task_spec(self) -> Spec:
        """The task."""
        if self.task == "quadratic":
            given: Spec = {"heterogeneity": 0.0 if self.heterogeneity != "label_skew" else 1.0}
            named = {"dim": self.dim, "condition": self.cond}
            return _spec("gossipsim.tasks.QuadraticTask", "quadratic", given | _given(named))
        if self.task == "logistic":
            named = {"dim": self.dim, "samples": self.n_samples}
            return _spec("gossipsim.tasks.LogisticTask", "logistic", _given(named))
        named = {"train_size": self.n_samples}
        return _spec("gossipsim.tasks.MNISTSupervisedTask", "mnist", _given(named))

    def model_spec(self) -> Spec:
        """A vector, or on MNIST a network with one hidden layer."""
        if self.task == "mnist":
            return _spec("gossipsim.models.MLP", "MLP", {"hidden": [128]})
        return _spec("gossipsim.models.Vector", "Vector")

    def optimizer_spec(self) -> Spec:
        """The optimizer, with its set where it has one."""
        rate = self.lr if self.lr is not None else _RATES[self.task].get(self.optimizer)
        if self.optimizer in ("gd", "sgd"):
            return _spec("torch.optim.SGD", self.optimizer.upper(), {"lr": rate})
        if self.optimizer == "adam":
            return _spec("gossipsim.optim.Adam", "Adam", {"lr": rate})
        params: Spec = {"constraint": self._constraint_spec()}
        name = f"{self.optimizer.upper()}-{self.constraint or 'l2'}"
        if self.optimizer == "pgd":
            return _spec("gossipsim.optim.ProjectedSGD", name, params | {"lr": rate})
        if self.task == "mnist":
            step: Spec = {"lr": rate, "rescale": "gradient"} if self.step_size is None else self._step()
            return _spec("gossipsim.optim.StochasticFrankWolfe", name, params | step)
        return _spec("gossipsim.optim.FrankWolfe", name, params | self._step())

    def network(self) -> dict[str, Any] | None:
        """Nodes and topology; None is one node."""
        if self.env == "single":
            return None
        return {"nodes": self.nodes, "topology": named_topology(self.topology or "ring")}

    @property
    def nodes(self) -> int:
        return 1 if self.env == "single" else self.n_nodes or 8

    def strategy_spec(self) -> Spec:
        return named_strategy(self.strategy or "local_then_gossip")

    def partition_spec(self) -> str:
        """Label shards or IID; tasks without labels bring their own."""
        return "gossipsim.data.Shards" if self.heterogeneity == "label_skew" else "gossipsim.data.IID"

    def batch(self) -> int | None:
        """Samples per step; None is the whole shard, the rule but for sgd and on MNIST."""
        if self.batch_size is not None:
            return self.batch_size
        minibatch = self.optimizer == "sgd" or (self.task == "mnist" and self.optimizer != "gd")
        return _BATCHES[self.task] if minibatch else None

    def _constraint_spec(self) -> Spec:
        name = self.constraint or "l2"
        if name == "simplex":
            return {"class": "gossipsim.optim.constraints.ProbabilitySimplex"}
        radius = self.radius if self.radius is not None else ("auto*10" if self.task == "mnist" else _RADIUS)
        sparsity = {"k": 0.1 if self.task == "mnist" else 2} if name == "ksparse" else {}
        return {"class": f"gossipsim.optim.constraints.{CONSTRAINTS[name]}", "params": {"radius": radius} | sparsity}

    def _step(self) -> Spec:
        if self.step_size is None:
            return {"step_size": "2/(t+2)"}
        try:
            return {"step_size": float(self.step_size)}
        except ValueError:
            return {"step_size": self.step_size}


def named_topology(name: str) -> Spec:
    """A topology by its short name, as `gossipsim topology` knows it.

    Raises:
        ValueError: for a name that there is not.
    """
    from gossipsim.network import resolve

    return {"class": f"gossipsim.network.{resolve(name).__name__}", "name": name}


def named_strategy(name: str) -> Spec:
    """A strategy by its older name."""
    return {"class": f"gossipsim.strategies.{_STRATEGIES[name]}", "name": name}


def _spec(path: str, name: str, params: Spec | None = None) -> Spec:
    return {"class": path, "name": name} | ({"params": params} if params else {})


def _given(values: Spec) -> Spec:
    return {name: value for name, value in values.items() if value is not None}
