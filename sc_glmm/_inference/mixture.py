"""Compute tests, intervals and estimates that average over a gene's posterior of the variances.

Let r(b) be the signed root of the likelihood ratio of a coefficient against the value b, given the variances. Its
modified version r* (Barndorff-Nielsen) is normal to third order. With posterior weights w, all results follow from

    F(b) = sum_j w_j Phi(r*_j(b)).

The p-value is p = 2 min(F(0), 1 - F(0)). The limits of the interval are the values b with F(b) = 0.975 and 0.025. The
statistic is the normal quantile of p with the sign of the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from .._arrays import FloatArray
from .minimum import Confidence
from .signed_root import SignedRoots

_Z_975 = float(ndtri(0.975))


@dataclass(frozen=True)
class MixtureTest:
    """Tests of one contrast for many genes; NaN for genes without a profile.

    Attributes
    ----------
    coef, se
        ``(n_genes,)`` mean and standard deviation of the coefficient under the posterior; the standard deviation
        combines the variation between nodes and within nodes.
    low, high
        ``(n_genes,)`` 95 % interval. `coef`, `se`, `low` and `high` are NaN for a contrast of several rows.
    stat
        ``(n_genes,)`` normal quantile of the p-value with the sign of the estimate; for several rows the mean
        likelihood ratio statistic.
    p_value
        ``(n_genes,)`` two-sided.
    df
        ``(n_genes,)`` degrees of freedom of the reference distribution; None if all genes have the same.
    confidence
        F(b) for any b, which gives p-values against a minimum effect; None if the test does not support them.
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
        ``(n_genes, n_grid)`` posterior of the variances.
    delta, var
        ``(n_genes, n_grid)`` estimate and its variance at each node.
    root
        ``(n_genes, n_grid)`` r* against zero; ``delta / sqrt(var)`` gives a Wald test.
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
    """Test a contrast of q rows: average the chi-square p-values of the likelihood ratios `ratio`."""
    nothing = np.full(len(weights), np.nan)
    p_value = np.sum(weights * chi2.sf(ratio, q), axis=1)
    return MixtureTest(nothing, nothing, nothing, nothing, np.sum(weights * ratio, axis=1), p_value)


def _interval(roots: SignedRoots, coef: FloatArray, se: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute 95 % intervals from the same function F(b) as the p-values."""
    low, high = np.full(len(coef), np.nan), np.full(len(coef), np.nan)
    good = np.isfinite(coef) & np.isfinite(roots.shift).all(axis=1)
    low[good] = roots[good].quantile(_Z_975, coef[good], se[good])
    high[good] = roots[good].quantile(-_Z_975, coef[good], se[good])
    return low, high
