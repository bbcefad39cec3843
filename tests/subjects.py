"""The subjects of the laws: strategies, optimizers, models and graphs, as experiment configurations."""

from __future__ import annotations

from copy import deepcopy
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
    "EXTRA": "gossipsim.strategies.EXTRA",
    "exact diffusion": "gossipsim.strategies.ExactDiffusion",
    "D2": "gossipsim.strategies.D2",
    "DmSGD": "gossipsim.strategies.DmSGD",
    "DecentLaM": "gossipsim.strategies.DecentLaM",
    "QG-DSGDm": {"class": "gossipsim.strategies.QGDSGDm", "params": {"momentum": 0.8, "mu": 0.7}},
    "GT-momentum": {"class": "gossipsim.strategies.GradientTracking", "params": {"momentum": 0.8}},
    "push-sum": "gossipsim.strategies.PushSum",
    "Push-DIGing": "gossipsim.strategies.PushDIGing",
    "3 exchanges": {"class": "gossipsim.strategies.MultiGossip", "params": {"exchanges": 3}},
    "Chebyshev": {"class": "gossipsim.strategies.MultiGossip", "params": {"exchanges": 3, "chebyshev": True}},
    "FedAvg": {"class": "gossipsim.strategies.FedAvg", "params": {"local_steps": 2, "participation": 0.5}},
    "DiLoCo": {"class": "gossipsim.strategies.DiLoCo", "params": {"local_steps": 3}},
    "SCAFFOLD": {"class": "gossipsim.strategies.SCAFFOLD", "params": {"local_steps": 2, "participation": 0.5}},
    "Scaffnew": {"class": "gossipsim.strategies.Scaffnew", "params": {"probability": 0.5}},
    "Scaffnew, server": {"class": "gossipsim.strategies.Scaffnew", "params": {"probability": 0.5, "over": "server"}},
    "random participation": "gossipsim.strategies.RandomParticipation",
    "RelaySGD": "gossipsim.strategies.RelaySGD",
    "stale gossip": {"class": "gossipsim.strategies.StaleGossip", "params": {"max_delay": 2}},
    "AD-PSGD": "gossipsim.strategies.ADPSGD",
    "CHOCO, top-k": {
        "class": "gossipsim.strategies.CHOCO",
        "params": {"compressor": {"class": "gossipsim.compression.TopK", "params": {"fraction": 0.3}}},
    },
}

SYMMETRIC = {
    "EXTRA",
    "exact diffusion",
    "D2",
    "DecentLaM",
    "Chebyshev",
    "Scaffnew",
    "random participation",
    "AD-PSGD",
    "CHOCO, top-k",
}
"""Strategies that need a symmetric W, and so a graph without directions."""

TREES = {"RelaySGD"}
"""Strategies that need a tree."""

TOPOLOGIES: dict[str, Any] = {
    "ring": "gossipsim.network.ring",
    "star": "gossipsim.network.star",
    "Erdos-Renyi": {"class": "networkx.erdos_renyi_graph", "params": {"p": 0.5, "seed": 3}},
    "complete": "networkx.complete_graph",
    "exponential": "gossipsim.network.exponential",
    "one-peer exponential": "gossipsim.network.OnePeerExponential",
    "hyper-hypercube": {"class": "gossipsim.network.HyperHypercube", "params": {"k": 1}},
}

_DIGITS = {"class": "gossipsim.tasks.DigitsSupervisedTask", "params": {"train_size": 400, "val_size": 60}}
_OPTIM = "gossipsim.optim"
_SETS = "gossipsim.optim.constraints"
_SGD = {"class": "torch.optim.SGD", "params": {"lr": 0.05, "momentum": 0.9}}
_L2 = {"class": "gossipsim.optim.constraints.L2", "params": {"radius": 2.0}}
_LINF = {"class": "gossipsim.optim.constraints.Linf", "params": {"radius": 0.5}}


def _spec(rule: str, **params: Any) -> Config:
    return {"class": f"{_OPTIM}.step_sizes.{rule}", "params": params}


def _set(name: str, **params: Any) -> Config:
    return {"class": f"{_SETS}.{name}", "params": params}


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


_MLP = {"class": "gossipsim.models.MLP", "params": {"hidden": [16]}}

OPTIMIZERS: dict[str, list[dict[str, Any]]] = {
    name: _task(_DIGITS, model, {"class": f"{_OPTIM}.{kind}", "params": params})
    for name, model, kind, params in [
        (
            "SFW, K-sparse",
            _MLP,
            "StochasticFrankWolfe",
            {"constraint": _set("KSparsePolytope", radius="auto*5", k=0.1)},
        ),
        (
            "FW, nuclear ball by Lanczos",
            {"class": "gossipsim.models.MLP", "params": {"hidden": [73, 71]}},
            "FrankWolfe",
            {"constraint": _set("NuclearBall", radius="auto*20")},
        ),
        (
            "SFW, nuclear ball by Lanczos",
            {"class": "gossipsim.models.MLP", "params": {"hidden": [80, 72]}},
            "StochasticFrankWolfe",
            {"constraint": _set("NuclearBall", radius="auto*20"), "rescale": "gradient"},
        ),
        (
            "SFW, nuclear ball, Nesterov",
            _cnn(0.0),
            "StochasticFrankWolfe",
            {"constraint": _set("NuclearBall", radius="auto*20"), "rescale": "gradient", "estimator": "nesterov"},
        ),
        (
            "SFW, a set by shape",
            _MLP,
            "StochasticFrankWolfe",
            {
                "constraint": _set("ByShape", matrices=_set("SpectralBall", radius=1.0), others=_set("Unconstrained")),
                "step_size": "1/sqrt(t+1)",
            },
        ),
        (
            "away steps",
            _MLP,
            "FrankWolfe",
            {
                "constraint": _set("L1", radius=5.0),
                "variant": "away",
                "step_size": _spec("ShortStep", L=10.0),
            },
        ),
        (
            "lazy pairwise steps",
            _MLP,
            "FrankWolfe",
            {
                "constraint": _set("L1", radius=5.0),
                "variant": "pairwise",
                "lazy": True,
                "step_size": _spec("ShortStep", L=10.0),
            },
        ),
        ("AdaGradSFW", _MLP, "AdaGradSFW", {"constraint": _set("Linf", radius=0.5)}),
        (
            "projected SGD, OWL ball",
            _MLP,
            "ProjectedSGD",
            {
                "constraint": _set("KNormBall", radius=3.0, k=5),
                "lr": 0.05,
                "momentum": 0.9,
            },
        ),
        ("Muon", _cnn(0.3), "Muon", {"lr": 0.01}),
        ("Muon, exact", _MLP, "Muon", {"lr": 0.01, "orthogonalization": "exact_fast", "weight_decay": 0.1}),
        ("Scion", _cnn(0.0), "Scion", {"lr": 0.01}),
        ("unconstrained Scion", _MLP, "UnconstrainedScion", {"lr": 0.001}),
    ]
}
"""The optimizers of this package; no closures, so that every strategy can hand them a direction."""

CLOSURES: dict[str, list[dict[str, Any]]] = {
    "STORM": _task(
        _DIGITS,
        _MLP,
        {
            "class": f"{_OPTIM}.StochasticFrankWolfe",
            "params": {"constraint": _set("L2", radius="auto*5"), "estimator": "storm", "rescale": "gradient"},
        },
    ),
    "line search": _task(
        _DIGITS,
        _MLP,
        {
            "class": f"{_OPTIM}.FrankWolfe",
            "params": {"constraint": _set("L2", radius="auto*5"), "step_size": _spec("LineSearch")},
        },
    ),
    "backtracking, blended pairwise": _task(
        _DIGITS,
        _MLP,
        {
            "class": f"{_OPTIM}.FrankWolfe",
            "params": {
                "constraint": _set("L1", radius=5.0),
                "variant": "blended_pairwise",
                "step_size": _spec("Backtracking"),
            },
        },
    ),
}
"""Optimizers that evaluate the batch again: for strategies that hand them the plain gradient."""


def experiment(
    learner: str = "CNN with dropout, SGD momentum",
    strategy: str = "LocalThenGossip",
    topology: str = "ring",
    *,
    nodes: int = 8,
    steps: int = 7,
    **trainer: Any,
) -> Config:
    """One small run, 7 steps unless told otherwise: not a multiple of 3 local steps, on purpose.

    It shares nothing with the tables, so that whoever asked for it may change it.
    """
    quadratic = "quadratic" in learner
    params = {"steps": steps, "batch_size": 2 if quadratic else 8, "log_every": 2, "eval_every": 3} | trainer
    return deepcopy(
        {
            "name": "law",
            "tasks": (LEARNERS | OPTIMIZERS | CLOSURES)[learner],
            "trainer": {"class": "gossipsim.trainers.SupervisedTrainer", "params": params},
            "network": {"nodes": nodes, "topology": TOPOLOGIES[topology]},
            "strategy": STRATEGIES[strategy],
            "partition": {"class": "gossipsim.data.Dirichlet", "params": {"alpha": 0.5, "min_samples": 2}},
        }
    )
