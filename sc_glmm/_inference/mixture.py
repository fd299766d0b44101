"""Tests, intervals and estimates that average over a gene's posterior of the variances.

Given the variances, the signed root of the likelihood ratio r(b) of a coefficient against the value b is normal to
third order once it is modified to r* (Barndorff-Nielsen). With posterior weights w,

    F(b) = sum_j w_j Phi(r*_j(b))

is the one function behind everything: p = 2 min(F(0), 1 - F(0)), the interval are the b with F = 0.975 and 0.025, and
the statistic is the normal quantile of p with the sign of the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

FloatArray = NDArray[np.float64]

# Half-width of the search for a limit, in standard errors.
_FAR = 12.0
# Largest relative change of the root by skewness; up to a half it stays monotone.
_MOST_BENT = 0.45


@dataclass(frozen=True)
class MixtureTest:
    """Tests of one contrast for many genes; NaN for genes without a profile.

    Attributes
    ----------
    coef, se
        ``(n_genes,)`` mean of the estimates over the posterior; their standard deviation, between and within nodes.
    low, high
        ``(n_genes,)`` 95 % interval. NaN, like `coef` and `se`, for a contrast of several rows.
    stat
        ``(n_genes,)`` normal quantile of the p-value with the sign of the estimate; for several rows the mean
        likelihood ratio statistic.
    p_value
        ``(n_genes,)`` two-sided.
    df
        ``(n_genes,)`` degrees of freedom of the reference, where genes differ in them.
    """

    coef: FloatArray
    se: FloatArray
    low: FloatArray
    high: FloatArray
    stat: FloatArray
    p_value: FloatArray
    df: FloatArray | None = None


def mixture_test(weights: FloatArray, delta: FloatArray, var: FloatArray, root: FloatArray) -> MixtureTest:
    """Test a contrast of one row.

    Parameters
    ----------
    weights
        ``(n_genes, n_grid)`` posterior.
    delta, var
        ``(n_genes, n_grid)`` estimate and variance at each node.
    root
        ``(n_genes, n_grid)`` r* against zero; with ``delta / sqrt(var)`` the test is of Wald's kind.
    """
    below = np.sum(weights * ndtr(root), axis=1)
    above = np.sum(weights * ndtr(-root), axis=1)
    p_value = np.minimum(2.0 * np.minimum(below, above), 1.0)
    coef = np.sum(weights * delta, axis=1)
    se = np.sqrt(np.sum(weights * (var + (delta - coef[:, None]) ** 2), axis=1))
    sign = np.where(below >= above, 1.0, -1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        stat = -sign * ndtri(0.5 * p_value)
    low, high = _interval(weights, delta, np.sqrt(var), root, coef, se)
    return MixtureTest(coef, se, low, high, stat, p_value)


def joint_mixture_test(weights: FloatArray, ratio: FloatArray, q: int) -> MixtureTest:
    """Test a contrast of q rows: the chi-square p-values of the likelihood ratios `ratio`, averaged."""
    nothing = np.full(len(weights), np.nan)
    p_value = np.sum(weights * chi2.sf(ratio, q), axis=1)
    return MixtureTest(nothing, nothing, nothing, nothing, np.sum(weights * ratio, axis=1), p_value)


def _interval(
    weights: FloatArray, delta: FloatArray, sd: FloatArray, root: FloatArray, coef: FloatArray, se: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Invert F by bisection.

    Between b = 0, where r* is known, and the estimate, where it is zero, r* as a function of ``z = (delta - b) / sd``
    is the parabola through both, ``z + c z^2``: skewness, the first term that is missing from Wald's straight line.
    """
    z0 = delta / sd
    most = _MOST_BENT / np.maximum(np.abs(z0), 1.0)
    skew = np.clip((root - z0) / np.maximum(z0 * z0, 1.0), -most, most)

    def F(b: FloatArray) -> FloatArray:
        z = (delta - b[:, None]) / sd
        return np.sum(weights * ndtr(z * (1.0 + np.clip(skew * z, -_MOST_BENT, _MOST_BENT))), axis=1)

    limits = []
    for target in (0.975, 0.025):
        left, right = coef - _FAR * se, coef + _FAR * se
        for _ in range(45):
            middle = 0.5 * (left + right)
            beyond = F(middle) > target  # F falls in b
            left, right = np.where(beyond, middle, left), np.where(beyond, right, middle)
        limits.append(0.5 * (left + right))
    return limits[0], limits[1]
