"""Mixing: X <- W_t X for the hosted rows, by one kernel for local and remote rows.

Node i's new row is the sum over its closed neighbourhood in ascending node id, started from the first term:

    acc = W[i, j0] * X[j0];  acc = acc + W[i, j1] * X[j1];  ...

The order is part of the definition. A dense matmul, `add_(x, alpha=w)` or a sum that starts from zeros gives other
bits; with this one the bits depend neither on the number of processes nor on where a neighbour is hosted. One node has
W = [[1]] and gets its own row back, exactly.
"""

from gossipsim.mixing.compiled import warm
from gossipsim.mixing.mix import Compressed, Exchange, Mix, Traffic, row_bytes

__all__ = ["Compressed", "Exchange", "Mix", "Traffic", "row_bytes", "warm"]
