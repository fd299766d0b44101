"""Compute Wald tests with a t or F reference distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .._arrays import FloatArray


@dataclass(frozen=True)
class WaldTest:
    """Tests of ``L beta = 0`` for many genes.

    Attributes
    ----------
    coef, se
        ``(n_genes,)`` estimate and standard error of a contrast of one row; NaN for a joint one.
    stat
        ``(n_genes,)`` t for a contrast of one row, F for a joint one.
    df
        Denominator degrees of freedom: one number, or ``(n_genes,)``.
    p_value
        ``(n_genes,)`` two-sided.
    """

    coef: FloatArray
    se: FloatArray
    stat: FloatArray
    df: float | FloatArray
    p_value: FloatArray


def wald_test(beta: FloatArray, vcov: FloatArray, L: FloatArray, df: float | FloatArray) -> WaldTest:
    """Test ``L beta = 0`` gene by gene.

    Parameters
    ----------
    beta
        ``(n_genes, p)`` estimates.
    vcov
        ``(n_genes, p, p)`` their covariance.
    L
        ``(q, p)`` contrast. One row gives a t test. More rows give ``F = (L b)' (L V L')^-1 (L b) / q`` with q and `df`
        degrees of freedom.
    df
        Denominator degrees of freedom: one number, or ``(n_genes,)``.
    """
    estimate = beta @ L.T
    covariance = L @ vcov @ L.T
    q = len(L)
    nothing = np.full(len(beta), np.nan)
    if q == 1:
        with np.errstate(invalid="ignore", divide="ignore"):
            se = np.sqrt(covariance[:, 0, 0])
            stat = estimate[:, 0] / se
        return WaldTest(estimate[:, 0], se, stat, df, 2.0 * stats.t.sf(np.abs(stat), df))
    stat = nothing.copy()
    ok = np.all(np.isfinite(estimate), axis=1) & np.all(np.isfinite(covariance), axis=(1, 2))
    ok &= np.linalg.matrix_rank(np.where(ok[:, None, None], covariance, np.eye(q)), hermitian=True) == q
    solved = np.linalg.solve(covariance[ok], estimate[ok][:, :, None])[:, :, 0]
    stat[ok] = np.einsum("gi,gi->g", estimate[ok], solved) / q
    return WaldTest(nothing, nothing.copy(), stat, df, stats.f.sf(stat, q, df))


def interval(
    coef: FloatArray, se: FloatArray, df: float | FloatArray, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Compute the Wald interval of the given level with a t reference."""
    half = stats.t.ppf(0.5 + 0.5 * level, df) * se
    return coef - half, coef + half
