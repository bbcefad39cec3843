"""Gradient at the node's own point, added to the average of the neighbours: D-PSGD, the classical DGD.

    X <- W X - eta G(X)

Exact only under homogeneous data: on quadratics it stops at (I - W + eta H)^-1 eta H b; stable iff
eta h < 1 + lambda_min (equal curvature h, symmetric W). One node: the plain optimizer.

Source: Nedic and Ozdaglar, "Distributed Subgradient Methods for Multi-Agent Optimization", IEEE TAC 2009; Lian et al.,
NeurIPS 2017.
"""

from __future__ import annotations

from gossipsim.mixing import Mix
from gossipsim.nodes import Nodes
from gossipsim.strategies.strategy import Claims


class LocalAndGossip:
    """`G = G(X); X = W X; apply(G)`. The rows travel while gradients are computed."""

    claims = Claims(exact=False, exact_lmo=False, characteristic=lambda w, a: (1, -(w - a)), citation="nedic2009dgd")

    def init(self, nodes: Nodes, mix: Mix) -> None:
        pass

    def round(self, nodes: Nodes, mix: Mix) -> None:
        exchange = mix.begin(nodes.X)
        G = nodes.grad()
        exchange.finish(out=nodes.X)
        nodes.apply(G)
