"""Compute a few sums per gene, for the steps that need all genes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import FloatArray, IntArray
from .._design import Design, finest
from .compress import Compressed
from .genes import node_sums


@dataclass(frozen=True)
class GeneTotals:
    """Totals of a range of genes, for steps without access to their statistics.

    Attributes
    ----------
    total
        ``(n_genes,)`` sum of the response over nodes, as in the model.
    n_two
        ``(n_genes,)`` number of cells with two counts or more.
    n_empty
        ``(n_genes,)`` number of samples (levels of the finest grouping factor) without a count.
    raw_total, n_nonzero
        ``(n_genes,)`` sum of the response over cells, and number of cells in which it is not zero.
    """

    total: FloatArray
    n_two: FloatArray
    n_empty: IntArray
    raw_total: FloatArray
    n_nonzero: IntArray


def gene_totals(compressed: Compressed, design: Design) -> GeneTotals:
    """Compute the totals of the genes of `compressed`, whose cells are those of `design`."""
    stats = compressed.stats
    return GeneTotals(
        total=stats.A.sum(axis=1),
        n_two=stats.tail[:, 1].copy(),
        n_empty=_empty_samples(compressed, design),
        raw_total=compressed.total,
        n_nonzero=compressed.n_nonzero,
    )


# Number of genes whose row totals are in memory.
_BLOCK = 1024


def _empty_samples(compressed: Compressed, design: Design) -> IntArray:
    """Count the levels of the finest grouping factor without a count, ``(n_genes,)``."""
    A, place, out = compressed.stats.A, finest(design.random), np.zeros(len(compressed.total), dtype=np.int64)
    codes, n_levels = compressed.rows.codes[place], len(design.random[place].levels)
    for start in range(0, len(A), _BLOCK):
        rows = node_sums(A[start : start + _BLOCK], compressed.nodes.ptr)
        per_level = np.zeros((n_levels, len(rows)))
        np.add.at(per_level, codes, rows.T)
        # if a count is divided over several nodes, its parts add up to it only up to rounding errors
        out[start : start + _BLOCK] = np.count_nonzero(per_level < 0.5, axis=0)
    return out
