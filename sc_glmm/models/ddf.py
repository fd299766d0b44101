"""Compute the matrices for the Kenward-Roger degrees of freedom of a fitted Gaussian model."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray
from .._engine.gaussian.problem import LmmProblem
from .._errors import InputError
from .._inference.ddf import Component, KenwardRogerParts
from .._inference.ddf import kenward_roger_parts as parts_from_arrays
from .._parallel.blas import one_blas_thread
from .fitted import MixedFit

# Kenward-Roger needs several dense (q, q) matrices, where q is the number of random effects.
MAX_RANDOM = 12_000


def kenward_roger_parts(fit: MixedFit, problem: LmmProblem, theta: FloatArray) -> KenwardRogerParts:
    """Compute the adjusted covariance of beta from dense products of the random effects.

    Raises
    ------
    InputError
        If the model was not fitted by REML, or has too many random effects.
    """
    if not fit.reml:
        raise InputError(
            "the Kenward-Roger adjustment needs a REML fit, but this model was fitted by ML: fit it with reml=True, "
            "or use ddf='satterthwaite'"
        )
    arrow = problem.arrow
    q = arrow.q
    if q > MAX_RANDOM:
        raise InputError(
            f"Kenward-Roger would need several dense {q} x {q} matrices (the limit is {MAX_RANDOM} random effects): "
            "use ddf='satterthwaite', which gives very similar results with so many levels"
        )
    n_rows, kz = len(arrow.XZ), arrow.kz
    X, Z = arrow.XZ[:, kz:], np.zeros((n_rows, q))
    lam = np.zeros((q, q))
    components = []
    for t, (f, r, c) in enumerate(zip(arrow.theta_fac, arrow.theta_row, arrow.theta_col, strict=True)):
        k = int(arrow.fac_k[f])
        coefficients = arrow.fac_u[f] + np.arange(arrow.n_levels[f]) * k
        components.append(Component(coefficients + r, coefficients + c))
        lam[coefficients + r, coefficients + c] = theta[t]
    Z[np.arange(n_rows)[:, None], arrow.pos[:, :kz]] = arrow.XZ[:, :kz]
    w = problem.weight[:, None]
    with one_blas_thread():
        ZZ, ZX, XX = Z.T @ (w * Z), Z.T @ (w * X), X.T @ (w * X)
        M = lam.T @ ZZ @ lam + np.eye(q)
        T = lam @ np.linalg.solve(M, lam.T)
        return parts_from_arrays(ZZ, ZX, XX, T, fit.nobs, components, problem.scaling.R, fit.sigma)
