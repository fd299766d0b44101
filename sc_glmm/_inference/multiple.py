"""Multiple testing over genes."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray


def benjamini_hochberg(p_value: FloatArray) -> FloatArray:
    """Adjusted p-values of Benjamini and Hochberg (1995) over the tested genes; NaN stays NaN and does not count."""
    adjusted = np.full(p_value.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_value))
    order = tested[np.argsort(p_value[tested], kind="stable")]
    ranked = p_value[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return adjusted
