"""Factors per sample that correct its library size: strongly expressed genes that respond shift all other shares."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray

# Smallest expected count of a gene, or of a pool of weaker genes, in a sample for its ratio to be used.
POOL_COUNT = 30.0
# Fraction of the pools that is trimmed at each end of the ratios.
TRIM = 0.3
# With fewer pools than this, a trimmed mean is not informative, and the library size is not corrected.
MIN_POOLS = 10


def pooled_factors(counts: FloatArray) -> FloatArray:
    r"""Compute the trimmed ratio of the counts of each sample to those expected from all samples, pooling weak genes.

    For sample s with total :math:`N_s`, the expected count of gene g is :math:`m_{gs} = N_s p_g`, where :math:`p_g` is
    the share of the gene in the counts of all samples. Genes with :math:`m_{gs} \ge 30` are used alone. The other genes
    are added up, in the order of their shares, to pools with the same minimum. The 30 % largest and the 30 % smallest
    ratios :math:`y / m` of genes and pools are trimmed. The factor is :math:`\sum y / \sum m` over the rest, scaled to
    geometric mean 1 over samples.

    The trimmed mean of M values (Robinson and Oshlack 2010) has the same aim, but takes logs of the ratios of single
    genes where both samples have counts. In the few cells that a sample has of one cell type, most genes have 0 or 1
    counts. The condition "both have counts" then makes the factor of a small sample too large, by a factor of two at
    4,000 counts.

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
    """Compute the counts and expected counts of pools of genes, which are sorted by their expected counts.

    Weak genes have few distinct shares. Genes with the same share are added up first, and a pool that ends among them
    gets a fraction of their sum. The result therefore does not depend on the order of these genes.
    """
    _, first = np.unique(expected, return_index=True)
    if len(first) == 0:
        return np.zeros(0), np.zeros(0)
    m = np.concatenate([[0.0], np.cumsum(np.add.reduceat(expected, first))])
    edges = np.linspace(0.0, m[-1], int(m[-1] // POOL_COUNT) + 1)
    return np.diff(np.interp(edges, m, np.concatenate([[0.0], np.cumsum(np.add.reduceat(y, first))]))), np.diff(edges)
