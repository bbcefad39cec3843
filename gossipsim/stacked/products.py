"""Products of matrices, one pair per node, each with the bits of the product by itself.

`torch.bmm` has three ways: a loop of its own for small matrices, a batched product of the BLAS, and one product after
the other. The last has the bits of single products, and is taken where the result is not contiguous: hence the gaps
between the results here. Where bmm would take the first, Python goes from node to node.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gossipsim.stacked.memory import padded

SMALL = 400
"""Multiplications below which bmm has a loop of its own."""


def product(A: Tensor, B: Tensor, bias: Tensor | None = None) -> Tensor:
    """A_i B_i (+ bias_i): (n, r, k), (n, k, c), (n, c) -> (n, r, c), as torch.mm and torch.addmm give them.

    A column, c = 1, is computed as a row: so does torch.
    """
    n, r, c = A.shape[0], A.shape[1], B.shape[2]
    if c == 1 and r > 1:
        row = None if bias is None else bias.view(n, 1, 1).expand(n, 1, r)
        return _product(B.transpose(1, 2), A.transpose(1, 2), row).transpose(1, 2)
    return _product(A, B, None if bias is None else bias.unsqueeze(1))


def vector_product(A: Tensor, x: Tensor) -> Tensor:
    """A_i x_i: (n, r, k), (n, k) -> (n, r), as torch.mv gives them."""
    return _product(x.unsqueeze(1), A.transpose(1, 2), None).squeeze(1)


def _product(A: Tensor, B: Tensor, bias: Tensor | None) -> Tensor:
    n, r, k, c = *A.shape, B.shape[2]
    out = padded((n, r, c), A, gap=True)
    if r * k * c < SMALL or n == 1:
        for i in range(n):
            if bias is None:
                torch.mm(A[i], B[i], out=out[i])
            else:
                torch.addmm(bias[i], A[i], B[i], out=out[i])
    elif bias is None:
        torch.bmm(A, B, out=out)
    else:
        torch.baddbmm(bias, A, B, out=out)
    return out
