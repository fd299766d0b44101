"""Products over genes whose bits do not depend on how many genes there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._arrays import FloatArray


def rowwise(a: NDArray[np.number], b: FloatArray) -> FloatArray:
    """Compute ``a @ b`` with ``a (n_genes, k)`` and ``b (k, ...)``.

    The order of the sums in BLAS depends on the number of rows, so that the last bits of a gene would depend on the
    number of genes.
    """
    out = np.zeros((len(a), *b.shape[1:]))
    for j, row in enumerate(b):
        out += np.multiply.outer(a[:, j], row)
    return out
