"""Feasible sets, one whole parameter each: `lmo`, `support`, `project`, `contains`, `diameter`."""

from gossipsim.optim.constraints.base import ConstraintSet, NormBall, Place, Scaled, as_matrix, initial_norm
from gossipsim.optim.constraints.birkhoff import Birkhoff
from gossipsim.optim.constraints.boxes import Box, Ellipsoid, Unconstrained
from gossipsim.optim.constraints.groups import ColumnNormBall, GroupL1, RowNormBall
from gossipsim.optim.constraints.lanczos import top_singular
from gossipsim.optim.constraints.norms import L1, L2, Linf, Lp
from gossipsim.optim.constraints.ordered import KNormBall, OrderedWeightedL1, Permutahedron
from gossipsim.optim.constraints.rules import ByName, ByShape
from gossipsim.optim.constraints.simplices import Hypersimplex, KSparsePolytope, ProbabilitySimplex, UnitSimplex
from gossipsim.optim.constraints.spectral import NuclearBall, SpectralBall, Spectraplex

__all__ = [
    "L1",
    "L2",
    "Birkhoff",
    "Box",
    "ByName",
    "ByShape",
    "ColumnNormBall",
    "ConstraintSet",
    "Ellipsoid",
    "GroupL1",
    "Hypersimplex",
    "KNormBall",
    "KSparsePolytope",
    "Linf",
    "Lp",
    "NormBall",
    "NuclearBall",
    "OrderedWeightedL1",
    "Permutahedron",
    "Place",
    "ProbabilitySimplex",
    "RowNormBall",
    "Scaled",
    "SpectralBall",
    "Spectraplex",
    "Unconstrained",
    "UnitSimplex",
    "as_matrix",
    "initial_norm",
    "top_singular",
]
