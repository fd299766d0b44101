"""How well a Gaussian model knows its variances, and what the covariance of beta makes of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._engine.lmm import LmmPoint, LmmProblem, LmmWork, evaluate
from .ddf import SatterthwaiteParts, covariance_from_hessian

FloatArray = NDArray[np.float64]


def residual_sd(problem: LmmProblem, point: LmmPoint, reml: bool) -> float:
    """Residual standard deviation at a point of the profiled criterion."""
    return float(np.sqrt(point.r2 / (problem.n_obs - problem.n_beta if reml else problem.n_obs)))


def satterthwaite_parts(
    problem: LmmProblem, theta: FloatArray, here: LmmPoint, reml: bool, work: LmmWork
) -> SatterthwaiteParts:
    """Covariance of (theta, sigma) and the derivative of ``vcov(beta)`` in them.

    The criterion ``log det + r2(theta) / sigma^2 + m log(2 pi sigma^2)`` has exact first derivatives; the second ones
    in theta are fourth-order differences of these.

    Parameters
    ----------
    problem
        Cross-products.
    theta, here
        The optimum, and the criterion there.
    reml
        Which criterion.
    work
        Buffers.

    Raises
    ------
    FloatingPointError
        If the criterion is not finite beside its optimum.
    """
    n, p = len(theta), problem.n_beta
    m = problem.n_obs - p if reml else problem.n_obs
    sigma = residual_sd(problem, here, reml)
    H = np.empty((n + 1, n + 1))
    jacobian = np.empty((n + 1, p, p))

    def at(where: FloatArray) -> LmmPoint:
        point = evaluate(problem, where, reml, work)
        if point is None:
            raise FloatingPointError("the criterion is not finite beside its optimum")
        return point

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
    return SatterthwaiteParts(sigma**2 * here.vcov, covariance_from_hessian(H), jacobian)
