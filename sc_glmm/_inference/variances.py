"""How well a Gaussian model knows its variances, and what the covariance of beta makes of it."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray
from .._engine.gaussian.criterion import Work
from .._engine.gaussian.evaluate import LmmPoint, evaluate, residual_sd
from .._engine.gaussian.problem import LmmProblem
from .ddf import SatterthwaiteParts, covariance_from_hessian


def satterthwaite_parts(
    problem: LmmProblem, theta: FloatArray, here: LmmPoint, reml: bool, work: Work
) -> SatterthwaiteParts:
    """Covariance of (theta, log sigma) and the derivative of ``vcov(beta)`` in them.

    The criterion ``log det + r2(theta) / sigma^2 + m log(2 pi sigma^2)`` has exact first derivatives; the second ones
    in theta are fourth-order differences of these. At the optimum ``r2 = m sigma^2``.

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
    sigma2 = residual_sd(problem, here, reml) ** 2
    r2_unit = here.r2 / m
    H = np.empty((n + 1, n + 1))
    jacobian = np.empty((n + 1, p, p))
    size = theta_size(problem, theta)

    def at(where: FloatArray) -> LmmPoint:
        point = evaluate(problem, where, reml, work)
        if point is None:
            raise FloatingPointError("the criterion is not finite beside its optimum")
        return point

    for t in range(n):
        h = 1e-3 * size[t]
        step = np.zeros(n)
        step[t] = h
        near = at(theta + step), at(theta - step)
        far = at(theta + 2.0 * step), at(theta - 2.0 * step)
        gradients = [2.0 * q.grad_log_det + q.grad_r2 / r2_unit for q in (*near, *far)]
        H[t, :n] = (8.0 * (gradients[0] - gradients[1]) - (gradients[2] - gradients[3])) / (12.0 * h)
        slope = (8.0 * (near[0].vcov - near[1].vcov) - (far[0].vcov - far[1].vcov)) / (12.0 * h)
        jacobian[t] = sigma2 * slope
    H[:n, :n] = 0.5 * (H[:n, :n] + H[:n, :n].T)
    H[n, :n] = H[:n, n] = -2.0 * here.grad_r2 / r2_unit
    H[n, n] = 4.0 * m
    jacobian[n] = 2.0 * sigma2 * here.vcov
    covariance = covariance_from_hessian(H, np.append(size, 1.0))
    return SatterthwaiteParts(sigma2 * here.vcov, covariance, jacobian, problem.scaling.R)


def theta_size(problem: LmmProblem, theta: FloatArray) -> FloatArray:
    """``(n_theta,)`` what counts as a large change of each theta: itself, and no less than 0.3.

    theta is relative to sigma and belongs to columns of unit root mean square, so that it has no unit.
    """
    return np.maximum(np.abs(theta), 0.3)
