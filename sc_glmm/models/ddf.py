"""Degrees of freedom for the fixed effects of a fitted Gaussian model: the derivatives that the formulas need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .._engine.lmm import LmmPoint, LmmWork, evaluate
from .._engine.lmm_fit import one_blas_thread
from .._errors import InputError
from .._inference.ddf import (
    Component,
    KenwardRogerParts,
    SatterthwaiteParts,
    covariance_from_hessian,
)
from .._inference.ddf import kenward_roger_parts as parts_from_arrays

if TYPE_CHECKING:
    from .lmm import LmmFit

FloatArray = NDArray[np.float64]

# Kenward-Roger needs dense matrices of this many random effects squared.
MAX_RANDOM = 12_000


def satterthwaite_parts(fit: LmmFit) -> SatterthwaiteParts:
    """Covariance of (theta, sigma) and the derivative of ``vcov(beta)`` in them.

    The criterion ``log det + r2(theta) / sigma^2 + m log(2 pi sigma^2)`` has exact first derivatives; the second ones
    in theta are fourth-order differences of these.
    """
    problem, theta = fit.problem, fit.solution.theta
    n, p = len(theta), len(fit.beta)
    m = fit.nobs - p if fit.reml else fit.nobs
    sigma = fit.sigma
    H = np.empty((n + 1, n + 1))
    jacobian = np.empty((n + 1, p, p))
    work = LmmWork(problem)

    def at(where: FloatArray) -> LmmPoint:
        point = evaluate(problem, where, fit.reml, work)
        if point is None:
            raise FloatingPointError("the criterion is not finite beside its optimum")
        return point

    with one_blas_thread():
        here = at(theta)
        for t in range(n):
            h = 1e-3 * max(abs(theta[t]), 0.3)
            step = np.zeros(n)
            step[t] = h
            near = at(theta + step), at(theta - step)
            far = at(theta + 2.0 * step), at(theta - 2.0 * step)
            gradients = [2.0 * q.grad_log_det + q.grad_r2 / sigma**2 for q in (*near, *far)]
            H[t, :n] = (8.0 * (gradients[0] - gradients[1]) - (gradients[2] - gradients[3])) / (12.0 * h)
            slope = (8.0 * (near[0].vcov - near[1].vcov) - (far[0].vcov - far[1].vcov)) / (12.0 * h)
            jacobian[t] = sigma**2 * slope
    H[:n, :n] = 0.5 * (H[:n, :n] + H[:n, :n].T)
    H[n, :n] = H[:n, n] = -2.0 * here.grad_r2 / sigma**3
    H[n, n] = 6.0 * here.r2 / sigma**4 - 2.0 * m / sigma**2
    jacobian[n] = 2.0 * sigma * here.vcov
    return SatterthwaiteParts(fit.cov_beta, covariance_from_hessian(H), jacobian)


def kenward_roger_parts(fit: LmmFit) -> KenwardRogerParts:
    """The adjusted covariance of beta, from dense products of the random effects."""
    if not fit.reml:
        raise InputError(
            "Kenward and Roger's adjustment is for REML fits, and this one is by ML: fit it with reml=True, or use "
            "ddf='satterthwaite'"
        )
    prepared, sizes = fit.prepared, [block.size for block in fit.modes]
    q = sum(sizes)
    if q > MAX_RANDOM:
        raise InputError(
            f"Kenward-Roger would need several dense {q} x {q} matrices; use ddf='satterthwaite', which agrees closely "
            f"where there are so many levels (at most {MAX_RANDOM} random effects)"
        )
    first = np.concatenate([[0], np.cumsum(sizes)])
    n_rows = len(prepared.X)
    Z = np.zeros((n_rows, q))
    lam = np.zeros((q, q))
    components = []
    for block, start, grouping, L in zip(prepared.blocks, first, prepared.groupings, fit.Lambda, strict=False):
        k = block.Z.shape[1]
        levels = np.arange(block.n_levels)
        Z[np.arange(n_rows)[:, None], start + block.codes[:, None] * k + np.arange(k)] = block.Z
        own = start + levels[:, None] * k + np.arange(k)
        lam[own[:, :, None], own[:, None, :]] = L / fit.sigma
        column = 0
        for size in grouping.terms:
            for c in range(column, column + size):
                components += [Component(own[:, r], own[:, c]) for r in range(c, column + size)]
            column += size
    w = fit.problem.weight[:, None]
    with one_blas_thread():
        ZZ, ZX, XX = Z.T @ (w * Z), Z.T @ (w * prepared.X), prepared.X.T @ (w * prepared.X)
        M = lam.T @ ZZ @ lam + np.eye(q)
        T = lam @ np.linalg.solve(M, lam.T)
        return parts_from_arrays(ZZ, ZX, XX, T, fit.nobs, fit.sigma**2, components)
