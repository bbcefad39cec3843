"""The subjects of the laws: strategies, optimizers, models and graphs, as experiment configurations."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

STRATEGIES: dict[str, Any] = {
    "LocalThenGossip": "gossipsim.strategies.LocalThenGossip",
    "3 local steps": {"class": "gossipsim.strategies.LocalThenGossip", "params": {"local_steps": 3}},
    "LocalAndGossip": "gossipsim.strategies.LocalAndGossip",
    "GossipThenLocal": "gossipsim.strategies.GossipThenLocal",
    "GT-diging": {"class": "gossipsim.strategies.GradientTracking", "params": {"variant": "diging"}},
    "GT-semi": {"class": "gossipsim.strategies.GradientTracking", "params": {"variant": "semi"}},
    "GT-atc": {"class": "gossipsim.strategies.GradientTracking", "params": {"variant": "atc"}},
    "AllReduce": "gossipsim.strategies.AllReduce",
}

TOPOLOGIES: dict[str, Any] = {
    "ring": "gossipsim.network.ring",
    "star": "gossipsim.network.star",
    "Erdos-Renyi": {"class": "networkx.erdos_renyi_graph", "params": {"p": 0.5, "seed": 3}},
    "complete": "networkx.complete_graph",
    "exponential": "gossipsim.network.exponential",
    "one-peer exponential": "gossipsim.network.OnePeerExponential",
}

_DIGITS = {"class": "gossipsim.tasks.DigitsSupervisedTask", "params": {"train_size": 400, "val_size": 60}}
_SGD = {"class": "torch.optim.SGD", "params": {"lr": 0.05, "momentum": 0.9}}
_L2 = {"class": "gossipsim.optim.constraints.L2", "params": {"radius": 2.0}}
_LINF = {"class": "gossipsim.optim.constraints.Linf", "params": {"radius": 0.5}}


def _task(task: Any, model: Any, optimizer: Any) -> list[dict[str, Any]]:
    return [{"task": task, "models": [model], "optimizers": [optimizer]}]


def _cnn(dropout: float) -> Config:
    return {"class": "gossipsim.models.CNN", "params": {"channels": [4, 8], "hidden": 16, "dropout": dropout}}


LEARNERS: dict[str, list[dict[str, Any]]] = {
    "CNN with dropout, SGD momentum": _task(_DIGITS, _cnn(0.3), _SGD),
    "logistic regression, Frank-Wolfe": _task(
        _DIGITS,
        "gossipsim.models.LogisticRegression",
        {"class": "gossipsim.optim.FrankWolfe", "params": {"constraint": _L2}},
    ),
    "MLP, stochastic Frank-Wolfe": _task(
        _DIGITS,
        {"class": "gossipsim.models.MLP", "params": {"hidden": [16]}},
        {
            "class": "gossipsim.optim.StochasticFrankWolfe",
            "params": {"constraint": _LINF, "lr": 0.05, "rescale": "gradient"},
        },
    ),
    "logistic task, Adam": _task(
        {"class": "gossipsim.tasks.LogisticTask", "params": {"samples": 200, "dim": 6}},
        "gossipsim.models.LogisticRegression",
        {"class": "torch.optim.Adam", "params": {"lr": 0.01}},
    ),
    "noisy quadratic, SGD with schedule and clipping": _task(
        {"class": "gossipsim.tasks.QuadraticTask", "params": {"dim": 4, "noise": 0.1}},
        "gossipsim.models.Vector",
        {
            "class": "torch.optim.SGD",
            "params": {"lr": 0.05},
            "clip_grad_norm": 3.0,
            "schedule": {"class": "torch.optim.lr_scheduler.StepLR", "params": {"step_size": 3}, "every": "step"},
        },
    ),
}


def experiment(
    learner: str = "CNN with dropout, SGD momentum",
    strategy: str = "LocalThenGossip",
    topology: str = "ring",
    *,
    nodes: int = 8,
    steps: int = 7,
    **trainer: Any,
) -> Config:
    """One small run, 7 steps unless told otherwise: not a multiple of 3 local steps, on purpose."""
    quadratic = "quadratic" in learner
    params = {"steps": steps, "batch_size": 2 if quadratic else 8, "log_every": 2, "eval_every": 3} | trainer
    return {
        "name": "law",
        "tasks": LEARNERS[learner],
        "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": params},
        "network": {"nodes": nodes, "topology": TOPOLOGIES[topology]},
        "strategy": STRATEGIES[strategy],
        "partition": {"class": "gossipsim.data.Dirichlet", "params": {"alpha": 0.5, "min_samples": 2}},
    }
