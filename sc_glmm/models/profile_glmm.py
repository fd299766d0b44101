"""Profile likelihood of all parameters of a GLMM.

One is held, and the deviance (Laplace or quadrature) minimised over the others with its exact gradient.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from .._engine import entry
from .._engine.fit import gauss_hermite
from .._engine.laplace.records import Likelihood
from .._engine.structure import scale_theta
from .._errors import InputError
from .._families.registry import FAMILIES
from .glmm import GlmmModel, build_counts, maximise
from .profile import WALL, engine_places, factor_entries, find_bounds
from .varcorr import variance_names, variance_values

FloatArray = NDArray[np.float64]

# Predictors this far out are infinite.
_FAR = 1e6


class GlmmDeviance:
    """The deviance as a function of standard deviations, correlations, fixed effects and log dispersion."""

    def __init__(self, fit: GlmmModel) -> None:
        self.family = FAMILIES[fit.family]
        self.structure, self.nodes, stats = build_counts(fit.prepared, fit.y, fit.weights, self.family)
        self.like = Likelihood(self.family.code, self.family.has_dispersion, False)
        arrow, scaling = self.structure.arrow, self.structure.scaling
        self.engine, self.sizes = engine_places(fit.prepared, arrow, scaling.order)
        self.gh = gauss_hermite(fit.n_agq)
        self.n_variances, self.p = len(self.engine), len(fit.beta)
        self.mode = np.zeros(arrow.q + self.p)
        self.counts = stats.gene(0, self.nodes)

    def theta(self, variances: FloatArray) -> FloatArray | None:
        """The engine's theta; None where the correlations are impossible."""
        entries = factor_entries(variances, self.sizes)
        if entries is None:
            return None
        out = np.empty(self.n_variances)
        out[self.engine] = entries
        return scale_theta(self.structure.arrow, self.structure.scaling, out)

    def __call__(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """Value (without constants) and gradient."""
        k, p = self.n_variances, self.p
        theta = self.theta(psi[:k])
        if theta is None:
            return WALL, np.zeros(len(psi))
        R = self.structure.scaling.R
        inner = np.concatenate([R @ psi[k : k + p], theta, psi[k + p :]])
        mode, slope = self.mode.copy(), np.zeros(len(inner))
        value, ok = entry.evaluate(
            self.like, self.structure.arrow, self.nodes, self.counts, self.gh, inner, mode, slope
        )
        if not ok or not np.isfinite(value):
            return WALL, np.zeros(len(psi))
        self.mode = mode
        grad = np.empty(len(psi))
        grad[k : k + p] = R.T @ slope[:p]
        grad[k + p :] = slope[p + k :]
        for j in range(k):
            h = 1e-6 * max(abs(psi[j]), 1e-2)
            ends = []
            for sign in (1.0, -1.0):
                moved = psi[:k].copy()
                moved[j] += sign * h
                ends.append(self.theta(moved))
            # one side only at the end of the range
            width = h * sum(end is not None for end in ends)
            high, low = (theta if end is None else end for end in ends)
            grad[j] = slope[p : p + k] @ (high - low) / width if width > 0.0 else 0.0
        return 2.0 * float(value), 2.0 * grad


def profile_glmm(fit: GlmmModel, cutoff: float) -> FloatArray:
    """``(n_variances + p, 2)`` bounds of standard deviations, correlations and fixed effects of an ML fit.

    What is infinite in a separated model has one bound; all else is profiled in the limit.
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
    names = variance_names(fit)
    k, p = deviance.n_variances, deviance.p
    se = np.sqrt(np.diagonal(fit.cov_beta))
    best = np.concatenate([np.nan_to_num(variance_values(fit)), fit.beta])
    unit = np.concatenate(
        [[0.3 if n.startswith("cor_") else 0.3 * max(b, 0.1) for n, b in zip(names, best, strict=False)], se]
    )
    lower = np.concatenate([[-1.0 if name.startswith("cor_") else 0.0 for name in names], np.full(p, -np.inf)])
    upper = np.concatenate([[1.0 if name.startswith("cor_") else np.inf for name in names], np.full(p, np.inf)])
    if deviance.family.has_dispersion:
        low, high = deviance.family.log_dispersion_bounds
        best, unit = np.append(best, np.log(fit.dispersion)), np.append(unit, 0.5)
        lower, upper = np.append(lower, low), np.append(upper, high)
    minimum = deviance(best)[0]
    out = np.empty((k + p, 2))
    for i in range(k + p):
        free = np.array([j for j in range(len(best)) if j != i], dtype=np.int64)
        warm = {"others": best[free]}

        def above(
            value: float, i: int = i, free: NDArray[np.int64] = free, warm: dict[str, FloatArray] = warm
        ) -> float:
            def objective(x: FloatArray) -> tuple[float, FloatArray]:
                psi = np.empty(len(best))
                psi[free], psi[i] = x * unit[free], value
                f, g = deviance(psi)
                return f, g[free] * unit[free]

            if len(free) == 0:
                return objective(np.zeros(0))[0] - minimum - cutoff
            bounds = list(zip(lower[free] / unit[free], upper[free] / unit[free], strict=True))
            found = None
            for start in (warm["others"], best[free]):
                new = minimize(
                    objective,
                    start / unit[free],
                    jac=True,
                    method="L-BFGS-B",
                    bounds=bounds,
                    options={"ftol": 1e-12, "gtol": 1e-6, "maxiter": 500},
                )
                if found is None or new.fun < found.fun:
                    found = new
                if new.success and new.fun < WALL:
                    break
            if found is None or not found.fun < WALL:
                return WALL
            warm["others"] = found.x * unit[free]
            return float(found.fun) - minimum - cutoff

        step = 2.0 * unit[i] if i >= k else unit[i]
        out[i] = find_bounds(above, best[i], step, lower[i], upper[i], relative=1e-6)
    return out


def in_limit(fit: GlmmModel) -> GlmmModel:
    """The model of what stays in the limit of a separated one."""
    limit = fit.limit
    if limit is None:
        return fit
    columns = np.array(limit.columns, dtype=np.int64)
    return replace(
        fit,
        prepared=limit.inside,
        y=np.ascontiguousarray(fit.y[limit.kept]),
        weights=None if fit.weights is None else np.ascontiguousarray(fit.weights[limit.kept]),
        beta=fit.beta[columns],
        cov_beta=fit.cov_beta[np.ix_(columns, columns)],
        limit=None,
    )


def _one_bound(fit: GlmmModel, j: int, end: float, cutoff: float) -> tuple[float, float]:
    """The interval of a coefficient whose estimate is infinite: where the likelihood has fallen by the cutoff.

    The coefficient is held by the offset, and the rest fitted, in its own limit if it has one.
    """
    if np.isnan(end):
        return -np.inf, np.inf
    prepared, minimum = fit.prepared, -2.0 * fit.loglik()
    column = prepared.X[:, j]
    X = np.ascontiguousarray(np.delete(prepared.X, j, axis=1))
    unit = 1.0 / float(np.ptp(column) or np.abs(column).max())

    def above(value: float) -> float:
        held = replace(prepared, X=X, offset=prepared.offset + value * unit * column[prepared.row_of])
        try:
            fits, _ = maximise(held, fit.y, fit.weights, FAMILIES[fit.family], fit.n_agq, False, full=False)
        except InputError:  # so far out that no start leads to finite values
            return WALL
        return -2.0 * float(fits.loglik[0]) - minimum - cutoff

    # from zero toward infinity until inside, and away from it until outside
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
