"""A factor per sample for what its library size hides: strong genes that respond shift the shares of all others."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray

# Expected count that a gene, or a pool of weaker genes, must have in a sample for its ratio to be used.
POOL_COUNT = 30.0
# Share of the pools cut off at both ends of the ratios.
TRIM = 0.3
# With fewer pools than this a trimmed mean says nothing, and the library size stands as it is.
MIN_POOLS = 10


def pooled_factors(counts: FloatArray) -> FloatArray:
    r"""Trimmed ratio of each sample's counts to those expected from all samples, with weak genes pooled.

    For sample s with total :math:`N_s`, gene g is expected to have :math:`m_{gs} = N_s p_g` counts, :math:`p_g` its
    share of the counts of all samples. Genes with :math:`m_{gs} \ge 30` stand for themselves; the others are added
    up, in the order of their shares, to pools with as much. Of the ratios :math:`y / m` of genes and pools the 30 %
    largest and smallest are cut off, and the factor is :math:`\sum y / \sum m` over the rest, scaled to geometric
    mean 1 over samples.

    The trimmed mean of M values (Robinson and Oshlack 2010) has the same aim, but takes logs of single genes' ratios
    where both samples have counts. With the few cells that a sample has of one cell type most genes have none or one,
    and the condition "both have counts" makes the factor of a small sample too large, by a factor of two at 4,000
    counts.

    Parameters
    ----------
    counts
        ``(n_levels, n_genes)`` counts summed by sample.

    Returns
    -------
    ``(n_levels,)`` factors; 1 (before scaling) for samples with too few counts for ten pools.
    """
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=1)
    factors = np.ones(len(counts))
    filled = np.flatnonzero(total > 0.0)
    if len(filled) < 2:
        return factors
    share = counts.sum(axis=0) / total.sum()
    order = np.argsort(share, kind="stable")
    order = order[share[order] > 0.0]
    sorted_share, sorted_counts = share[order], counts[:, order]
    log_factor = np.array([_log_factor(sorted_counts[s], sorted_share, total[s]) for s in filled])
    factors[filled] = np.exp(log_factor - log_factor.mean())
    return factors


def _log_factor(y: FloatArray, share: FloatArray, total: float) -> float:
    expected = total * share
    weak = int(np.searchsorted(expected, POOL_COUNT))
    pool_y, pool_m = _pools(y[:weak], expected[:weak])
    pool_y, pool_m = np.concatenate([pool_y, y[weak:]]), np.concatenate([pool_m, expected[weak:]])
    if len(pool_y) < MIN_POOLS:
        return 0.0
    ratio = pool_y / pool_m
    cut = int(len(ratio) * TRIM)
    kept = np.argsort(ratio, kind="stable")[cut : len(ratio) - cut]
    inside = float(pool_y[kept].sum() / pool_m[kept].sum())
    return float(np.log(inside)) if inside > 0.0 else 0.0


def _pools(y: FloatArray, expected: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Counts and expected counts of pools of genes, which come in ascending order of what is expected of them.

    Weak genes have few distinct shares. Genes of the same share are added up first and a pool that ends among them gets
    its part of the sum: which of them come first is nothing that a result may depend on.
    """
    _, first = np.unique(expected, return_index=True)
    if len(first) == 0:
        return np.zeros(0), np.zeros(0)
    m = np.concatenate([[0.0], np.cumsum(np.add.reduceat(expected, first))])
    edges = np.linspace(0.0, m[-1], int(m[-1] // POOL_COUNT) + 1)
    return np.diff(np.interp(edges, m, np.concatenate([[0.0], np.cumsum(np.add.reduceat(y, first))]))), np.diff(edges)
