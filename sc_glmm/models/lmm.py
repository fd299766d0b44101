"""A fitted Gaussian mixed model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._engine.lmm import LmmPoint, LmmProblem, LmmWork, conditional_blocks, evaluate
from .._engine.lmm_fit import LmmSolution, fit_lmm, one_blas_thread
from .._errors import InputError
from .._inference.ddf import KenwardRogerParts, SatterthwaiteParts
from .._inference.variances import residual_sd, satterthwaite_parts
from .checks import check_choice, check_flag, check_response
from .fitted import MixedFit

if TYPE_CHECKING:
    import pandas as pd

    from .prepare import Prepared
    from .table import Table

FloatArray = NDArray[np.float64]

# A residual sum of squares below this share of that of the response is rounding.
EXACT = 1e-24


@dataclass(frozen=True, eq=False, repr=False)
class LmmFit(MixedFit):
    """A fitted Gaussian mixed model: ``y ~ N(X beta + Z b + offset, sigma^2 / weights)``.

    Attributes
    ----------
    problem, solution
        Cross-products and optimum as the engine has them.
    """

    problem: LmmProblem = field(repr=False)
    solution: LmmSolution = field(repr=False)

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        return residual_sd(self.problem, self.solution.point, self.reml)

    @property
    def n_par(self) -> int:
        """Fixed effects, covariance parameters, and the residual variance."""
        return len(self.beta) + self.problem.n_theta + 1

    def loglik(self, reml: bool | None = None) -> float:
        """Log likelihood at the estimates.

        Parameters
        ----------
        reml
            The restricted one or not; by default the one that was maximised. A restricted likelihood depends on the
            coding of X: between models with different fixed effects it compares nothing.
        """
        if reml is not None:
            check_flag("reml", reml)
        return -0.5 * self._criterion(self.reml if reml is None else reml)

    def deviance(self) -> float:
        """``-2 log likelihood`` at the estimates; of a REML fit it is not the smallest one, see :meth:`remlcrit`."""
        return self._criterion(False)

    def remlcrit(self) -> float:
        """The REML criterion at convergence."""
        if not self.reml:
            raise InputError("this model was fitted by ML and has no REML criterion: fit it with reml=True")
        return self._criterion(True)

    def fitted(self) -> FloatArray:
        """``(n_obs,)`` conditional means, with the offset."""
        return self.linear_predictor()

    def residuals(self, type: str | None = None, *, scaled: bool = False) -> FloatArray:
        """``(n_obs,)`` residuals.

        Parameters
        ----------
        type
            ``"response"`` (default), ``"pearson"`` (times the root of the weights), ``"deviance"`` or ``"working"``
            (the same as response).
        scaled
            Divide by sigma.
        """
        check_flag("scaled", scaled)
        kinds = ("response", "pearson", "deviance", "working")
        if type is not None:
            check_choice("type", type, kinds)
        out = self.y - self.fitted()
        if type in ("pearson", "deviance") and self.weights is not None:
            out = out * np.sqrt(self.weights)
        return out / self.sigma if scaled else out

    def conditional_cov(self) -> tuple[FloatArray, ...]:
        """Per block ``(n_levels, k, k)`` covariance of the random effects given the data and the parameters."""
        with one_blas_thread():
            inverse = conditional_blocks(self.problem, self.solution.theta, LmmWork(self.problem))
        out: list[FloatArray] = [np.empty(0)] * len(inverse)
        for f, block in enumerate(self.problem.scaling.order):
            lam = self.Lambda[block]
            out[block] = lam @ inverse[f] @ lam.T
        return tuple(out)

    def refit(self, y: Any) -> LmmFit:
        """The same model on another response.

        Parameters
        ----------
        y
            ``(n_obs,)`` for the rows used, or one value per row of the data.
        """
        values = check_response(y, self.prepared.design.kept)
        if np.ptp(values) == 0.0:
            raise InputError(f"y is {values[0]:g} in every row: there is nothing to model")
        return fit_response(self.prepared, self.data, values, self.weights, self.reml, self.options, self.problem)

    def refit_ml(self) -> LmmFit:
        """The same model by maximum likelihood."""
        if not self.reml:
            return self
        return finish_fit(
            self.prepared, self.data, self.y, self.weights, False, {**self.options, "reml": False}, self.problem
        )

    def ranova(self) -> Table:
        """Each random effect that can go, by likelihood ratio; see :func:`~sc_glmm.models.ranova.ranova`."""
        from .ranova import ranova

        return ranova(self)

    def point_at(self, theta: FloatArray, reml: bool) -> LmmPoint:
        """The criterion at the engine's scaled theta."""
        with one_blas_thread():
            point = evaluate(self.problem, theta, reml, LmmWork(self.problem))
        if point is None:
            raise FloatingPointError("the criterion is not finite at this theta")
        return point

    @cached_property
    def satterthwaite_parts(self) -> SatterthwaiteParts:
        """What Satterthwaite's degrees of freedom follow from (computed once)."""
        solution = self.solution
        with one_blas_thread():
            return satterthwaite_parts(self.problem, solution.theta, solution.point, self.reml, LmmWork(self.problem))

    @cached_property
    def kenward_roger_parts(self) -> KenwardRogerParts:
        """What Kenward and Roger's degrees of freedom follow from (computed once)."""
        from .ddf import kenward_roger_parts

        return kenward_roger_parts(self)

    def _criterion(self, reml: bool) -> float:
        if reml == self.reml:
            return 2.0 * self.solution.point.value
        return 2.0 * self.point_at(self.solution.theta, reml).value

    logLik = loglik
    resid = residuals
    REMLcrit = remlcrit
    refitML = refit_ml


def fit_response(
    prepared: Prepared,
    data: pd.DataFrame,
    y: FloatArray,
    weights: FloatArray | None,
    reml: bool,
    options: Mapping[str, Any],
    problem: LmmProblem,
) -> LmmFit:
    """Fit another response with the cross-products of a design at hand."""
    problem = problem.with_response(y - prepared.offset, prepared.row_of, weights)
    return finish_fit(prepared, data, y, weights, reml, options, problem)


def finish_fit(
    prepared: Prepared,
    data: pd.DataFrame,
    y: FloatArray,
    weights: FloatArray | None,
    reml: bool,
    options: Mapping[str, Any],
    problem: LmmProblem,
) -> LmmFit:
    """Optimise, and bring the numbers to the user's scale."""
    residual = float(problem.S0[-1, -1])
    if residual <= EXACT * float(np.sum(y**2 if weights is None else weights * y**2)):
        raise InputError(
            f"the fixed effects of {prepared.design.formula.source!r} explain the response completely: there is "
            "nothing left for a variance; check whether the response stands on the right side too"
        )
    return solved(prepared, data, y, weights, reml, options, problem, fit_lmm(problem, reml=reml))


def solved(
    prepared: Prepared,
    data: pd.DataFrame,
    y: FloatArray,
    weights: FloatArray | None,
    reml: bool,
    options: Mapping[str, Any],
    problem: LmmProblem,
    solution: LmmSolution,
    test: pd.DataFrame | None = None,
) -> LmmFit:
    """The fit at an optimum, on the user's scale."""
    point = solution.point
    sigma = residual_sd(problem, point, reml)
    relative, modes = _blocks(problem, solution)
    return LmmFit(
        prepared=prepared,
        data=data,
        y=y,
        weights=weights,
        family="gaussian",
        beta=point.beta,
        cov_beta=point.vcov * sigma**2,
        Lambda=tuple(sigma * lam for lam in relative),
        modes=modes,
        converged=solution.converged,
        n_iter=solution.n_iter,
        decrement=solution.decrement,
        notes=prepared.design.notes,
        options=options,
        reml=reml,
        problem=problem,
        solution=solution,
        test=test,
    )


def at_theta(fit: LmmFit, theta: FloatArray) -> LmmFit:
    """The fit with another scaled theta put in its place (not an optimum)."""
    solution = replace(fit.solution, theta=theta, point=fit.point_at(theta, fit.reml))
    return replace(fit, solution=solution)


def _blocks(problem: LmmProblem, solution: LmmSolution) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
    """Per block of the caller: Lambda relative to sigma, and the modes b."""
    arrow, theta = problem.arrow, problem.unscale_theta(solution.theta)
    n_blocks = len(problem.scaling.order)
    relative: list[FloatArray] = [np.empty(0)] * n_blocks
    modes: list[FloatArray] = [np.empty(0)] * n_blocks
    for f, block in enumerate(problem.scaling.order):
        k = int(arrow.fac_k[f])
        lam = np.zeros((k, k))
        mine = arrow.theta_fac == f
        lam[arrow.theta_row[mine], arrow.theta_col[mine]] = theta[mine]
        relative[block] = lam
        u = solution.point.v[arrow.fac_u[f] : arrow.fac_u[f + 1]].reshape(-1, k)
        modes[block] = u @ lam.T
    return tuple(relative), tuple(modes)
