"""Define a fitted Gaussian mixed model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._display.arguments import check_choice, check_flag
from .._engine.gaussian.evaluate import LmmPoint, evaluate, new_work, residual_sd
from .._engine.gaussian.fit import LmmSolution, fit_lmm
from .._engine.gaussian.problem import LmmProblem
from .._errors import InputError
from .._inference.ddf import KenwardRogerParts, SatterthwaiteParts
from .._inference.variances import satterthwaite_parts
from .._parallel.blas import one_blas_thread
from .ddf import kenward_roger_parts
from .fitted import MixedFit
from .prepare import Prepared, with_response
from .responses import new_response

# Residuals below this fraction of the response are rounding errors: the fit is exact, which is an error.
EXACT = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class LmmModel(MixedFit):
    """Estimates of a fitted Gaussian mixed model: ``y ~ N(X beta + Z b + offset, sigma^2 / weights)``.

    Attributes
    ----------
    problem, solution
        Cross-products and optimum in the engine's format.
    """

    problem: LmmProblem = field(repr=False)
    solution: LmmSolution = field(repr=False)

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        return residual_sd(self.problem, self.solution.point, self.reml)

    @property
    def n_par(self) -> int:
        """Number of fixed effects, covariance parameters, and the residual variance."""
        return len(self.beta) + self.problem.n_theta + 1

    def loglik(self, reml: bool | None = None) -> float:
        """Compute the log likelihood at the estimates.

        Parameters
        ----------
        reml
            Whether to use the restricted likelihood. Default: the likelihood that was maximised. A restricted
            likelihood depends on the coding of X and cannot compare models with different fixed effects.

        Returns
        -------
        The log likelihood, with all constants.

        Raises
        ------
        InputError
            If `reml` is not True, False or None.
        """
        if reml is not None:
            check_flag("reml", reml)
        return -0.5 * self._criterion(self.reml if reml is None else reml)

    def deviance(self) -> float:
        """Compute the deviance at the estimates.

        Returns
        -------
        ``-2 log likelihood``. For a REML fit, this is not the minimum; see :meth:`remlcrit`.
        """
        return self._criterion(False)

    def fitted(self) -> FloatArray:
        """Compute the conditional means.

        Returns
        -------
        (n_obs,) means, with random effects and offset.
        """
        return self.linear_predictor()

    def residuals(self, type: str | None = None, *, scaled: bool = False) -> FloatArray:
        """Compute the residuals.

        Parameters
        ----------
        type
            ``"response"`` (default), ``"pearson"`` (times the square root of the weights), ``"deviance"`` or
            ``"working"`` (the same as response).
        scaled
            Divide by sigma.

        Returns
        -------
        (n_obs,) residuals.

        Raises
        ------
        InputError
            If `type` or `scaled` has an invalid value.
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
        """Compute the covariance of the random effects given the data and the parameters.

        Returns
        -------
        One (n_levels, k, k) array for each block.
        """
        with one_blas_thread():
            return self._conditional_cov(self.problem, self.solution.theta)

    def refit(self, y: Any) -> Self:
        """Fit the same model to another response.

        Parameters
        ----------
        y
            (n_obs,) values for the rows used, or one value per row of the data.

        Returns
        -------
        The new fit.

        Raises
        ------
        InputError
            If `y` does not contain one finite number for each row, or if all values are equal.
        """
        values = new_response(y, self.prepared.design.rows_used)
        if np.ptp(values) == 0.0:
            raise InputError(f"y is {values[0]:g} in every row, so there is nothing to model")
        problem = self.problem.with_response(values - self.prepared.offset, self.prepared.row_of, self.weights)
        data = with_response(self.prepared, self.data, values)
        return self.optimise(self.prepared, data, values, self.weights, self.reml, self.options, problem)

    def _by_ml(self, options: Mapping[str, Any]) -> Self:
        return self.optimise(self.prepared, self.data, self.y, self.weights, False, options, self.problem)

    @classmethod
    def optimise(
        cls,
        prepared: Prepared,
        data: pd.DataFrame,
        y: FloatArray,
        weights: FloatArray | None,
        reml: bool,
        options: Mapping[str, Any],
        problem: LmmProblem,
    ) -> Self:
        """Fit the model from `problem`, the cross-products of `prepared` and `y`."""
        source = prepared.design.formula.source
        residual = problem.unit * float(np.sqrt(problem.S0[-1, -1] / problem.weight.sum()))
        if residual <= EXACT * float(np.abs(y).max()):
            raise InputError(_exact_fit("fixed", source))
        try:
            solution = fit_lmm(problem, reml=reml)
        except FloatingPointError as error:
            raise InputError(_exact_fit("random", source)) from error
        if solution.point.r2 <= EXACT * float(problem.S0[-1, -1]):
            raise InputError(_exact_fit("random", source))
        return cls.build_fit(prepared, data, y, weights, reml, options, problem, solution)

    @classmethod
    def build_fit(
        cls,
        prepared: Prepared,
        data: pd.DataFrame,
        y: FloatArray,
        weights: FloatArray | None,
        reml: bool,
        options: Mapping[str, Any],
        problem: LmmProblem,
        solution: LmmSolution,
        test: pd.DataFrame | None = None,
    ) -> Self:
        """Create a fitted model from an optimum, on the user's scale."""
        point = solution.point
        sigma = residual_sd(problem, point, reml)
        relative, modes = _blocks(problem, solution)
        return cls(
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

    def point_at(self, theta: FloatArray, reml: bool) -> LmmPoint:
        """Evaluate the criterion at the engine's scaled theta."""
        with one_blas_thread():
            point = evaluate(self.problem, theta, reml, new_work(self.problem))
        if point is None:
            raise FloatingPointError("the criterion is not finite at this theta")
        return point

    @cached_property
    def satterthwaite_parts(self) -> SatterthwaiteParts:
        """Quantities for Satterthwaite's degrees of freedom (computed once)."""
        solution = self.solution
        with one_blas_thread():
            return satterthwaite_parts(self.problem, solution.theta, solution.point, self.reml, new_work(self.problem))

    @cached_property
    def kenward_roger_parts(self) -> KenwardRogerParts:
        """Quantities for the Kenward-Roger degrees of freedom (computed once)."""
        return kenward_roger_parts(self, self.problem, self.solution.theta)

    def _criterion(self, reml: bool) -> float:
        if reml == self.reml:
            return 2.0 * self.solution.point.value
        return 2.0 * self.point_at(self.solution.theta, reml).value

    logLik = loglik
    resid = residuals


def _exact_fit(effects: str, formula: str) -> str:
    return (
        f"the {effects} effects of {formula!r} explain the response completely, so the residual variance is zero. "
        "Check whether the response is also on the right side, and whether each group has several rows"
    )


def _blocks(problem: LmmProblem, solution: LmmSolution) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
    """Return Lambda relative to sigma, and the modes b, for each block in the order of the design."""
    arrow, theta = problem.arrow, problem.unscale_theta(solution.theta)
    n_blocks = len(problem.scaling.order)
    relative: list[FloatArray] = [np.empty(0)] * n_blocks
    modes: list[FloatArray] = [np.empty(0)] * n_blocks
    for f, block in enumerate(problem.scaling.order):
        k = int(arrow.fac_k[f])
        lam = np.zeros((k, k))
        of_factor = arrow.theta_fac == f
        lam[arrow.theta_row[of_factor], arrow.theta_col[of_factor]] = theta[of_factor]
        relative[block] = lam
        u = solution.point.v[arrow.fac_u[f] : arrow.fac_u[f + 1]].reshape(-1, k)
        modes[block] = u @ lam.T
    return tuple(relative), tuple(modes)
