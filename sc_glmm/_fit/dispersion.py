"""Choose dispersions for the moderated tests: the estimate of each gene, the trend over abundance, or a compromise."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._engine.genes import GeneFits

Dispersion = Literal["ml", "shrunken"]

# Smallest number of cells with two counts or more for which a gene has its own dispersion.
MIN_CELLS = 5
# Number of genes on each side in the running median.
_REACH = 75
_DEFAULT = 0.5
# Fewer genes are too few to estimate the scatter around the trend.
_MIN_GENES = 20
# Median of chi-square with one degree of freedom.
_MEDIAN_CHI2 = 0.454936


def dispersion_or_trend(
    fits: GeneFits, n_two: FloatArray, abundance: FloatArray, kind: Dispersion = "ml"
) -> tuple[FloatArray, BoolArray]:
    """Choose log dispersions, and return which of them come from the trend.

    Only cells with two counts or more have information on overdispersion within samples.

    Parameters
    ----------
    fits
        Fits of the genes.
    n_two
        ``(n_genes,)`` number of cells with two counts or more.
    abundance
        ``(n_genes,)`` log mean per unit of size factor.
    kind
        ``"ml"``: genes with enough information keep their estimates. ``"shrunken"``: :func:`shrink_to_trend` shrinks
        these estimates.
    """
    own = np.isfinite(fits.log_dispersion)
    informed = own & (n_two >= MIN_CELLS) & (fits.status == 0)
    from_trend = own & ~informed
    out = fits.log_dispersion.copy()
    order = np.flatnonzero(informed)[np.argsort(abundance[informed], kind="stable")]
    if from_trend.any():
        out[from_trend] = _trend(fits, order, abundance, np.flatnonzero(from_trend))
    if kind == "shrunken" and len(order) >= _MIN_GENES:
        trend = _trend(fits, order, abundance, order)
        out[order] = shrink_to_trend(fits.log_dispersion[order], fits.log_dispersion_se[order], trend)
    return out, from_trend


def shrink_to_trend(log_phi: FloatArray, se: FloatArray, trend: FloatArray) -> FloatArray:
    """Compute posterior means of log dispersions that scatter normally around a trend.

    Each squared residual is divided by the sum of the variance of the scatter and the squared standard error. The
    variance is chosen so that the median of these ratios is that of a chi-square; outliers therefore have no effect.
    Genes more than two standard deviations above the trend keep their estimates, as in DESeq2. Genes without a
    standard error, whose estimate is at a bound, keep it too.

    Parameters
    ----------
    log_phi, se, trend
        ``(n_genes,)`` natural log of the dispersion, its standard error, and its trend.
    """
    has_se = np.isfinite(se)
    residual = log_phi - trend
    r2, v = residual[has_se] ** 2, se[has_se] ** 2
    if not len(r2):
        return log_phi
    low, high = 0.0, float(np.max(r2)) / _MEDIAN_CHI2
    for _ in range(60):
        middle = 0.5 * (low + high)
        if np.median(r2 / (middle + v)) > _MEDIAN_CHI2:
            low = middle
        else:
            high = middle
    scatter = 0.5 * (low + high)
    spread = scatter + np.where(has_se, se, 0.0) ** 2
    shrink = has_se & (residual <= 2.0 * np.sqrt(spread))
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(spread > 0.0, scatter / spread, 0.0)
    return np.where(shrink, trend + weight * residual, log_phi)


def _trend(fits: GeneFits, order: IntArray, abundance: FloatArray, genes: IntArray) -> FloatArray:
    """Compute running medians of the informed genes, in `order` of abundance, at the abundance of `genes`."""
    if len(order) == 0:
        return np.full(len(genes), np.log(_DEFAULT))
    place = np.searchsorted(abundance[order], abundance[genes])
    values = fits.log_dispersion[order]
    return np.array([np.median(values[max(i - _REACH, 0) : i + _REACH + 1]) for i in place])
