"""Products over genes whose bits do not depend on how many genes there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._arrays import FloatArray


def rowwise(a: NDArray[np.number], b: FloatArray) -> FloatArray:
    """``a @ b`` with ``a (n_genes, k)`` and ``b (k, ...)``.

    BLAS adds up in another order for another number of rows, so that a range of genes would have other last bits than
    all of them.
    """
    out = np.zeros((len(a), *b.shape[1:]))
    for j, row in enumerate(b):
        out += np.multiply.outer(a[:, j], row)
    return out
