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
    n_empty
        ``(n_genes,)`` samples (levels of the finest grouping factor) without a count.
    raw_total, n_nonzero
        ``(n_genes,)`` sum of the response over cells, and cells in which it is not zero.
    """

    total: FloatArray
    n_two: FloatArray
    n_empty: IntArray
    raw_total: FloatArray
    n_nonzero: IntArray


def gene_totals(compressed: Compressed) -> GeneTotals:
    """The totals of the genes of `compressed`."""
    stats = compressed.stats
    return GeneTotals(
        total=stats.A.sum(axis=1),
        n_two=stats.tail[:, 1].copy(),
        n_empty=_empty_samples(compressed),
        raw_total=compressed.total,
        n_nonzero=compressed.n_nonzero,
    )


# Genes whose row totals are held at a time.
_BLOCK = 1024


def _empty_samples(compressed: Compressed) -> IntArray:
    """Levels of the finest grouping factor without a count."""
    A, ptr = compressed.stats.A, compressed.nodes.ptr
    codes = max(compressed.rows.codes, key=lambda c: int(c.max(initial=-1)), default=np.zeros(0, dtype=np.int64))
    out = np.zeros(len(A), dtype=np.int64)
    if not len(codes):
        return out
    for start in range(0, len(A), _BLOCK):
        rows = np.add.reduceat(A[start : start + _BLOCK], ptr[:-1], axis=1)
        per_level = np.zeros((int(codes.max()) + 1, len(rows)))
        np.add.at(per_level, codes, rows.T)
        # a count on several nodes need not add up to it exactly
        out[start : start + _BLOCK] = np.count_nonzero(per_level < 0.5, axis=0)
    return out
