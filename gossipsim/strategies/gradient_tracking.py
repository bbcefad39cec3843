"""Gradient tracking: every node follows an estimate Y of the mean gradient, and the bias of D-SGD is gone.

    diging   Y <- W Y - G_old + G        X <- W X;  X <- X - eta Y
    semi     Y <- W Y - G_old + G        X <- X - eta Y;  X <- W X
    atc      Y <- W (Y - G_old + G)      X <- X - eta Y;  X <- W X

G is the gradient at X before the update; in the first round Y = G(X_0), not mixed. mean(Y) = mean(G) at all times.
Exact under heterogeneity, also for optimizers that normalise the direction, since they see the tracked mean:
GradientTracking + FrankWolfe is DeFW, + Muon is DeMuon. Stable (equal curvature h, symmetric W) iff
eta h < (1 + lambda_min)^2 / 2 (diging), eta h < min(2, (1 + lambda_min)^2 / (2 lambda_min^2)) (atc).
One node: Y - G_old + G is exactly G, and this is the plain optimizer.

With `momentum` mu it is M <- mu M + (1 - mu) G, from zero, that is tracked in the place of G: for noisy gradients, as
in DeMuon and in decentralized momentum Frank-Wolfe (DMFW).

Source: diging: Nedic, Olshevsky and Shi, SIAM J. Optim. 2017; semi: Qu and Li, IEEE TCNS 2018; atc: Xu et al.,
"Augmented distributed gradient methods", CDC 2015 (Aug-DGM), Di Lorenzo and Scutari, IEEE TSIPN 2016 (NEXT);
DeFW: Wai et al., IEEE TAC 2017; tracked momentum: He et al., arXiv 2510.01377 (DeMuon), and arXiv 2208.04053 (DMFW).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.strategies.dmsgd import check_momentum
from gossipsim.strategies.strategy import Claims

Variant = Literal["diging", "semi", "atc"]


class GradientTracking:
    """Tracks the mean gradient and hands it to the optimizer.

    Args:
        variant: where W stands: "diging", "semi" or "atc"; see the module's docstring.
        momentum: mu in [0, 1); 0 tracks the gradients themselves.
    """

    def __init__(self, variant: Variant = "atc", momentum: float = 0.0) -> None:
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")
        check_momentum(momentum)
        self.variant, self.momentum = variant, momentum
        alone = self._average if momentum > 0 else None
        self.claims = Claims(
            exact=True,
            exact_lmo=True,
            sends=2,
            alone=alone,
            characteristic=self._characteristic,
            citation="nedic2017diging",
        )

    def _average(self, M: torch.Tensor, G: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        M = self.momentum * M + (1 - self.momentum) * G
        return M, M

    def _characteristic(self, w: float, a: float) -> tuple[float, ...]:
        """(z - w)^2 (z - mu) + a c (1 - mu) z (z - 1), with c = 1, w, w^2 for diging, semi, atc."""
        gain = a * {"diging": 1.0, "semi": w, "atc": w * w}[self.variant] * (1 - self.momentum)
        mu = self.momentum
        return 1, -2 * w - mu + gain, w * w + 2 * w * mu - gain, -w * w * mu

    def init(self, nodes: Nodes, mix: Mix) -> None:
        pass

    def round(self, nodes: Nodes, mix: Mix) -> None:
        X, Y, G_old = nodes.X, nodes.rows("Y"), nodes.rows("G_old")
        WY = None if mix.round == 0 or self.variant == "atc" else mix.begin(Y)  # travels while gradients are computed
        G = nodes.grad()
        if self.momentum > 0:
            M = nodes.rows("M")
            G, M[:] = self._average(M, G)
        if mix.round == 0:
            Y[:] = G
        elif WY is None:
            mix(Y - G_old + G, out=Y)
        else:
            Y[:] = WY.finish() - G_old + G
        G_old[:] = G
        if self.variant == "diging":
            mix.update(X)
            nodes.apply(Y)
        else:
            nodes.apply(Y)
            mix.update(X)
