"""Gaussian mixed models from cross-products: the profiled deviance or REML criterion of theta, and its gradient.

With theta relative to the residual standard deviation, ``M = Lambda' Z'WZ Lambda + I``, and r2 the penalised residual
sum of squares at its minimum over u and beta,

    deviance  = log |M|                 + n (1 + log(2 pi r2 / n))             - sum log w,
    criterion = log |M| + log |X'V^-1X| + (n - p) (1 + log(2 pi r2 / (n - p))) - sum log w.

``Z'WZ, Z'WX, X'WX, Z'Wy, X'Wy, y'Wy`` are computed once, so that an evaluation does not see the observations.

The response enters as its residual from least squares on X, divided by a power of two near its size: no digits are
lost to its mean, and nothing that is compared with a threshold depends on its unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import lapack, solve_triangular

from sc_glmm._engine.arrow.layout import Arrow, Block, Scaling, build_arrow, scale_theta, unscale_theta
from sc_glmm._engine.gaussian.kernels import eliminate, finish
from sc_glmm._engine.gaussian.layout import Layout, build_layout
from sc_glmm._engine.gaussian.products import cross_products

from ..._arrays import FloatArray, IntArray


@dataclass(frozen=True)
class LmmProblem:
    """Cross-products of one response with one design.

    Attributes
    ----------
    arrow, scaling
        The design, see :mod:`sc_glmm._engine.arrow`.
    layout, at
        Where its cross-products are, see :mod:`.layout`.
    weight
        ``(n_rows,)`` sum of the prior weights of each row.
    raw, S0
        The cross-products of head and border.
    n_obs
        Number of observations.
    beta_ols
        ``(p,)`` least squares, taken off the centred response; for the arrow's X, in units of `unit`.
    log_weight
        Sum of the logs of the prior weights.
    constant
        ``(p,)`` coefficients whose predictor is one in every row; None if no combination of the columns is constant.
    centre, unit
        The response is ``centre + unit * (what the cross-products are of)``. `unit` is a power of two, so that scaling
        is exact; `centre` is zero where `constant` is None.
    """

    arrow: Arrow
    scaling: Scaling
    layout: Layout
    at: IntArray
    weight: FloatArray
    raw: FloatArray
    S0: FloatArray
    n_obs: int
    beta_ols: FloatArray
    log_weight: float
    constant: FloatArray | None
    centre: float = 0.0
    unit: float = 1.0

    @property
    def n_beta(self) -> int:
        """Number of fixed effects."""
        return self.arrow.p

    @property
    def n_theta(self) -> int:
        """Number of covariance parameters."""
        return len(self.arrow.theta_fac)

    def scale_theta(self, theta: FloatArray) -> FloatArray:
        """From the user's relative theta, in the order of the arrow, to that of the engine's columns."""
        return scale_theta(self.arrow, self.scaling, theta)

    def unscale_theta(self, theta: FloatArray) -> FloatArray:
        """Back to the user's scale."""
        return unscale_theta(self.arrow, self.scaling, theta)

    def with_response(
        self, y: FloatArray, row_of: IntArray, weights: FloatArray | None, within: float = 0.0
    ) -> LmmProblem:
        """The same design with another response.

        Parameters
        ----------
        y
            ``(n_obs,)`` response, offsets taken off.
        row_of
            ``(n_obs,)`` row of each observation.
        weights
            ``(n_obs,)`` prior weights.
        within
            Sum of squares to add to that of the residuals, such as that of values about the means that `y` holds.
        """
        Xs = self.arrow.XZ[:, self.arrow.kz :]
        w = np.ones_like(y) if weights is None else weights
        total = self.weight.sum()
        centre = 0.0 if self.constant is None else float(np.average(y, weights=w))
        rest = y - centre
        unit = power_of_two(max(float(np.abs(rest).max(initial=0.0)), math.sqrt(within / total)))
        rest /= unit
        beta = np.zeros(self.n_beta)
        # the second round takes off what rounding left of the projection
        for _ in range(2):
            sums = np.asarray(np.bincount(row_of, w * rest, minlength=len(Xs)), dtype=np.float64)
            more = Xs.T @ sums / total
            beta += more
            rest -= (Xs @ more)[row_of]
        sums = np.asarray(np.bincount(row_of, w * rest, minlength=len(Xs)), dtype=np.float64)
        square = float(rest @ (w * rest)) + within / unit / unit
        raw, S0 = np.empty_like(self.raw), np.empty_like(self.S0)
        cross_products(self.layout, self.arrow.XZ, self.arrow.lev, self.at, self.weight, sums, square, raw, S0)
        return replace(self, raw=raw, S0=S0, beta_ols=beta, centre=centre, unit=unit)

    def beta(self, scaled: FloatArray) -> FloatArray:
        """``(p,)`` fixed effects for the user's X and response from those of the residuals."""
        out = self.unit * self.scaling.beta(scaled + self.beta_ols)
        return out if self.constant is None else out + self.centre * self.constant


def power_of_two(size: float) -> float:
    """The power of two just above `size`; one for zero."""
    return math.ldexp(1.0, math.frexp(size)[1]) if 0.0 < size < math.inf else 1.0


def constant_direction(X: FloatArray) -> FloatArray | None:
    """``(p,)`` coefficients whose predictor ``X beta`` is one in every row; None if there are none."""
    is_one = np.flatnonzero((X == 1.0).all(axis=0))
    if len(is_one):
        return np.asarray(np.arange(X.shape[1]) == is_one[0], dtype=np.float64)
    size = np.abs(X).max(axis=0, initial=0.0)
    size[size == 0.0] = 1.0
    beta: FloatArray = np.linalg.lstsq(X / size, np.ones(len(X)), rcond=None)[0] / size
    return beta if len(X) and np.abs(X @ beta - 1.0).max() < 1e-9 else None


@dataclass(frozen=True)
class LmmPoint:
    """The criterion at one theta and what follows from it.

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


class LmmWork:
    """Buffers for evaluations of problems of one layout; their content never matters to a result."""

    def __init__(self, problem: LmmProblem) -> None:
        layout = problem.layout
        n_v = layout.q + layout.p
        n_lam = int(layout.fac_lam[-1])
        self.piv = np.empty_like(problem.raw)
        self.vpiv = np.empty_like(problem.raw)
        self.S = np.empty_like(problem.S0)
        self.lam = np.empty(n_lam)
        self.G = np.empty(n_lam)
        self.b = np.empty(n_v)
        self.e = np.empty(n_v)
        self.Vb = np.empty((0, 0))


def build_problem(
    X: FloatArray,
    blocks: tuple[Block, ...],
    row_of: IntArray,
    y: FloatArray,
    weights: FloatArray | None,
) -> LmmProblem:
    """Cross-products of a design on distinct rows with the response of the observations.

    Parameters
    ----------
    X, blocks
        ``(n_rows, p)`` of full column rank, and one block per grouping factor on the same rows.
    row_of
        ``(n_obs,)`` row of each observation.
    y
        ``(n_obs,)`` response, offset taken off.
    weights
        ``(n_obs,)`` positive prior weights: the residual variance is sigma^2 / weight.
    """
    w = np.ones(len(y)) if weights is None else weights
    weight = np.asarray(np.bincount(row_of, w, minlength=len(X)), dtype=np.float64)
    arrow, scaling = build_arrow(X, blocks, weight)
    layout, at = build_layout(arrow)
    empty = LmmProblem(
        arrow=arrow,
        scaling=scaling,
        layout=layout,
        at=at,
        weight=weight,
        raw=np.empty(int(layout.base[-1])),
        S0=np.empty((len(layout.border_fac), len(layout.border_fac))),
        n_obs=len(y),
        beta_ols=np.zeros(X.shape[1]),
        log_weight=float(np.log(w).sum()),
        constant=constant_direction(X) if X.shape[1] else None,
    )
    return empty.with_response(y, row_of, weights)


def evaluate(problem: LmmProblem, theta: FloatArray, reml: bool, work: LmmWork) -> LmmPoint | None:
    """The criterion at the scaled `theta`; None where it is not finite."""
    layout, p = problem.layout, problem.n_beta
    log_det, ok = eliminate(layout, theta, problem.raw, problem.S0, work.lam, work.piv, work.S)
    if not ok:
        return None
    n_border = len(work.S)
    _, info = lapack.dpotrf(work.S.T, lower=1, clean=0, overwrite_a=1)
    if info != 0:
        return None
    pivots = np.log(np.diagonal(work.S))
    n_u = n_border - 1 - p
    log_det += 2.0 * float(pivots[:n_u].sum())
    log_det_x = 2.0 * float(pivots[n_u:-1].sum())
    r2 = float(work.S[-1, -1]) ** 2
    n_used = n_u + p if reml else n_u
    work.Vb = _inverse(work.S, n_used)
    v, grad = np.empty(layout.q + p), np.empty(problem.n_theta)
    m = problem.n_obs - p if reml else problem.n_obs
    if not r2 > 0.0:
        return None
    ratio = m / r2
    finish(
        layout, problem.raw, problem.S0, work.lam, work.piv, work.S, work.Vb, n_used, v, work.vpiv, work.b, work.e,
        work.G, grad, ratio,
    )  # fmt: skip
    grad_log_det = work.G[layout.fac_lam[layout.theta_fac] + _place(layout)]
    value = log_det + m * (1.0 + math.log(2.0 * math.pi * r2 / m)) - problem.log_weight
    log_det_x += 2.0 * problem.scaling.log_det
    if reml:
        value += log_det_x
    Rx = solve_triangular(work.S[n_u:-1, n_u:-1], np.eye(p), lower=False, check_finite=False) if p else np.empty((0, 0))
    return LmmPoint(
        value=0.5 * value + m * math.log(problem.unit),
        objective=0.5 * value,
        grad=grad,
        grad_log_det=grad_log_det,
        grad_r2=2.0 * (grad - grad_log_det) / ratio,
        r2=r2,
        log_det=log_det,
        log_det_x=log_det_x,
        beta=problem.beta(v[len(v) - p :]) if p else np.empty(0),
        v=problem.unit * v,
        vcov=problem.scaling.vcov(Rx @ Rx.T) if p else Rx,
    )


def conditional_blocks(problem: LmmProblem, theta: FloatArray, work: LmmWork) -> list[FloatArray]:
    """Per factor of the arrow ``(n_levels, k, k)``: blocks of M^-1 on the diagonal, at `theta`."""
    point = evaluate(problem, theta, False, work)
    if point is None:
        raise FloatingPointError("the criterion is not finite at this theta")
    layout = problem.layout
    n_head, q_head = layout.n_head, layout.q_head
    kh = int(layout.fac_z[n_head])
    out = []
    for f in range(len(layout.fac_k)):
        k, n_levels = int(layout.fac_k[f]), int(layout.n_levels[f])
        if f < n_head:
            i = layout.head_lev[f] + np.arange(n_levels)
            n = kh - layout.fac_z[f] + layout.ptr[i + 1] - layout.ptr[i]
            c = np.arange(k)
            place = layout.base[i][:, None, None] + c[None, :, None] * n[:, None, None] + c[None, None, :]
            out.append(work.vpiv[place])
        else:
            own = layout.fac_u[f] - q_head + np.arange(n_levels)[:, None] * k + np.arange(k)
            out.append(work.Vb[own[:, :, None], own[:, None, :]])
    return out


def _inverse(S: FloatArray, n: int) -> FloatArray:
    """``(n, n)`` inverse of the leading part of ``U'U`` in the upper triangle (the lower one is completed later)."""
    if n == 0:
        return np.empty((0, 0))
    part = np.array(S[:n, :n], order="C")
    inverse, _ = lapack.dpotri(part.T, lower=1, overwrite_c=1)
    return np.ascontiguousarray(inverse.T)


def _place(layout: Layout) -> Any:
    return layout.theta_row * layout.fac_k[layout.theta_fac] + layout.theta_col
