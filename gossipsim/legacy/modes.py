"""The modes of the older command line, as experiments: one run, a matrix of many, checks with gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from gossipsim.legacy.flags import Flags, Optimizer, Strategy, Task, named_strategy, named_topology

Config = dict[str, Any]
Size = Literal["small", "full"]

_STRATEGIES: tuple[Strategy, ...] = ("local_then_gossip", "gossip_then_local", "gradient_tracking")
_TOPOLOGIES = {"small": ("ring", "complete"), "full": ("ring", "path", "star", "torus", "exponential", "complete")}
_NODES = {"small": 4, "full": 9}
_FULL_BATCH: tuple[Optimizer, ...] = ("fw", "pgd", "gd")
_MINI_BATCH: tuple[Optimizer, ...] = ("sgd", "adam")
_EVALUATIONS = 20
_STEPS, _CHECKED_STEPS = 200, 1000


def single(flags: Flags) -> Config:
    """One task, optimizer and strategy, for each seed."""
    return _config("legacy", flags, [_entry(flags, [flags.optimizer])])


def matrix(flags: Flags, size: Size) -> list[Config]:
    """Tasks x optimizers x strategies x topologies: an experiment on whole shards, and one on mini-batches.

    Sizes, steps and seeds are those of the flags where given; what the flags choose one of is crossed.
    """
    shared = replace(
        flags,
        env="gossip",
        heterogeneity=flags.heterogeneity or "label_skew",
        n_nodes=flags.n_nodes or _NODES[size],
    )
    deterministic = [_entry(replace(shared, task=task), _FULL_BATCH) for task in ("quadratic", "logistic")]
    tasks: tuple[Task, ...] = ("logistic",) if size == "small" else ("logistic", "mnist")
    stochastic = [_entry(replace(shared, task=task), _MINI_BATCH) for task in tasks]
    sgd = replace(shared, task="logistic", optimizer="sgd")
    configs = [
        _config(f"legacy_matrix_{size}", shared, deterministic),
        _config(f"legacy_matrix_{size}_minibatch", sgd, stochastic),
    ]
    grid = {
        "network.topology": [named_topology(name) for name in _TOPOLOGIES[size]],
        "strategy": [named_strategy(name) for name in _STRATEGIES],
    }
    return [config | {"grid": grid} for config in configs]


def checks(flags: Flags) -> list[Config]:
    """What must converge does, and what cannot reach the optimum does not: experiments with gates."""
    alone = replace(flags, env="single", heterogeneity=None, n_nodes=None, topology=None, strategy=None)
    tasks = [_entry(replace(alone, task=task), _FULL_BATCH) for task in ("quadratic", "logistic")]
    one_node = _config("legacy_checks_single", replace(alone, steps=flags.steps or _CHECKED_STEPS), tasks) | {
        "gates": [
            _gate("gradient descent reaches the optimum", "suboptimality", "<=", 1e-8, optimizer="GD"),
            _gate("projected gradient descent does", "suboptimality", "<=", 1e-8, optimizer="PGD-l2"),
            _gate("Frank-Wolfe is near it, at 1/t", "suboptimality", "<=", 1e-2, optimizer="FW-l2"),
        ]
    }
    apart = replace(flags, env="gossip", heterogeneity="label_skew", n_nodes=flags.n_nodes or 4)
    apart = replace(apart, steps=flags.steps or _CHECKED_STEPS)
    tasks = [_entry(replace(apart, task=task), ("gd",)) for task in ("quadratic", "logistic")]
    many = _config("legacy_checks_gossip", apart, tasks) | {
        "grid": {"strategy": [named_strategy(name) for name in _STRATEGIES]},
        "gates": [
            _gate("gradient tracking reaches the optimum", "distance", "<=", 1e-6, strategy="gradient_tracking"),
            _gate("its nodes agree", "consensus", "<=", 1e-12, strategy="gradient_tracking"),
            _gate("local, then gossip stops beside it", "distance", ">=", 1e-4, strategy="local_then_gossip"),
            _gate("gossip, then local stops beside it", "distance", ">=", 1e-4, strategy="gossip_then_local"),
        ],
    }
    return [one_node, many]


def _gate(name: str, metric: str, comparison: str, threshold: float, **where: str) -> Config:
    return {"name": name, "metric": metric, "comparison": comparison, "threshold": threshold, "where": where}


def _entry(flags: Flags, optimizers: Sequence[Optimizer]) -> Config:
    """A task with its model and optimizers."""
    specs = [replace(flags, optimizer=name).optimizer_spec() for name in optimizers]
    return {"task": flags.task_spec(), "models": [flags.model_spec()], "optimizers": specs}


def _config(name: str, flags: Flags, tasks: list[Config]) -> Config:
    network, steps = flags.network(), flags.steps or _STEPS
    return {
        "name": name,
        "tasks": tasks,
        "trainer": {
            "class": "gossipsim.trainers.SupervisedTrainer",
            "params": {
                "steps": steps,
                "batch_size": flags.batch(),
                "dtype": "float32" if flags.task == "mnist" else "float64",
                "log_every": max(1, steps // 100),
                "eval_every": max(1, steps // _EVALUATIONS),
            },
        },
        **({} if network is None else {"network": network, "strategy": flags.strategy_spec()}),
        **({} if network is None else {"partition": flags.partition_spec()}),
        "seeds": list(flags.seeds),
    }
