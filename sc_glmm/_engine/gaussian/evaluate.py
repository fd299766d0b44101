"""The criterion of a Gaussian model at one theta, with a border that LAPACK factorises."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from sc_glmm._engine.gaussian import entry
from sc_glmm._engine.gaussian.criterion import Work
from sc_glmm._engine.gaussian.problem import LmmProblem

from ..._arrays import FloatArray


@dataclass(frozen=True)
class LmmPoint:
    """The criterion at one theta, with the quantities that follow from it.

    Attributes
    ----------
    value
        Half the profiled deviance or REML criterion of the response.
    objective
        The same of the response divided by the problem's unit: what is minimised.
    grad
        ``(n_theta,)`` its gradient in the scaled theta.
    grad_log_det, grad_r2
        The same for half the log determinant and for r2.
    r2
        Penalised residual sum of squares, in squared units of the problem.
    log_det, log_det_x
        ``log |M|`` and ``log |X'V^-1 X|`` (X as the user gave it).
    beta
        ``(p,)`` fixed effects on the user's scale.
    v
        ``(q + p,)`` the mode (u, beta) as the arrow has it, in units of the response.
    vcov
        ``(p, p)`` covariance of beta over sigma^2.
    """

    value: float
    objective: float
    grad: FloatArray
    grad_log_det: FloatArray
    grad_r2: FloatArray
    r2: float
    log_det: float
    log_det_x: float
    beta: FloatArray
    v: FloatArray
    vcov: FloatArray


def new_work(problem: LmmProblem) -> Work:
    """Allocate buffers for evaluations of problems of one design; their content does not affect results."""
    work: Work = entry.new_work(problem.arrow)
    return work


def evaluate(problem: LmmProblem, theta: FloatArray, reml: bool, work: Work) -> LmmPoint | None:
    """Evaluate the criterion at the scaled `theta`; None where it is not finite."""
    arrow, p, raw, S0 = problem.arrow, problem.n_beta, problem.raw, problem.S0.reshape(-1)
    log_det, ok = entry.eliminate(arrow, theta, raw, S0, work)
    if not ok:
        return None
    n_u = arrow.q - arrow.q_head
    S = work.S.reshape(n_u + p + 1, n_u + p + 1)
    _, info = lapack.dpotrf(S.T, lower=1, clean=0, overwrite_a=1)
    if info != 0:
        return None
    pivots = np.log(np.diagonal(S))
    log_det += 2.0 * float(pivots[:n_u].sum())
    log_det_x = 2.0 * float(pivots[n_u:-1].sum())
    r2 = float(S[-1, -1]) ** 2
    n_used = n_u + p if reml else n_u
    work.vS[: n_used * n_used] = _inverse(S[:n_used, :n_used]).reshape(-1)
    grad = np.empty(problem.n_theta)
    m = problem.n_obs - p if reml else problem.n_obs
    if not r2 > 0.0:
        return None
    ratio = m / r2
    entry.finish(arrow, raw, S0, work, n_used - n_u, ratio, grad)
    fac = arrow.theta_fac
    grad_log_det = work.G[arrow.fac_lam[fac] + arrow.theta_row * arrow.fac_k[fac] + arrow.theta_col]
    value = log_det + m * (1.0 + math.log(2.0 * math.pi * r2 / m)) - problem.log_weight
    log_det_x += 2.0 * problem.scaling.log_det
    if reml:
        value += log_det_x
    Rx = np.triu(lapack.dtrtri(S[n_u:-1, n_u:-1])[0]) if p else np.empty((0, 0))
    return LmmPoint(
        value=0.5 * value + m * math.log(problem.unit),
        objective=0.5 * value,
        grad=grad,
        grad_log_det=grad_log_det,
        grad_r2=2.0 * (grad - grad_log_det) / ratio,
        r2=r2,
        log_det=log_det,
        log_det_x=log_det_x,
        beta=problem.beta(work.v[arrow.q :]) if p else np.empty(0),
        v=problem.unit * work.v,
        vcov=problem.scaling.vcov(Rx @ Rx.T) if p else Rx,
    )


def residual_sd(problem: LmmProblem, point: LmmPoint, reml: bool) -> float:
    """Compute the residual standard deviation at a point of the profiled criterion, in the unit of the response."""
    return problem.unit * math.sqrt(point.r2 / (problem.n_obs - problem.n_beta if reml else problem.n_obs))


def conditional_blocks(problem: LmmProblem, theta: FloatArray, work: Work) -> list[FloatArray]:
    """Compute the ``(n_levels, k, k)`` diagonal blocks of M^-1 of each factor of the arrow, at `theta`."""
    point = evaluate(problem, theta, False, work)
    if point is None:
        raise FloatingPointError("the criterion is not finite at this theta")
    arrow = problem.arrow
    n_head, q_head, tail = arrow.n_head, arrow.q_head, arrow.p + 1
    n_u = arrow.q - q_head
    border = work.vS[: n_u * n_u].reshape(n_u, n_u)
    kh = int(arrow.fac_z[n_head])
    out = []
    for f in range(len(arrow.fac_k)):
        k, level = int(arrow.fac_k[f]), np.arange(int(arrow.n_levels[f]))
        if f < n_head:
            i = arrow.head_lev[f] + level
            n = kh - arrow.fac_z[f] + arrow.ptr[i + 1] - arrow.ptr[i] + tail
            base = arrow.base[i] + (arrow.fac_u[f] + level * k) * tail
            c = np.arange(k)
            out.append(work.vpiv[base[:, None, None] + c[None, :, None] * n[:, None, None] + c[None, None, :]])
        else:
            own = arrow.fac_u[f] - q_head + level[:, None] * k + np.arange(k)
            out.append(border[own[:, :, None], own[:, None, :]])
    return out


def _inverse(U: FloatArray) -> FloatArray:
    """Compute the upper triangle of the ``(n, n)`` inverse of ``U'U``."""
    if len(U) == 0:
        return np.empty((0, 0))
    inverse, _ = lapack.dpotri(np.array(U, order="C").T, lower=1, overwrite_c=1)
    return np.asarray(inverse.T)
