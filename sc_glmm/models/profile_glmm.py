"""Compute profile likelihood intervals of all parameters of a GLMM.

One parameter is fixed, and the deviance (Laplace or quadrature) is minimised over the others with its exact gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import brentq, minimize

from .._arrays import FloatArray
from .._engine import entry
from .._engine.arrow.layout import scale_theta
from .._engine.fit import gauss_hermite
from .._engine.laplace.records import Likelihood
from .._errors import InputError
from .._families.registry import FAMILIES
from .glmm import GlmmModel, build_counts, maximise
from .profile import WALL, column_units, engine_places, factor_entries, find_bounds
from .varcorr import is_correlation, variance_values

# A larger predictor counts as infinite.
_FAR = 1e6


class GlmmDeviance:
    """The deviance as a function of standard deviations, correlations, fixed effects and log dispersion.

    Standard deviations refer to columns of Z with unit root mean square, fixed effects to the engine's X.
    """

    def __init__(self, fit: GlmmModel) -> None:
        self.family = FAMILIES[fit.family]
        self.structure, self.nodes, stats = build_counts(fit.prepared, fit.y, fit.weights, self.family)
        self.like = Likelihood(self.family.code, self.family.has_dispersion, False)
        arrow, scaling = self.structure.arrow, self.structure.scaling
        self.engine, self.sizes = engine_places(fit.prepared, arrow, scaling.order)
        self.gh = gauss_hermite(fit.n_agq)
        self.n_variances, self.p = len(self.engine), len(fit.beta)
        weight = np.bincount(fit.prepared.row_of, minlength=len(fit.prepared.X)).astype(np.float64)
        self.columns = column_units(fit.prepared, weight)
        self.mode = np.zeros(arrow.q + self.p)
        self.counts = stats.gene(0, self.nodes)

    def theta(self, variances: FloatArray) -> FloatArray | None:
        """Return the engine's theta; None if the correlations are impossible."""
        entries = factor_entries(variances * self.columns, self.sizes)
        if entries is None:
            return None
        out = np.empty(self.n_variances)
        out[self.engine] = entries
        return scale_theta(self.structure.arrow, self.structure.scaling, out)

    def __call__(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """Compute value (without constants) and gradient."""
        k, p = self.n_variances, self.p
        theta = self.theta(psi[:k])
        if theta is None:
            return WALL, np.zeros(len(psi))
        inner = np.concatenate([psi[k : k + p], theta, psi[k + p :]])
        mode, slope = self.mode.copy(), np.zeros(len(inner))
        value, ok = entry.evaluate(
            self.like, self.structure.arrow, self.nodes, self.counts, self.gh, inner, mode, slope
        )
        if not ok or not np.isfinite(value):
            return WALL, np.zeros(len(psi))
        self.mode = mode
        grad = np.empty(len(psi))
        grad[k : k + p] = slope[:p]
        grad[k + p :] = slope[p + k :]
        for j in range(k):
            h = 1e-6 * max(abs(psi[j]), 1e-2)
            ends = []
            for sign in (1.0, -1.0):
                moved = psi[:k].copy()
                moved[j] += sign * h
                ends.append(self.theta(moved))
            # the difference is one-sided at the end of the range
            width = h * sum(end is not None for end in ends)
            high, low = (theta if end is None else end for end in ends)
            grad[j] = slope[p : p + k] @ (high - low) / width if width > 0.0 else 0.0
        return 2.0 * float(value), 2.0 * grad


def profile_glmm(fit: GlmmModel, cutoff: float) -> FloatArray:
    """Compute (n_variances + p, 2) bounds of standard deviations, correlations and fixed effects of an ML fit.

    Infinite coefficients of a separated model have one bound; all others are profiled in the limit.
    """
    if fit.limit is not None:
        infinite = fit.infinite(np.eye(len(fit.beta)))
        inside = profile_glmm(in_limit(fit), cutoff)
        k = len(inside) - len(fit.limit.columns)
        out = np.full((k + len(fit.beta), 2), np.nan)
        out[:k] = inside[:k]
        out[k + np.array(fit.limit.columns)] = inside[k:]
        for j in np.flatnonzero(infinite != 0.0):
            out[k + j] = _one_bound(fit, int(j), float(infinite[j]), cutoff)
        return out

    deviance = GlmmDeviance(fit)
    k, p = deviance.n_variances, deviance.p
    R = deviance.structure.scaling.R
    is_cor = is_correlation(fit)
    units = np.where(is_cor, 1.0, deviance.columns)
    variances = np.nan_to_num(variance_values(fit)) / units
    best = np.concatenate([variances, R @ fit.beta])
    step = np.concatenate([np.where(is_cor, 0.3, 0.3 * np.maximum(variances, 0.1)), np.ones(p)])
    lower = np.concatenate([np.where(is_cor, -1.0, 0.0), np.full(p, -np.inf)])
    upper = np.concatenate([np.where(is_cor, 1.0, np.inf), np.full(p, np.inf)])
    if deviance.family.has_dispersion:
        low, high = deviance.family.log_dispersion_bounds
        best, step = np.append(best, np.log(fit.dispersion)), np.append(step, 0.5)
        lower, upper = np.append(lower, low), np.append(upper, high)
    room = lower - best, upper - best
    minimum = deviance(best)[0]
    inverse = solve_triangular(R, np.eye(p), lower=False) if p else R
    covariance = R @ fit.cov_beta @ R.T
    out = np.empty((k + p, 2))
    for i in range(k + p):
        along, across = np.eye(len(best))[i], np.diag(step)
        if i >= k:
            # `along` changes beta_j by one standard error; the directions in `across` do not change it
            along, across = np.zeros(len(best)), np.diag(step)
            row = inverse[i - k]
            se = float(np.sqrt(fit.cov_beta[i - k, i - k]))
            along[k : k + p] = row * (se / (row @ row))
            rotated = np.linalg.qr(row[:, None], mode="complete")[0]
            across[k : k + p, k : k + p] = rotated * np.sqrt(np.diagonal(rotated.T @ covariance @ rotated))
            # the first column of the rotation is the row itself
            across = np.delete(across, k, axis=1)
            limits = tuple(np.delete(one, k) for one in room)
        else:
            across = np.delete(across, i, axis=1)
            limits = tuple(np.delete(one, i) for one in room)
        scale = np.abs(across).max(axis=0, initial=0.0)
        above = _above(deviance, best, along, across, (limits[0] / scale, limits[1] / scale), minimum + cutoff)
        low, high = (room[0][i], room[1][i]) if i < k else (-np.inf, np.inf)
        ends = np.array(find_bounds(above, 0.0, step[i] if i < k else 2.0, low, high, relative=1e-6))
        out[i] = (best[i] + ends) * units[i] if i < k else fit.beta[i - k] + ends * se
    return out


def _above(
    deviance: GlmmDeviance,
    best: FloatArray,
    along: FloatArray,
    across: FloatArray,
    limits: tuple[FloatArray, FloatArray],
    level: float,
) -> Callable[[float], float]:
    """Return a function of a value: the deviance at ``best + value * along``, minus `level`.

    The deviance is minimised over ``across @ x`` within limits of x.
    """
    n = across.shape[1]
    bounds = list(zip(*limits, strict=True))
    warm = {"x": np.zeros(n)}

    def above(value: float) -> float:
        def objective(x: FloatArray) -> tuple[float, FloatArray]:
            f, g = deviance(best + value * along + across @ x)
            return f, across.T @ g

        if n == 0:
            return objective(np.zeros(0))[0] - level
        optimum = None
        for start in (warm["x"], np.zeros(n)):
            new = minimize(
                objective,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"ftol": 1e-12, "gtol": 1e-6, "maxiter": 500},
            )
            if optimum is None or new.fun < optimum.fun:
                optimum = new
            if new.success and new.fun < WALL:
                break
        if optimum is None or not optimum.fun < WALL:
            return WALL
        warm["x"] = optimum.x
        return float(optimum.fun) - level

    return above


def in_limit(fit: GlmmModel) -> GlmmModel:
    """Return the model of the remaining observations and columns of a separated model."""
    limit = fit.limit
    if limit is None:
        return fit
    columns = np.array(limit.columns, dtype=np.int64)
    return replace(
        fit,
        prepared=limit.inside,
        y=np.ascontiguousarray(fit.y[limit.remaining]),
        weights=None if fit.weights is None else np.ascontiguousarray(fit.weights[limit.remaining]),
        beta=fit.beta[columns],
        cov_beta=fit.cov_beta[np.ix_(columns, columns)],
        limit=None,
    )


def _one_bound(fit: GlmmModel, j: int, end: float, cutoff: float) -> tuple[float, float]:
    """Find the one-sided interval of a coefficient with an infinite estimate.

    The coefficient is fixed by the offset, and the other parameters are fitted, in their own limit if the rest is also
    separated.
    """
    if np.isnan(end):
        return -np.inf, np.inf
    prepared, minimum = fit.prepared, -2.0 * fit.loglik()
    column = prepared.X[:, j]
    X = np.ascontiguousarray(np.delete(prepared.X, j, axis=1))
    unit = 1.0 / float(np.ptp(column) or np.abs(column).max())

    def above(value: float) -> float:
        fixed = replace(prepared, X=X, offset=prepared.offset + value * unit * column[prepared.row_of])
        try:
            fits, _ = maximise(fixed, fit.y, fit.weights, FAMILIES[fit.family], fit.n_agq, False, full=False)
        except InputError:  # too far from the estimate for finite values
            return WALL
        return -2.0 * float(fits.loglik[0]) - minimum - cutoff

    # move from zero towards infinity until the value is inside the interval, then back until it is outside
    inside, step = 0.0, 1.0
    while above(inside) > 0.0:
        inside, step = inside + np.sign(end) * step, 2.0 * step
        if step > _FAR:
            return -np.inf, np.inf
    outside, step = inside - np.sign(end), 1.0
    while above(outside) <= 0.0:
        inside, outside, step = outside, outside - np.sign(end) * 2.0 * step, 2.0 * step
        if step > _FAR:
            return -np.inf, np.inf
    bound = unit * float(brentq(above, min(inside, outside), max(inside, outside), xtol=1e-7, rtol=1e-9))
    return (-np.inf, bound) if end < 0.0 else (bound, np.inf)
