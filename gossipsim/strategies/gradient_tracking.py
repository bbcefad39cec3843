"""Gradient tracking: every node follows an estimate Y of the mean gradient, and the bias of D-SGD is gone.

    diging   Y <- W Y - G_old + G        X <- W X;  X <- X - eta Y
    semi     Y <- W Y - G_old + G        X <- X - eta Y;  X <- W X
    atc      Y <- W (Y - G_old + G)      X <- X - eta Y;  X <- W X

G is the gradient at X before the update; in the first round Y = G(X_0), not mixed. mean(Y) = mean(G) at all times.
Exact under heterogeneity, also for optimizers that normalise the direction, since they see the tracked mean:
GradientTracking + FrankWolfe is DeFW, + Muon is DeMuon. Stable (equal curvature h, symmetric W) iff
eta h < (1 + lambda_min)^2 / 2 (diging), eta h < min(2, (1 + lambda_min)^2 / (2 lambda_min^2)) (atc).
One node: Y - G_old + G is exactly G, and this is the plain optimizer.

Source: diging: Nedic, Olshevsky and Shi, SIAM J. Optim. 2017; semi: Qu and Li, IEEE TCNS 2018; atc: Xu et al.,
"Augmented distributed gradient methods", CDC 2015 (Aug-DGM), Di Lorenzo and Scutari, IEEE TSIPN 2016 (NEXT);
DeFW: Wai et al., IEEE TAC 2017.
"""

from __future__ import annotations

from typing import Literal, get_args

from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.strategies.strategy import Claims

Variant = Literal["diging", "semi", "atc"]


class GradientTracking:
    """Tracks the mean gradient and hands it to the optimizer.

    Args:
        variant: where W stands: "diging", "semi" or "atc"; see the module's docstring.
    """

    claims = Claims(exact=True, exact_lmo=True, sends=2, citation="nedic2017diging")

    def __init__(self, variant: Variant = "atc") -> None:
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")
        self.variant = variant

    def init(self, nodes: Nodes, mix: Mix) -> None:
        pass

    def round(self, nodes: Nodes, mix: Mix) -> None:
        X, Y, G_old = nodes.X, nodes.rows("Y"), nodes.rows("G_old")
        G = nodes.grad()
        if mix.round == 0:
            Y[:] = G
        elif self.variant == "atc":
            Y[:] = mix(Y - G_old + G)
        else:
            Y[:] = mix(Y) - G_old + G
        G_old[:] = G
        if self.variant == "diging":
            mix.update(X)
            nodes.apply(Y)
        else:
            nodes.apply(Y)
            mix.update(X)
