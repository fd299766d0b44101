"""Gaussian mixed models from cross-products: the profiled deviance or REML criterion of theta, and its gradient.

With theta relative to the residual standard deviation, ``M = Lambda' Z'WZ Lambda + I``, and r2 the penalised residual
sum of squares at its minimum over u and beta,

    deviance  = log |M|                 + n (1 + log(2 pi r2 / n))             - sum log w,
    criterion = log |M| + log |X'V^-1X| + (n - p) (1 + log(2 pi r2 / (n - p))) - sum log w.

``Z'WZ, Z'WX, X'WX, Z'Wy, X'Wy, y'Wy`` are computed once, so that an evaluation does not need the observations.

The response enters as its residual from least squares on X, divided by a power of two near its size: no digits are
lost to its mean, and nothing that is compared with a threshold depends on its unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sc_glmm._engine.arrow.layout import Arrow, Block, Scaling, build_arrow, scale_theta, unscale_theta
from sc_glmm._engine.gaussian import entry

from ..._arrays import FloatArray, IntArray


@dataclass(frozen=True)
class LmmProblem:
    """Cross-products of one response with one design.

    Attributes
    ----------
    arrow, scaling
        The design, see :mod:`sc_glmm._engine.arrow`.
    weight
        ``(n_rows,)`` sum of the prior weights of each row.
    raw, S0
        The cross-products of head and border (:func:`sc_glmm._engine.gaussian.criterion.products`).
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
        """Convert the relative theta of the user, in the order of the arrow, to the columns of the engine."""
        return scale_theta(self.arrow, self.scaling, theta)

    def unscale_theta(self, theta: FloatArray) -> FloatArray:
        """Convert theta back to the scale of the user."""
        return unscale_theta(self.arrow, self.scaling, theta)

    def with_response(
        self, y: FloatArray, row_of: IntArray, weights: FloatArray | None, within: float = 0.0
    ) -> LmmProblem:
        """Combine the same design with another response.

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
        entry.cross_products(self.arrow, self.weight, sums, square, raw, S0.reshape(-1))
        return replace(self, raw=raw, S0=S0, beta_ols=beta, centre=centre, unit=unit)

    def beta(self, scaled: FloatArray) -> FloatArray:
        """Compute the ``(p,)`` fixed effects for the X and response of the user from those of the residuals."""
        out = self.unit * self.scaling.beta(scaled + self.beta_ols)
        return out if self.constant is None else out + self.centre * self.constant


def power_of_two(size: float) -> float:
    """Find the power of two just above `size`; one for zero."""
    return math.ldexp(1.0, math.frexp(size)[1]) if 0.0 < size < math.inf else 1.0


def constant_direction(X: FloatArray) -> FloatArray | None:
    """Find the ``(p,)`` coefficients whose predictor ``X beta`` is one in every row; None if there are none."""
    is_one = np.flatnonzero((X == 1.0).all(axis=0))
    if len(is_one):
        return np.asarray(np.arange(X.shape[1]) == is_one[0], dtype=np.float64)
    size = np.abs(X).max(axis=0, initial=0.0)
    size[size == 0.0] = 1.0
    beta: FloatArray = np.linalg.lstsq(X / size, np.ones(len(X)), rcond=None)[0] / size
    return beta if len(X) and np.abs(X @ beta - 1.0).max() < 1e-9 else None


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
    empty = without_response(
        arrow,
        scaling,
        weight,
        n_obs=len(y),
        log_weight=float(np.log(w).sum()),
        constant=constant_direction(X) if X.shape[1] else None,
    )
    return empty.with_response(y, row_of, weights)


def without_response(
    arrow: Arrow,
    scaling: Scaling,
    weight: FloatArray,
    *,
    n_obs: int,
    log_weight: float,
    constant: FloatArray | None,
) -> LmmProblem:
    """Prepare a design without a response; arguments as in :class:`LmmProblem`."""
    n_border = arrow.q - arrow.q_head + arrow.p + 1
    return LmmProblem(
        arrow=arrow,
        scaling=scaling,
        weight=weight,
        raw=np.empty(int(arrow.base[-1]) + arrow.q_head * (arrow.p + 1)),
        S0=np.empty((n_border, n_border)),
        n_obs=n_obs,
        beta_ols=np.zeros(arrow.p),
        log_weight=log_weight,
        constant=constant,
    )
