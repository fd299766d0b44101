"""Adjust p-values for multiple testing over genes, or over neighbourhoods that overlap."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray


def benjamini_hochberg(p_value: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    r"""Adjust p-values over the tested genes. NaN stays NaN, and such a gene does not count as tested.

    Without weights, the adjustment is that of Benjamini and Hochberg (1995). With weights :math:`w`, for p-values in
    ascending order, the adjusted p-values are

    .. math:: \tilde p_{(i)} = \min_{j \ge i} p_{(j)} \sum_l w_l \Big/ \sum_{l \le j} w_{(l)}.

    They bound the expected share of the weight of the discoveries that belongs to false ones (Benjamini and Hochberg
    1997). If the weights decrease with the density of overlapping neighbourhoods, this is the spatial false discovery
    rate of Lun and others (2017) and Dann and others (2022). Equal weights give the unweighted adjustment. Only the
    ratios of the weights matter.

    Parameters
    ----------
    p_value
        ``(n_genes,)`` p-values.
    weight
        ``(n_genes,)`` positive weights; None for equal weights.
    """
    adjusted = np.full(p_value.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_value))
    order = tested[np.argsort(p_value[tested], kind="stable")]
    if weight is None:
        ranked = p_value[order] * len(order) / np.arange(1, len(order) + 1)
    else:
        cumulative = np.cumsum(weight[order])
        # tied p-values all use the cumulative weight of the last of them, so that their order does not matter
        last = np.searchsorted(p_value[order], p_value[order], side="right") - 1
        ranked = p_value[order] * cumulative[-1:] / cumulative[last]
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return adjusted
