"""Compute quasi-likelihood tests: a t test whose scale is the weighted residual variance between samples.

Genes of similar abundance share one variance between samples. If it is right, ``q = RSS / df`` has the expectation one.
``t = estimate / (se sqrt(q))`` is the test of Hartung and Knapp. It uses no prior, and in the Gaussian limit it is
exact for each gene. Moderation shrinks q towards its mean over genes, as in limma (Smyth 2004; the scaled F of Phipson
et al. 2016 without robustness).
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import digamma, polygamma

from .._arrays import FloatArray


def scaled_t(
    estimate: FloatArray, se: FloatArray, q: FloatArray, df: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Compute the t statistic and its two-sided p-value with the squared scale `q`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = estimate / (se * np.sqrt(q))
    return t, 2.0 * stats.t.sf(np.abs(t), df)


def squeeze(q: FloatArray, df: float) -> tuple[FloatArray, float]:
    """Moderate squared scales; also return the prior's degrees of freedom.

    These are infinite if the scales vary no more than by chance. Fits ``q ~ s0^2 F(df, d0)`` by the moments of log q
    (Smyth 2004, section 6.2).
    """
    good = np.isfinite(q)
    x = np.maximum(q[good], 1e-5 * np.median(q[good]))
    e = np.log(x) - digamma(df / 2.0) + np.log(df / 2.0)
    excess = float(np.var(e, ddof=1)) - float(polygamma(1, df / 2.0)) if len(e) > 1 else 0.0
    if excess > 0.0:
        d0 = 2.0 * _inverse_trigamma(excess)
        s0 = float(np.exp(e.mean() + digamma(d0 / 2.0) - np.log(d0 / 2.0)))
        return (d0 * s0 + df * q) / (d0 + df), d0
    return np.where(good, float(np.exp(e.mean())), np.nan), np.inf


def _inverse_trigamma(x: float) -> float:
    """Invert the trigamma function by Newton's method on 1 / trigamma, nearly linear (Smyth 2004, appendix)."""
    y = 0.5 + 1.0 / x
    for _ in range(60):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1.0 - trigamma / x) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-10:
            break
    return y
