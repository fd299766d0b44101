"""Compute the uncertainty of the variances of a Gaussian model, for Satterthwaite's degrees of freedom."""

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
    """Compute the covariance of (theta, log sigma), and the derivative of ``vcov(beta)`` with respect to them.

    The first derivatives of the criterion ``log det + r2(theta) / sigma^2 + m log(2 pi sigma^2)`` are exact. The second
    derivatives in theta are fourth-order differences of the first. At the optimum, ``r2 = m sigma^2``.

    Parameters
    ----------
    problem
        Cross-products of the data.
    theta, here
        The optimum, and the criterion there.
    reml
        Whether to use the REML criterion instead of the likelihood.
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
    size = theta_size(theta)

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


def theta_size(theta: FloatArray) -> FloatArray:
    """Compute the size of a large change of each theta: its absolute value, but at least 0.3: ``(n_theta,)``.

    theta is relative to sigma, and the columns have a root mean square of one. It therefore has no unit.
    """
    return np.maximum(np.abs(theta), 0.3)
