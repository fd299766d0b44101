"""Profile likelihood of all parameters of a GLMM.

One is held, and the deviance (Laplace or quadrature) minimised over the others with its exact gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from .._engine import entry
from .._engine.fit import gauss_hermite
from .._engine.laplace.records import Likelihood
from .._engine.structure import scale_theta
from .._families.registry import FAMILIES
from .profile import WALL, engine_places, factor_entries, find_bounds

if TYPE_CHECKING:
    from .glmm import GlmmFit

FloatArray = NDArray[np.float64]


class GlmmDeviance:
    """The deviance as a function of standard deviations, correlations, fixed effects and log dispersion."""

    def __init__(self, fit: GlmmFit) -> None:
        from .glmm import build_counts

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


def profile_glmm(fit: GlmmFit, cutoff: float) -> FloatArray:
    """``(n_variances + p, 2)`` bounds of standard deviations, correlations and fixed effects of an ML fit."""
    from .confint import variance_names, variance_values

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
