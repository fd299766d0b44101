"""Fit a Gaussian mixed model: the optimiser over theta in a loop in Python, on one BLAS thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sc_glmm._engine.gaussian import entry
from sc_glmm._engine.gaussian.evaluate import LmmPoint, evaluate, new_work
from sc_glmm._engine.gaussian.problem import LmmProblem
from sc_glmm._engine.optimize import ACCEPTED, DEC, DEFINITE, DONE, N_EVAL, PHASE, F, Opt
from sc_glmm._engine.optimize import FAILED as OPT_FAILED

from ..._arrays import FloatArray
from ..._parallel.blas import one_blas_thread

# Starts from which a variance of zero is looked at again (standard deviations relative to sigma).
FAR = {"large": 10.0, "larger": 300.0}

# A theta that ends nearer to zero than this is tried at zero.
SNAP_BELOW = 3e-3

Objective = Callable[[FloatArray, FloatArray], float | None]


@dataclass(frozen=True)
class OptSummary:
    """Summary of an optimisation.

    Attributes
    ----------
    psi, value
        The optimum and the objective there.
    n_iter
        Evaluations.
    decrement
        Newton decrement ``g' H^-1 g`` at the end: twice what a Newton step would still gain.
    converged
        Whether the decrement is negligible and the Hessian positive definite.
    """

    psi: FloatArray
    value: float
    n_iter: int
    decrement: float
    converged: bool


@dataclass(frozen=True)
class LmmSolution:
    """An optimum for the scaled columns: theta, with a non-negative diagonal, and the evaluation there."""

    theta: FloatArray
    point: LmmPoint
    n_iter: int
    decrement: float
    converged: bool


def minimise(
    objective: Objective,
    start: FloatArray,
    *,
    cap: FloatArray,
    metric: FloatArray,
    zero_ok: NDArray[np.bool_],
    snap_below: float,
) -> OptSummary | None:
    """Minimise a function with an exact gradient from `start`; None if it is not finite there.

    Parameters
    ----------
    objective
        Takes psi, writes the gradient into its second argument, and returns the value (None where it is not finite).
    cap
        Largest step for each parameter.
    metric
        Diagonal of the inverse Hessian to begin with.
    zero_ok, snap_below
        Parameters that are set to zero if they end nearer to it than `snap_below` and the objective does not mind.
    """
    nothing = np.zeros(0)
    opt: Opt = entry.open_optimiser(start, cap, metric, zero_ok, snap_below)
    while opt.ctl[PHASE] != DONE:
        value = objective(opt.trial, opt.trial_grad)
        entry.tell_optimiser(opt, np.inf if value is None else value, value is not None, nothing)
    return _summary(opt)


def _summary(opt: Opt) -> OptSummary | None:
    """Summarise the optimisation; None if it has not started."""
    if opt.ctl[OPT_FAILED]:
        return None
    decrement = float(opt.val[DEC])
    return OptSummary(
        psi=opt.psi,
        value=float(opt.val[F]),
        n_iter=int(opt.ctl[N_EVAL]),
        decrement=decrement,
        converged=bool(decrement < ACCEPTED and opt.ctl[DEFINITE]),
    )


def fit_lmm(problem: LmmProblem, *, reml: bool, start: FloatArray | None = None, narrow: bool = False) -> LmmSolution:
    """Minimise the deviance or the REML criterion.

    Parameters
    ----------
    problem
        From :func:`~sc_glmm._engine.gaussian.problem.build_problem`.
    reml
        Which of the two.
    start
        ``(n_theta,)`` scaled theta to start from, such as that of a similar fit.
    narrow
        Whether the border is narrow, as a gene's is: the search is compiled as a whole then, and factorises the border
        in loops (at 6 columns 2 to 3 times as fast as LAPACK, at 1,142 a ninth).

    Raises
    ------
    FloatingPointError
        If the criterion is not finite at any start (a response that the fixed effects explain completely).
    """
    arrow = problem.arrow
    diagonal = arrow.theta_row == arrow.theta_col
    work = new_work(problem)

    def objective(theta: FloatArray, grad: FloatArray) -> float | None:
        point = evaluate(problem, theta, reml, work)
        if point is None or not np.isfinite(point.objective):
            return None
        grad[:] = point.grad
        return point.objective

    def search(first: FloatArray) -> OptSummary | None:
        cap = np.maximum(2.0 * np.abs(first), 3.0)
        metric = np.maximum(np.abs(first), 0.3) ** 2 / arrow.n_levels[arrow.theta_fac]
        if not narrow:
            return minimise(objective, first, cap=cap, metric=metric, zero_ok=diagonal, snap_below=SNAP_BELOW)
        raw, S0, n_obs = problem.raw, problem.S0.reshape(-1), problem.n_obs
        constant = (2.0 * problem.scaling.log_det if reml else 0.0) - problem.log_weight
        return _summary(
            entry.descend(arrow, raw, S0, reml, n_obs, constant, first, cap, metric, diagonal, SNAP_BELOW, work)
        )

    best: OptSummary | None = None
    n_iter = 0
    with one_blas_thread():
        # again from where it stopped, which may be far out, then from elsewhere; a variance of zero may be a trap
        # beside a ridge of large ones, and is believed after a look from there
        for attempt in ("start", "here", "here", "small", *FAR, "here"):
            if best is not None and best.converged and attempt not in FAR:
                continue
            size = {"small": 0.1, **FAR}.get(attempt, 0.7)
            first = np.where(diagonal, size, 0.0)
            if attempt == "start" and start is not None:
                first = np.array(start)
            elif attempt == "here" and best is not None:
                # a variance set to zero must be able to leave it
                first = np.where(diagonal & (best.psi == 0.0), 1e-2, best.psi)
            found = search(first)
            if found is None:
                continue
            n_iter += found.n_iter
            if best is None or found.value < best.value - 1e-9 or (found.converged and found.value < best.value + 1e-9):
                best = found
            if best.converged and np.all(best.psi[diagonal] != 0.0):
                break
        if best is None:
            raise FloatingPointError("the criterion is not finite at any start")
        theta = _positive(problem, best.psi)
        point = evaluate(problem, theta, reml, work)
    if point is None:
        raise FloatingPointError("the criterion is not finite at its optimum")
    return LmmSolution(theta, point, n_iter, best.decrement, best.converged)


def _positive(problem: LmmProblem, theta: FloatArray) -> FloatArray:
    """Choose the signs of the columns of Lambda, which are not identified, so that the diagonal is positive."""
    arrow = problem.arrow
    out = theta.copy()
    for t in np.flatnonzero((arrow.theta_row == arrow.theta_col) & (theta < 0.0)):
        out[(arrow.theta_fac == arrow.theta_fac[t]) & (arrow.theta_col == arrow.theta_col[t])] *= -1.0
    return out + 0.0
