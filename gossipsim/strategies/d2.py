"""D2: exact diffusion with W itself in the place of (I + W)/2; it mixes faster and asks more of W.

    X_{k+1} = W (2 X_k - X_{k-1} - eta (G_k - G_{k-1})),      X_1 = W (X_0 - eta G_0)

which is X_{k+1} = W phi_k with the corrected half step phi of :mod:`gossipsim.strategies.exact_diffusion`. Exact under
heterogeneity for optimizers that are linear in the gradient. Stable iff lambda_min(W) > -1/(3 - 2 eta h) (equal
curvature h, symmetric W): with small steps not on a hypercube of Metropolis-Hastings weights, whose lambda_min is
below -1/3; lazy weights (I + W)/2 make it exact diffusion. One node: the plain optimizer.

Source: Tang, Lian, Yan, Zhang and Liu, "D2: Decentralized Training over Decentralized Data", ICML 2018.
"""

from __future__ import annotations

from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.strategies.exact_diffusion import corrected_half_step
from gossipsim.strategies.strategy import Claims


class D2:
    """`phi = psi + X - psi_old; X = W phi`."""

    claims = Claims(
        exact=True,
        exact_lmo=False,
        needs=frozenset({"connected", "doubly_stochastic", "symmetric"}),
        lambda_min=-1 / 3,
        characteristic=lambda w, a: (1, -w * (2 - a), w * (1 - a)),
        closure=True,
        citation="tang2018d2",
    )

    def init(self, nodes: Nodes, mix: Mix) -> None:
        nodes.rows("psi")[:] = nodes.X

    def round(self, nodes: Nodes, mix: Mix) -> None:
        mix(corrected_half_step(nodes), out=nodes.X)
