"""Per gene the few sums of the statistics that steps over all genes look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .compress import Compressed

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class GeneTotals:
    """Totals of a range of genes: all that is needed of them when their statistics are elsewhere.

    Attributes
    ----------
    total
        ``(n_genes,)`` sum of the response over nodes, as the model sees it.
    n_two
        ``(n_genes,)`` cells with two counts or more.
    raw_total, n_nonzero
        ``(n_genes,)`` sum of the response over cells, and cells in which it is not zero.
    """

    total: FloatArray
    n_two: FloatArray
    raw_total: FloatArray
    n_nonzero: IntArray


def gene_totals(compressed: Compressed) -> GeneTotals:
    """The totals of the genes of `compressed`."""
    stats = compressed.stats
    return GeneTotals(
        total=stats.A.sum(axis=1),
        n_two=stats.tail[:, 1].copy(),
        raw_total=compressed.total,
        n_nonzero=compressed.n_nonzero,
    )
