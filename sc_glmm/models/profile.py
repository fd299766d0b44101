"""Compute profile likelihood intervals of Gaussian models.

Their limits are the values at which the deviance, minimised over all other parameters, exceeds its minimum by a cutoff.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq, minimize

from .._arrays import FloatArray
from .._engine.arrow.layout import Arrow
from .._engine.gaussian.evaluate import evaluate, new_work
from .._engine.gaussian.fit import fit_lmm
from .._engine.gaussian.problem import build_problem
from .._parallel.blas import one_blas_thread
from .lmm import LmmModel
from .prepare import Prepared
from .varcorr import is_correlation, variance_values

# A deviance above this counts as infinite.
WALL = 1e10


def profile_variances(fit: LmmModel, cutoff: float) -> FloatArray:
    """Compute (n_par, 2) bounds of standard deviations, correlations and sigma of an ML fit."""
    correlation = is_correlation(fit)
    units = parameter_units(fit)
    best = np.nan_to_num(variance_values(fit)) / units
    lower = np.where(correlation, -1.0, 0.0)
    upper = np.where(correlation, 1.0, np.inf)
    lower[-1] = 1e-4 * best[-1]
    deviance = VarianceDeviance(fit)
    minimum = deviance(best)[0]
    out = np.empty((len(best), 2))
    for i in range(len(best)):
        free = [j for j in range(len(best)) if j != i]
        warm = {"others": best[free]}

        def above(value: float, i: int = i, free: list[int] = free, warm: dict[str, FloatArray] = warm) -> float:
            def objective(others: FloatArray) -> tuple[float, FloatArray]:
                psi = np.empty(len(best))
                psi[free], psi[i] = others, value
                f, g = deviance(psi)
                return f, g[free]

            optimum = None
            for start in (warm["others"], best[free]):
                new = minimize(
                    objective,
                    start,
                    jac=True,
                    method="L-BFGS-B",
                    bounds=list(zip(lower[free], upper[free], strict=True)),
                    options={"ftol": 1e-13, "gtol": 1e-7, "maxiter": 500},
                )
                if optimum is None or new.fun < optimum.fun:
                    optimum = new
            if optimum is None or not np.isfinite(optimum.fun):
                return WALL
            warm["others"] = optimum.x
            return float(optimum.fun) - minimum - cutoff

        scale = 0.5 if correlation[i] else 0.3 * max(best[i], 0.1)
        out[i] = find_bounds(above, best[i], scale, lower[i], upper[i])
    return out * units[:, None]


def column_units(prepared: Prepared, weight: FloatArray) -> FloatArray:
    """Compute the (n_theta,) units of standard deviations on the scale of the predictor; 1 for correlations.

    Parameters are sorted as the user sees them, by term and column. `weight` is (n_rows,).
    """
    units: list[float] = []
    for place in prepared.places:
        columns = prepared.blocks[place.block].Z[:, place.columns]
        size = np.sqrt(np.average(columns**2, axis=0, weights=weight))
        k = len(size)
        units += [1.0 / size[c] if r == c and size[c] > 0.0 else 1.0 for c in range(k) for r in range(c, k)]
    return np.array(units)


def parameter_units(fit: LmmModel) -> FloatArray:
    """Compute units in which standard deviations and sigma are of order one, for any units of the data."""
    columns = column_units(fit.prepared, fit.problem.weight)
    return np.append(np.where(is_correlation(fit)[:-1], 1.0, columns * fit.sigma), fit.sigma)


def engine_places(prepared: Prepared, arrow: Arrow, order: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the engine's positions of the thetas, sorted by term and column, and the number of columns per term."""
    places: list[int] = []
    sizes: list[int] = []
    for term in prepared.places:
        f = order.index(term.block)
        sizes.append(term.columns.stop - term.columns.start)
        for c in range(term.columns.start, term.columns.stop):
            for r in range(c, term.columns.stop):
                same = (arrow.theta_fac == f) & (arrow.theta_row == r) & (arrow.theta_col == c)
                places.append(int(np.flatnonzero(same)[0]))
    return places, sizes


def factor_entries(values: FloatArray, sizes: Sequence[int]) -> FloatArray | None:
    """Compute the lower triangles of Lambda, by term and column, from standard deviations and correlations.

    None if the correlations are impossible.
    """
    out = np.empty(len(values))
    start = 0
    for k in sizes:
        n = k * (k + 1) // 2
        rows, cols = np.triu_indices(k)
        square = np.zeros((k, k))
        square[cols, rows] = values[start : start + n]
        sd = np.diagonal(square).copy()
        lam = _semidefinite_cholesky(np.tril(square, -1) + np.tril(square, -1).T + np.eye(k))
        if lam is None:
            return None
        out[start : start + n] = (sd[:, None] * lam)[cols, rows]
        start += n
    return out


class VarianceDeviance:
    """The deviance as a function of standard deviations, correlations and sigma, with its gradient.

    Standard deviations and sigma are in :func:`parameter_units`.
    """

    def __init__(self, fit: LmmModel) -> None:
        self.fit = fit
        self.columns = column_units(fit.prepared, fit.problem.weight)
        self.sigma = fit.sigma / fit.problem.unit
        self.work = new_work(fit.problem)
        self.engine, self.sizes = engine_places(fit.prepared, fit.problem.arrow, fit.problem.scaling.order)

    def theta(self, psi: FloatArray) -> FloatArray | None:
        """Return the engine's theta; None if the correlations are impossible."""
        entries = factor_entries(psi[:-1] * self.columns, self.sizes)
        if entries is None:
            return None
        out = np.empty(len(psi) - 1)
        out[self.engine] = entries / psi[-1]
        return self.fit.problem.scale_theta(out)

    def _moved(self, psi: FloatArray, j: int, step: float) -> FloatArray | None:
        moved = psi.copy()
        moved[j] += step
        return self.theta(moved)

    def __call__(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """Compute value and gradient."""
        problem, sigma = self.fit.problem, float(psi[-1]) * self.sigma
        theta = self.theta(psi)
        if theta is None or sigma <= 0.0:
            return WALL, np.zeros(len(psi))
        with one_blas_thread():
            point = evaluate(problem, theta, False, self.work)
        if point is None:
            return WALL, np.zeros(len(psi))
        n = problem.n_obs
        value = point.log_det + point.r2 / sigma**2 + n * np.log(2.0 * np.pi * sigma**2) - problem.log_weight
        in_theta = 2.0 * point.grad_log_det + point.grad_r2 / sigma**2
        grad = np.empty(len(psi))
        for j in range(len(psi)):
            h = 1e-6 * max(abs(psi[j]), 1e-2)
            high, low = self._moved(psi, j, h), self._moved(psi, j, -h)
            width = h * ((high is not None) + (low is not None))
            # the difference is one-sided at the end of the range
            change = (theta if high is None else high) - (theta if low is None else low)
            grad[j] = in_theta @ change / width if width > 0.0 else 0.0
        grad[-1] += self.sigma * (-2.0 * point.r2 / sigma**3 + 2.0 * n / sigma)
        return float(value), grad


def profile_fixed(fit: LmmModel, cutoff: float) -> FloatArray:
    """Compute (p, 2) bounds of the fixed effects of an ML fit; each effect is fixed by moving it into the offset."""
    prepared = fit.prepared
    unit = fit.problem.unit
    minimum = 2.0 * fit.solution.point.value
    out = np.empty((len(fit.beta), 2))
    se = np.sqrt(np.diagonal(fit.cov_beta))
    for j in range(len(fit.beta)):
        # the profile is a function of the distance from the estimate, in standard errors
        column = prepared.design.fixed.X[:, j] * (se[j] / unit)
        X = np.ascontiguousarray(np.delete(prepared.X, j, axis=1))
        rest = (fit.y - prepared.offset - prepared.design.fixed.X @ fit.beta) / unit
        problem = build_problem(X, prepared.blocks, prepared.row_of, rest, fit.weights)
        start = problem.scale_theta(fit.problem.unscale_theta(fit.solution.theta)) + 1e-3

        def above(value, column=column, rest=rest, problem=problem, start=start) -> float:  # type: ignore[no-untyped-def]
            fixed_problem = problem.with_response(rest - value * column, prepared.row_of, fit.weights)
            deviance = 2.0 * fit_lmm(fixed_problem, reml=False, start=start).point.value
            return deviance + 2.0 * fit.nobs * np.log(unit) - minimum - cutoff

        low, high = find_bounds(above, 0.0, 2.0, -np.inf, np.inf)
        out[j] = fit.beta[j] + low * se[j], fit.beta[j] + high * se[j]
    return out


def find_bounds(
    above: Callable[[float], float], best: float, scale: float, lower: float, upper: float, relative: float = 1e-7
) -> tuple[float, float]:
    """Find where `above` changes sign on both sides of `best`, or the end of the range.

    `relative` is the accuracy of the position, relative to `scale`.
    """
    ends = []
    for sign, limit in ((-1.0, lower), (1.0, upper)):
        inside, step = best, scale
        while True:
            outside = max(best - step, limit) if sign < 0 else min(best + step, limit)
            if above(outside) > 0.0:
                ends.append(float(brentq(above, inside, outside, xtol=relative * scale, rtol=1e-12)))
                break
            if outside == limit or step > 1e6 * scale:
                ends.append(outside)
                break
            inside, step = outside, 1.8 * step
    return ends[0], ends[1]


def _semidefinite_cholesky(R: FloatArray) -> FloatArray | None:
    """Compute the lower factor of a correlation matrix that may be singular; None if the matrix is not valid."""
    k = len(R)
    out = np.zeros((k, k))
    for j in range(k):
        rest = R[j, j] - out[j, :j] @ out[j, :j]
        if rest < -1e-10:
            return None
        out[j, j] = np.sqrt(max(rest, 0.0))
        for i in range(j + 1, k):
            gap = R[i, j] - out[i, :j] @ out[j, :j]
            if out[j, j] > 1e-8:
                out[i, j] = gap / out[j, j]
            elif abs(gap) > 1e-6:
                return None
    return out
