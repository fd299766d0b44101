"""Multiple testing over genes, or over neighbourhoods that overlap."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray


def benjamini_hochberg(p_value: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    r"""Adjusted p-values over the tested genes; NaN stays NaN and does not count.

    Without weights those of Benjamini and Hochberg (1995). With weights :math:`w`, for p-values in ascending order,

    .. math:: \tilde p_{(i)} = \min_{j \ge i} p_{(j)} \sum_l w_l \Big/ \sum_{l \le j} w_{(l)},

    which bounds the share of weight among the discoveries that is false (Benjamini and Hochberg 1997). With weights
    that fall with the density of overlapping neighbourhoods this is the spatial false discovery rate of Lun and others
    (2017) and Dann and others (2022). Equal weights give the plain adjustment, and only their ratios count.

    Parameters
    ----------
    p_value
        ``(n_genes,)``.
    weight
        ``(n_genes,)`` positive.
    """
    adjusted = np.full(p_value.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_value))
    order = tested[np.argsort(p_value[tested], kind="stable")]
    if weight is None:
        ranked = p_value[order] * len(order) / np.arange(1, len(order) + 1)
    else:
        reached = np.cumsum(weight[order])
        # ties share the weight of all of them, so that their order does not matter
        last = np.searchsorted(p_value[order], p_value[order], side="right") - 1
        ranked = p_value[order] * reached[-1:] / reached[last]
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return adjusted
