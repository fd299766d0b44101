"""Histogram, quantiles and inflation of p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, chi2

from ..._arrays import BoolArray, FloatArray, IntArray
from ..._errors import InputError

# P-values above this are attributed to genes without an effect (Storey).
_NULL_FROM = 0.5


@dataclass(frozen=True)
class Histogram:
    """Numbers of p-values in bins of equal width.

    Attributes
    ----------
    edges
        ``(n_bins + 1,)`` from 0 to 1.
    counts
        ``(n_bins,)``.
    null_share
        Estimated fraction of tests without an effect, at most 1: twice the fraction of p-values above 0.5 (Storey, JRSS
        B 2002).
    """

    edges: FloatArray
    counts: IntArray
    null_share: float

    @property
    def null_count(self) -> float:
        """Expected height of the bins if only tests without an effect were present."""
        return self.null_share * float(self.counts.sum()) / len(self.counts)


@dataclass(frozen=True)
class Quantiles:
    """Sorted p-values and quantiles of a uniform distribution, as ``-log10``.

    Attributes
    ----------
    expected, observed
        ``(n_tests,)``, largest first.
    low, high
        ``(n_tests,)`` central 95 % of each order statistic of independent uniform p-values.
    inflation
        Median of the p-values as chi-squared values with one degree of freedom, relative to the expected median
        (0.455); 1 is ideal.
    cut
        ``(n_tests,)`` p-values of zero, drawn slightly above the others.
    """

    expected: FloatArray
    observed: FloatArray
    low: FloatArray
    high: FloatArray
    inflation: float
    cut: BoolArray


def finite_p_values(p_values: FloatArray, *, plot: str) -> FloatArray:
    """The finite p-values; an error if there are none."""
    p = np.asarray(p_values, dtype=np.float64)
    p = p[np.isfinite(p)]
    if len(p) == 0:
        raise InputError(f"{plot} has no p-values to draw: none of the {len(p_values)} rows has one.")
    if p.min() < 0.0 or p.max() > 1.0:
        raise InputError(
            f"{plot} received p-values from {p.min():g} to {p.max():g}; p-values must lie between 0 and 1."
        )
    return p


def p_value_histogram(p: FloatArray, bins: int) -> Histogram:
    """Numbers of `p` in `bins` bins from 0 to 1."""
    if bins < 2:
        raise InputError(f"bins={bins}: a histogram needs at least 2 bins; 20 is usual.")
    counts, edges = np.histogram(p, bins=bins, range=(0.0, 1.0))
    share = float(np.mean(p > _NULL_FROM)) / (1.0 - _NULL_FROM)
    return Histogram(edges, counts.astype(np.int64), min(share, 1.0))


def inflation(p: FloatArray) -> float:
    """Genomic inflation: median chi-squared quantile of the p-values, relative to that of uniform ones."""
    return float(chi2.isf(np.median(p), 1) / chi2.isf(0.5, 1))


def p_value_quantiles(p: FloatArray) -> Quantiles:
    """Quantiles of `p` against a uniform distribution."""
    p = np.sort(p)
    n = len(p)
    rank = np.arange(1, n + 1)
    expected = -np.log10((rank - 0.5) / n)
    zero = p == 0.0
    top = -np.log10(p[~zero].min()) if (~zero).any() else expected[0]
    observed = np.where(zero, 1.05 * max(top, expected[0]), -np.log10(np.where(zero, 1.0, p)))
    # The k-th smallest of n independent uniform numbers has a beta(k, n + 1 - k) distribution.
    low, high = (-np.log10(beta.ppf(q, rank, n + 1 - rank)) for q in (0.975, 0.025))
    return Quantiles(expected, observed, low, high, inflation(p), zero)
