"""Dispersions of genes whose counts cannot tell: from the trend over abundance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._engine.fit import GeneFits

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Cells with two counts or more that a gene needs for a dispersion of its own.
MIN_CELLS = 5
# Genes on each side in the running median.
_REACH = 75
_DEFAULT = 0.5


def dispersion_or_trend(fits: GeneFits, n_two: FloatArray, abundance: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Log dispersions, and which of them come from the trend.

    Only a cell with two counts or more says anything about overdispersion within samples.

    Parameters
    ----------
    fits
        The genes.
    n_two
        ``(n_genes,)`` cells with two counts or more.
    abundance
        ``(n_genes,)`` log mean per unit of size factor.
    """
    own = np.isfinite(fits.log_dispersion)
    informed = own & (n_two >= MIN_CELLS) & (fits.status == 0)
    from_trend = own & ~informed
    out = fits.log_dispersion.copy()
    if not from_trend.any():
        return out, from_trend
    order = np.flatnonzero(informed)[np.argsort(abundance[informed], kind="stable")]
    if len(order) == 0:
        out[from_trend] = np.log(_DEFAULT)
        return out, from_trend
    place = np.searchsorted(abundance[order], abundance[from_trend])
    values = fits.log_dispersion[order]
    out[from_trend] = [np.median(values[max(i - _REACH, 0) : i + _REACH + 1]) for i in place]
    return out, from_trend
