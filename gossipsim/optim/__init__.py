"""Optimizers: one node's update rule, any ``torch.optim.Optimizer``; feasible sets and step sizes.

An optimizer may offer ``for_model(model, **params)``, called instead of its constructor where it needs to
know the modules; ``constraints()``, the list of (parameter, feasible set); and ``lmo_calls``, the number of
oracle calls so far.
"""

from gossipsim.optim import constraints
from gossipsim.optim.frank_wolfe import ConstrainedOptimizer, FrankWolfe, StochasticFrankWolfe
from gossipsim.optim.step_sizes import step_size

__all__ = ["ConstrainedOptimizer", "FrankWolfe", "StochasticFrankWolfe", "constraints", "step_size"]
