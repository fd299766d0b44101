"""Optimise the objectives of `oracle.py` with scipy's L-BFGS-B and BFGS, from several starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from tests.oracle import Floats, Latent, Method, Model, NoModeError, find_mode, gradient, laplace, objective


@dataclass(frozen=True)
class OracleFit:
    """The best optimum, and the largest gradient of the objective there."""

    psi: Floats
    value: float
    max_gradient: float


def starts(model: Model, method: Method) -> list[Floats]:
    """Choose starting points with different sizes of random effects and dispersion."""
    beta: Floats = np.zeros(0)
    if method == "ml":
        flat = Model(model.family, model.y, model.X, (), model.offset, model.trials)
        try:
            beta = find_mode(flat, Latent(flat.offset, flat.X, np.full(flat.X.shape[1], 1e-6)), 1.0)
        except NoModeError:
            beta = np.zeros(model.X.shape[1])
    on_diagonal = np.array([float(r == c) for _, r, c in model.theta_places])
    out = []
    for sd, log_phi in ((0.3, -1.0), (1.0, 0.5), (0.05, -3.0)):
        if model.family == "gaussian":
            log_phi += float(np.log(np.var(model.y) + 1e-12))
        out.append(np.concatenate([beta, sd * on_diagonal, [log_phi] * model.n_phi]))
    return out


def fit(
    model: Model,
    method: Method = "ml",
    n_agq: int = 1,
    *,
    start: list[Floats] | None = None,
    log_phi_range: tuple[float, float] = (np.log(1e-6), np.log(1e4)),
    beta_range: float = 30.0,
    maxiter: int = 500,
) -> OracleFit:
    """Maximise the objective by L-BFGS-B, then BFGS, from every start; return the best optimum."""
    if start is None:
        start = starts(model, method)
    n_beta = model.X.shape[1] if method == "ml" else 0
    bounds = [(-beta_range, beta_range)] * n_beta + [(-15.0, 15.0)] * len(model.theta_places)
    bounds += [log_phi_range] * model.n_phi
    low, high = np.array(bounds, dtype=float).reshape(-1, 2).T

    def negative(x: Floats) -> tuple[float, Floats]:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                if n_agq > 1:
                    value, grad = objective(model, x, method, n_agq), gradient(model, x, method, n_agq)
                else:
                    ev = laplace(model, x, method)
                    value, grad = ev.value, ev.gradient
        except NoModeError:
            return 1e10, np.zeros(len(x))
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            return 1e10, np.zeros(len(x))
        return -value, -grad

    best: OracleFit | None = None
    for x0 in start:
        x = np.clip(np.asarray(x0, dtype=float), low, high)
        value = negative(x)[0]
        if len(x):
            res = optimize.minimize(
                negative,
                x,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": maxiter, "ftol": 1e-15, "gtol": 1e-9},
            )
            if res.fun <= value:
                x, value = res.x, float(res.fun)
            if ((x > low + 1e-8) & (x < high - 1e-8)).all():
                res = optimize.minimize(negative, x, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 50})
                if res.fun <= value and ((res.x > low) & (res.x < high)).all():
                    x, value = res.x, float(res.fun)
        grad = negative(x)[1]
        free = ~(((x <= low + 1e-8) & (grad > 0)) | ((x >= high - 1e-8) & (grad < 0)))
        found = OracleFit(x, -value, float(np.abs(grad[free]).max(initial=0.0)))
        if best is None or found.value > best.value:
            best = found
    if best is None:
        raise ValueError("no starting point given")
    return best
