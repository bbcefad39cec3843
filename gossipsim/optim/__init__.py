"""Optimizers: one node's update rule, any ``torch.optim.Optimizer``; feasible sets and step sizes.

An optimizer may offer ``for_model(model, **params)``, called instead of its constructor where it needs to know the
modules; ``constraints()``, the list of (parameter, feasible set); ``lmo_calls``, the number of oracle calls so far; and
``lmo_based = True`` where the direction goes through a linear minimisation oracle; and ``elementwise = True``, in the
class, where every entry's update depends only on its own gradient and state, so that one optimizer may step the rows of
many nodes at once (:func:`~gossipsim.optim.stacking.elementwise` says what that promises).
"""

from torch.optim import Adam

from gossipsim.optim import constraints
from gossipsim.optim.adagrad_frank_wolfe import AdaGradSFW
from gossipsim.optim.constrained import ConstrainedOptimizer
from gossipsim.optim.frank_wolfe import FrankWolfe
from gossipsim.optim.muon import Muon, muon_groups
from gossipsim.optim.projected_sgd import ProjectedSGD
from gossipsim.optim.scion import Scion, UnconstrainedScion, scion_sets
from gossipsim.optim.step_sizes import step_size
from gossipsim.optim.stochastic_frank_wolfe import StochasticFrankWolfe

__all__ = [
    "AdaGradSFW",
    "Adam",
    "ConstrainedOptimizer",
    "FrankWolfe",
    "Muon",
    "ProjectedSGD",
    "Scion",
    "StochasticFrankWolfe",
    "UnconstrainedScion",
    "constraints",
    "muon_groups",
    "scion_sets",
    "step_size",
]
