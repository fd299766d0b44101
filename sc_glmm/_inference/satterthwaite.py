"""Compute Satterthwaite's degrees of freedom from a profile over one variance, with or without a prior.

Let psi be the log of the variance. The variance V(psi) of an estimate has the degrees of freedom
``nu = 2 (d log V / d psi)^-2 I(psi)``, where I is the information on psi of the REML likelihood. A normal prior of psi
adds ``1 / tau^2`` to it; its mean and tau are estimated from all genes. The t statistic becomes normal as the
information grows, or as V depends less on psi.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize

from .._arrays import FloatArray

_POINTS_PER_INTERVAL = 8
MAX_DF = 1e6


def satterthwaite(
    variance: FloatArray, log_likelihood: FloatArray, delta: FloatArray, var: FloatArray, *, moderated: bool
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Compute ``(estimate, se, df, p_value)`` of every gene at the maximum of its likelihood (or posterior).

    Parameters
    ----------
    variance
        ``(n_grid,)`` nodes of the variance, descending.
    log_likelihood, delta, var
        ``(n_genes, n_grid)`` REML log likelihood, estimate and its variance.
    moderated
        Whether to add the prior.
    """
    psi = np.log(variance[::-1])
    fine = np.concatenate(
        [np.linspace(a, b, _POINTS_PER_INTERVAL, endpoint=False) for a, b in zip(psi[:-1], psi[1:], strict=True)]
    )
    fine = np.append(fine, psi[-1])
    good = np.isfinite(log_likelihood).all(axis=1) & np.isfinite(var).all(axis=1)
    out = [np.full(len(delta), np.nan) for _ in range(4)]
    if not good.any():
        return out[0], out[1], out[2], out[3]
    criterion = CubicSpline(psi, log_likelihood[good][:, ::-1], axis=1)
    log_var = CubicSpline(psi, np.log(var[good][:, ::-1]), axis=1)
    estimates = CubicSpline(psi, delta[good][:, ::-1], axis=1)
    height = criterion(fine)
    precision = 0.0
    if moderated:
        mean, tau = _normal_prior(height, fine)
        height = height - 0.5 * ((fine - mean) / tau) ** 2
        precision = tau**-2
    best = np.argmax(height, axis=1)
    gene = np.arange(len(best))
    information = np.maximum(-criterion(fine, 2)[gene, best], 0.0) + precision
    slope = log_var(fine, 1)[gene, best]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.minimum(2.0 * information / slope**2, MAX_DF)
    # at the smallest node the variance counts as zero, and V has no error
    df = np.where((best == 0) | ~np.isfinite(df), MAX_DF, np.maximum(df, 1.0))
    estimate, se = estimates(fine)[gene, best], np.exp(0.5 * log_var(fine)[gene, best])
    p_value = 2.0 * stats.t.sf(np.abs(estimate / se), df)
    for array, values in zip(out, (estimate, se, df, p_value), strict=True):
        array[good] = values
    return out[0], out[1], out[2], out[3]


def _normal_prior(height: FloatArray, fine: FloatArray) -> tuple[float, float]:
    """Estimate the mean and standard deviation of the log variance over genes, by maximum marginal likelihood."""
    likelihood = np.exp(height - height.max(axis=1, keepdims=True))
    width = np.gradient(fine)

    def negative(parameters: FloatArray) -> float:
        density = np.exp(-0.5 * ((fine - parameters[0]) / np.exp(parameters[1])) ** 2) * width
        density /= density.sum()
        return -float(np.log(likelihood @ density + 1e-300).sum())

    starts = [(mean, np.log(tau)) for mean in (-4.0, -2.5) for tau in (1.0, 2.0)]
    found = min((minimize(negative, start, method="Nelder-Mead") for start in starts), key=lambda r: r.fun)
    return float(found.x[0]), float(np.exp(np.clip(found.x[1], -2.0, 2.0)))
