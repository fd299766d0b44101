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
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from .._arrays import FloatArray
from .minimum import Confidence
from .signed_root import SignedRoots

_HALF = float(ndtri(0.975))


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
    confidence
        F(b) for any b, from which p-values against a minimum effect follow; None where the test has none.
    """

    coef: FloatArray
    se: FloatArray
    low: FloatArray
    high: FloatArray
    stat: FloatArray
    p_value: FloatArray
    df: FloatArray | None = None
    confidence: Confidence | None = None


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
    roots = SignedRoots.through(weights, delta, var, root)
    low, high = _interval(roots, coef, se)

    def confidence(b: float) -> tuple[FloatArray, FloatArray]:
        at = np.full((len(coef), 1), b)
        up = np.ones(len(coef))
        return roots.tail(at, -up)[:, 0], roots.tail(at, up)[:, 0]

    return MixtureTest(coef, se, low, high, stat, p_value, confidence=confidence)


def joint_mixture_test(weights: FloatArray, ratio: FloatArray, q: int) -> MixtureTest:
    """Test a contrast of q rows: the chi-square p-values of the likelihood ratios `ratio`, averaged."""
    nothing = np.full(len(weights), np.nan)
    p_value = np.sum(weights * chi2.sf(ratio, q), axis=1)
    return MixtureTest(nothing, nothing, nothing, nothing, np.sum(weights * ratio, axis=1), p_value)


def _interval(roots: SignedRoots, coef: FloatArray, se: FloatArray) -> tuple[FloatArray, FloatArray]:
    """95 % intervals, from the function whose value at zero is the p-value."""
    low, high = np.full(len(coef), np.nan), np.full(len(coef), np.nan)
    good = np.isfinite(coef) & np.isfinite(roots.shift).all(axis=1)
    low[good] = roots[good].quantile(_HALF, coef[good], se[good])
    high[good] = roots[good].quantile(-_HALF, coef[good], se[good])
    return low, high
