"""Profile likelihood: where the deviance, minimised over all other parameters, exceeds its minimum by a cutoff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from .._engine.lmm import LmmWork, build_problem, evaluate
from .._engine.lmm_fit import fit_lmm, one_blas_thread
from .._errors import InputError

if TYPE_CHECKING:
    from .glmm import GlmmFit
    from .lmm import LmmFit

FloatArray = NDArray[np.float64]

# A deviance above this is as good as infinite.
WALL = 1e10


def profile_variances(fit: LmmFit, cutoff: float) -> FloatArray:
    """``(n_par, 2)`` bounds of standard deviations, correlations and sigma of an ML fit."""
    from .confint import variance_names, variance_values

    names, best = variance_names(fit), np.nan_to_num(variance_values(fit))
    lower = np.array([-1.0 if name.startswith("cor_") else 0.0 for name in names])
    upper = np.array([1.0 if name.startswith("cor_") else np.inf for name in names])
    lower[-1] = 1e-4 * best[-1]
    deviance = VarianceDeviance(fit)
    minimum = deviance(best)[0]
    out = np.empty((len(names), 2))
    for i in range(len(names)):
        free = [j for j in range(len(names)) if j != i]
        warm = {"others": best[free]}

        def above(value: float, i: int = i, free: list[int] = free, warm: dict[str, FloatArray] = warm) -> float:
            def objective(others: FloatArray) -> tuple[float, FloatArray]:
                psi = np.empty(len(best))
                psi[free], psi[i] = others, value
                f, g = deviance(psi)
                return f, g[free]

            found = None
            for start in (warm["others"], best[free]):
                new = minimize(
                    objective,
                    start,
                    jac=True,
                    method="L-BFGS-B",
                    bounds=list(zip(lower[free], upper[free], strict=True)),
                    options={"ftol": 1e-13, "gtol": 1e-7, "maxiter": 500},
                )
                if found is None or new.fun < found.fun:
                    found = new
            if found is None or not np.isfinite(found.fun):
                return WALL
            warm["others"] = found.x
            return float(found.fun) - minimum - cutoff

        scale = 0.5 if names[i].startswith("cor_") else 0.3 * max(best[i], 0.1 * best[-1])
        out[i] = _bounds(above, best[i], scale, lower[i], upper[i])
    return out


class VarianceDeviance:
    """The deviance as a function of standard deviations, correlations and sigma, with its gradient."""

    def __init__(self, fit: LmmFit) -> None:
        self.fit = fit
        self.work = LmmWork(fit.problem)
        prepared = fit.prepared
        arrow = fit.problem.arrow
        # place of each user theta (term by term, column by column) among the engine's
        self.engine: list[int] = []
        self.sizes: list[int] = []
        for place in prepared.places:
            f = fit.problem.scaling.order.index(place.block)
            k = place.columns.stop - place.columns.start
            self.sizes.append(k)
            for c in range(place.columns.start, place.columns.stop):
                for r in range(c, place.columns.stop):
                    same = (arrow.theta_fac == f) & (arrow.theta_row == r) & (arrow.theta_col == c)
                    self.engine.append(int(np.flatnonzero(same)[0]))

    def theta(self, psi: FloatArray) -> FloatArray | None:
        """The engine's theta; None where the correlations are impossible."""
        out = np.empty(len(psi) - 1)
        start = 0
        for k in self.sizes:
            n = k * (k + 1) // 2
            rows, cols = np.triu_indices(k)
            square = np.zeros((k, k))
            square[cols, rows] = psi[start : start + n]
            sd = np.diagonal(square).copy()
            corr = np.tril(square, -1) + np.tril(square, -1).T + np.eye(k)
            lam = _semidefinite_cholesky(corr)
            if lam is None:
                return None
            lam = sd[:, None] * lam / psi[-1]
            out[self.engine[start : start + n]] = lam[cols, rows]
            start += n
        return self.fit.problem.scale_theta(out)

    def _moved(self, psi: FloatArray, j: int, step: float) -> FloatArray | None:
        moved = psi.copy()
        moved[j] += step
        return self.theta(moved)

    def __call__(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        problem, sigma = self.fit.problem, float(psi[-1])
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
            # one side only at the end of the range
            change = (theta if high is None else high) - (theta if low is None else low)
            grad[j] = in_theta @ change / width if width > 0.0 else 0.0
        grad[-1] += -2.0 * point.r2 / sigma**3 + 2.0 * n / sigma
        return float(value), grad


def profile_fixed(fit: LmmFit, cutoff: float) -> FloatArray:
    """``(p, 2)`` bounds of the fixed effects of an ML fit: each is held by moving it to the offset."""
    prepared = fit.prepared
    minimum = 2.0 * fit.solution.point.value
    out = np.empty((len(fit.beta), 2))
    se = np.sqrt(np.diagonal(fit.cov_beta))
    for j in range(len(fit.beta)):
        column = prepared.design.fixed.X[:, j]
        X = np.ascontiguousarray(np.delete(prepared.X, j, axis=1))
        y = fit.y - prepared.offset
        problem = build_problem(X, prepared.blocks, prepared.row_of, y, fit.weights)

        def above(value: float, column: FloatArray = column, y: FloatArray = y, problem=problem) -> float:  # type: ignore[no-untyped-def]
            held = problem.with_response(y - value * column, prepared.row_of, fit.weights)
            return 2.0 * fit_lmm(held, reml=False, start=fit.solution.theta + 1e-3).point.value - minimum - cutoff

        out[j] = _bounds(above, fit.beta[j], 2.0 * se[j], -np.inf, np.inf)
    return out


def profile_fixed_glmm(fit: GlmmFit, cutoff: float) -> FloatArray:
    """``(p, 2)`` bounds of the fixed effects of a GLMM (its variances have none by profile here)."""
    from .glmm import fit_response

    if len(fit.beta) == 1:
        raise InputError("the profile of a model's only fixed effect is not available for GLMMs: use 'wald' or 'boot'")
    prepared = fit.prepared
    minimum = -2.0 * fit.loglik()
    out = np.empty((len(fit.beta), 2))
    se = np.sqrt(np.diagonal(fit.cov_beta))
    for j in range(len(fit.beta)):
        column = prepared.design.fixed.X[:, j]
        X = np.ascontiguousarray(np.delete(prepared.X, j, axis=1))

        def above(value: float, column: FloatArray = column, X: FloatArray = X) -> float:
            held = replace(prepared, X=X, offset=prepared.offset + value * column)
            new = fit_response(held, fit.data, fit.y, fit.weights, fit.family, fit.n_agq, fit.options)
            return -2.0 * new.loglik() - minimum - cutoff

        out[j] = _bounds(above, fit.beta[j], 2.0 * se[j], -np.inf, np.inf)
    return out


def _bounds(
    above: Callable[[float], float], best: float, scale: float, lower: float, upper: float
) -> tuple[float, float]:
    """Where `above` changes sign on both sides of `best`; the end of the range if it does not."""
    ends = []
    for sign, limit in ((-1.0, lower), (1.0, upper)):
        inside, step = best, scale
        while True:
            outside = max(best - step, limit) if sign < 0 else min(best + step, limit)
            if above(outside) > 0.0:
                tolerance = 1e-7 * max(abs(best), scale)
                ends.append(float(brentq(above, inside, outside, xtol=tolerance, rtol=1e-9)))
                break
            if outside == limit or step > 1e6 * scale:
                ends.append(outside)
                break
            inside, step = outside, 1.8 * step
    return ends[0], ends[1]


def _semidefinite_cholesky(R: FloatArray) -> FloatArray | None:
    """Lower factor of a correlation matrix that may be singular; None if it is none."""
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
