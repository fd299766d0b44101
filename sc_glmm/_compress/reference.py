"""Common change of most cell types, the reference for the changes of single types.

Counts of cells by type contain information on shares, not on absolute numbers: if one type grows, the shares of all
others shrink. A change can therefore only be measured relative to a reference. Here, the reference is the location of
the changes of all types along every direction of the design. Its estimator is robust to types with their own change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from .._arrays import FloatArray

# Tukey's biweight: 95 % efficiency for types without their own change; types farther away have weight zero.
BIWEIGHT = 4.685
_PASSES = 30
_ITERATIONS = 100
# Weight, in samples, of the median of the dispersions in the dispersion of each type.
_PRIOR_DF = 4.0


@dataclass(frozen=True)
class Reference:
    """Common change.

    Attributes
    ----------
    log_shift
        ``(n_samples,)`` natural log of the factor by which the size of each sample is multiplied, mean zero.
    weight
        ``(n_types,)`` weight of each type: 1 for types that change like the reference, 0 for types far from it.
    """

    log_shift: FloatArray
    weight: FloatArray


def common_change(counts: FloatArray, log_size: FloatArray, X: FloatArray) -> Reference:
    r"""Estimate the common change of most types, as one factor per sample.

    Each type has a log-linear model :math:`\log E\,y_{sk} = \log n_s + x_s^\top b_k` with variance
    :math:`\mu + \psi_k \mu^2`. Its dispersion is estimated by moments and shrunken to the median over types. In
    coordinates T of the column space of X without the constant, its changes are :math:`c_k` with covariance
    :math:`V_k`. Their location m solves :math:`\sum_k w(d_k) V_k^{-1} (c_k - m) = 0` with
    :math:`d_k^2 = (c_k - m)^\top V_k^{-1} (c_k - m)` and Tukey's biweight w. The iteration starts from the
    coordinatewise median. The residuals of each sample are averaged over types with the same weights, so that the
    scatter of a type around the reference and its change against the reference are measured in the same way:

    .. math:: r_s = T_s m + \sum_k w_k \omega_{sk} \frac{y_{sk} - \mu_{sk}}{\mu_{sk}} \Big/ \sum_k w_k
        \omega_{sk}, \quad \omega_{sk} = \frac{\mu_{sk}}{1 + \psi_k \mu_{sk}}.

    The result depends only on the column space of X, not on the coding of the design.

    Parameters
    ----------
    counts
        ``(n_samples, n_types)`` numbers of cells.
    log_size
        ``(n_samples,)`` natural logs of the sizes of the samples.
    X
        ``(n_samples, p)`` fixed effects.
    """
    counts = np.asarray(counts, dtype=np.float64)
    seen = np.flatnonzero(counts.sum(axis=0) > 0.0)
    T = _without_constant(X)
    if len(seen) < 2 or T.shape[1] == 0 or len(T) <= T.shape[1] + 1:
        return Reference(np.zeros(len(counts)), np.ones(counts.shape[1]))
    y, shift = counts[:, seen], np.zeros(len(counts))
    # relative to all cells, the most abundant types would seem to vary least; so all types first get the same weight
    shift += _residual(y, _changes(y, log_size, T, alike=True), np.ones(len(seen)))
    found = _changes(y, log_size + shift, T)
    m, weight = _location(found)
    shift += T @ m + _residual(y, found, weight)
    every = np.ones(counts.shape[1])
    every[seen] = weight
    return Reference(shift - shift.mean(), every)


@dataclass(frozen=True)
class _Changes:
    """Fits of all types.

    Attributes
    ----------
    change, precision
        ``(n_types, r)`` changes along T, and the ``(n_types, r, r)`` inverse of their covariance.
    mu, information
        ``(n_samples, n_types)`` means, and the information of each count on the log of its mean.
    """

    change: FloatArray
    precision: FloatArray
    mu: FloatArray
    information: FloatArray


def _residual(counts: FloatArray, found: _Changes, weight: FloatArray) -> FloatArray:
    """Compute the ``(n_samples,)`` residuals of the fits, averaged over types."""
    total = found.information @ weight
    score = (found.information * (counts - found.mu) / found.mu) @ weight
    # one step on the log scale; a sample far from its fitted values moves by at most a factor of e
    left: FloatArray = np.clip(score / np.maximum(total, 1e-300), -1.0, 1.0)
    return left


def _without_constant(X: FloatArray) -> FloatArray:
    """Compute ``(n, r)`` orthonormal columns that span the column space of X without the constant."""
    centred = X - X.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    varying = length > 1e-10 * np.maximum(np.abs(X).max(axis=0), 1e-300) * np.sqrt(len(X))
    left, size, _ = np.linalg.svd(centred[:, varying] / length[varying], full_matrices=False)
    rank = int(np.sum(size > 1e-9 * size.max(initial=1.0)))
    return np.ascontiguousarray(left[:, :rank])


def _changes(counts: FloatArray, log_size: FloatArray, T: FloatArray, *, alike: bool = False) -> _Changes:
    """Fit every type; with `alike`, all types have the median dispersion."""
    n, r = T.shape
    D = np.column_stack([np.ones(n), T])
    size = np.exp(log_size - log_size.max())
    # add half a count per coefficient, in proportion to sample size, so that types without cells in an arm stay finite
    y = counts + 0.5 * (r + 1) * (size / size.sum())[:, None]
    log_mu = np.log(size)[:, None] + np.log(y.sum(axis=0) / size.sum())
    dispersion = np.zeros(counts.shape[1])
    df = n - r - 1.0
    weight_of_all = df + _PRIOR_DF if alike else _PRIOR_DF
    beta = np.zeros((counts.shape[1], r + 1))
    beta[:, 0] = np.log(y.sum(axis=0) / size.sum())
    for _ in range(_PASSES):
        mu = np.exp(np.clip(log_mu, -60.0, 60.0))
        W = mu / (1.0 + dispersion * mu)
        information = np.einsum("sk,si,sj->kij", W, D, D)
        score = np.einsum("sk,si->ki", W * (y - mu) / mu, D)
        step = np.linalg.solve(information, score[:, :, None])[:, :, 0]
        # limit steps of the linear predictor to 3, because counts of zero would let it diverge
        far = np.abs(D @ step.T).max(axis=0)
        beta = beta + step / np.maximum(far / 3.0, 1.0)[:, None]
        log_mu = np.log(size)[:, None] + D @ beta.T
        mu = np.exp(np.clip(log_mu, -60.0, 60.0))
        excess = np.sum((counts - mu) ** 2, axis=0) * n / df - mu.sum(axis=0)
        own = np.maximum(excess, 0.0) / np.sum(mu**2, axis=0)
        dispersion = (df * (0.0 if alike else own) + weight_of_all * np.median(own)) / (df + _PRIOR_DF)
        if far.max() < 1e-8:
            break
    W = mu / (1.0 + dispersion * mu)
    information = np.einsum("sk,si,sj->kij", W, D, D)
    cross, first = information[:, 1:, 0], information[:, 0, 0]
    of_changes = information[:, 1:, 1:] - cross[:, :, None] * cross[:, None, :] / first[:, None, None]
    return _Changes(beta[:, 1:], of_changes, mu, W)


def _location(found: _Changes) -> tuple[FloatArray, FloatArray]:
    """Compute the biweight location of the changes, and the weights of the types."""
    change, precision = found.change, found.precision
    r = change.shape[1]
    reach = float(chi2.ppf(chi2.cdf(BIWEIGHT**2, 1), r))
    m = np.median(change, axis=0)
    weight = np.ones(len(change))
    for _ in range(_ITERATIONS):
        off = change - m
        weight = np.maximum(1.0 - np.einsum("ki,kij,kj->k", off, precision, off) / reach, 0.0) ** 2
        if weight.sum() <= 0.0:
            # all types are far from each other, or from their median: keep the current location
            break
        total = np.einsum("k,kij->ij", weight, precision)
        new = np.linalg.solve(total, np.einsum("k,kij,kj->i", weight, precision, change))
        moved = float(np.abs(new - m).max())
        m = new
        if moved < 1e-10:
            break
    return m, weight
