"""Define a fitted generalised linear mixed model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import gammaln

from .._arrays import FloatArray
from .._compress import compress_counts
from .._display.arguments import check_choice, check_flag
from .._engine import entry
from .._engine.fit import fit_genes
from .._engine.gaussian.problem import build_problem
from .._engine.genes import GeneFits, GeneStats, Structure, build_structure
from .._engine.laplace.records import Nodes
from .._errors import InputError
from .._families.nb import N_TAIL
from .._families.registry import FAMILIES, Family
from .._fit.model import count_nodes, count_stats, engine_nodes
from .._parallel.blas import one_blas_thread
from .fitted import MixedFit
from .limit import Limit, find_limit
from .prepare import Prepared, with_response
from .responses import new_response, read_counts, read_fractions
from .scales import deviance_parts, inverse_link, slope_of_mean, variance_of_mean, weight_of_row


@dataclass(frozen=True, eq=False, repr=False)
class GlmmModel(MixedFit):
    """Estimates of a fitted mixed model for counts (log link) or trials (logit link).

    Attributes
    ----------
    n_agq
        Number of quadrature nodes; 1 is the Laplace approximation.
    dispersion
        phi of the negative binomial (variance mu + phi mu^2; R's theta or size is 1 / phi); NaN for other families.
    log_likelihood
        Log likelihood with all constants, for any number of quadrature nodes. (lme4 omits constants if nAGQ > 1.)
    cov_given_variances
        (p, p) covariance of the fixed effects given the variances. In contrast, ``cov_beta`` comes from the joint
        Hessian of all parameters, as in lme4.
    """

    n_agq: int
    dispersion: float
    log_likelihood: float
    cov_given_variances: FloatArray = field(repr=False)

    @property
    def sigma(self) -> float:
        """Residual standard deviation, which is one because these families have no scale parameter."""
        return 1.0

    @property
    def n_par(self) -> int:
        """Number of fixed effects, covariance parameters, and the dispersion of the negative binomial."""
        n_theta = sum(len(self.term_lambda(p)) * (len(self.term_lambda(p)) + 1) // 2 for p in self.prepared.places)
        return len(self.beta) + n_theta + int(self.family == "nb")

    def loglik(self) -> float:
        """Get the log likelihood by the Laplace approximation or quadrature.

        Returns
        -------
        The likelihood that was maximised (restricted or not), with all constants.
        """
        return self.log_likelihood

    def deviance(self) -> float:
        """Compute the conditional deviance, as lme4's ``deviance()`` does.

        Returns
        -------
        The sum of squared deviance residuals.
        """
        return float(np.sum(deviance_parts(self.family, self.y, self.fitted(), self.weights, self.dispersion)))

    def fitted(self) -> FloatArray:
        """Compute the conditional means.

        Returns
        -------
        (n_obs,) means of counts, or probabilities.
        """
        return inverse_link(self.family, self.linear_predictor())

    def residuals(self, type: str | None = None, *, scaled: bool = False) -> FloatArray:
        """Compute the residuals.

        Parameters
        ----------
        type
            ``"deviance"`` (default, as in lme4), ``"pearson"``, ``"response"`` or ``"working"``.
        scaled
            No effect, because sigma is one.

        Returns
        -------
        (n_obs,) residuals; zero for observations that a separated model predicts without error.

        Raises
        ------
        InputError
            If `type` or `scaled` has an invalid value.
        """
        check_flag("scaled", scaled)
        kind = "deviance" if type is None else type
        check_choice("type", kind, ("deviance", "pearson", "response", "working"))
        mu = self.fitted()
        with np.errstate(invalid="ignore", divide="ignore"):
            if kind == "response":
                out = self.y - mu
            elif kind == "working":
                out = (self.y - mu) / slope_of_mean(self.family, mu)
            elif kind == "pearson":
                w = 1.0 if self.weights is None else self.weights
                out = (self.y - mu) * np.sqrt(w / variance_of_mean(self.family, mu, self.dispersion))
            else:
                parts = deviance_parts(self.family, self.y, mu, self.weights, self.dispersion)
                out = np.sign(self.y - mu) * np.sqrt(parts)
        # observations that a separated model predicts without error
        return out if self.limit is None else np.where(self.limit.remaining, out, 0.0)

    def conditional_cov(self) -> tuple[FloatArray, ...]:
        """Compute the covariance of the random effects given the data and the parameters.

        At the mode, the model is a Gaussian model whose weights are the curvatures of the observations.

        Returns
        -------
        One (n_levels, k, k) array for each block.
        """
        mu = self.fitted()
        w = np.maximum(weight_of_row(self.family, self.y, mu, self.weights, self.dispersion), 1e-300)
        working, design = self.residuals("working"), self.prepared
        if self.limit is not None:
            w, working, design = w[self.limit.remaining], working[self.limit.remaining], self.limit.inside
        problem = build_problem(design.X, design.blocks, design.row_of, working, w)
        theta = np.empty(problem.n_theta)
        for f, block in enumerate(problem.scaling.order):
            of_factor = problem.arrow.theta_fac == f
            rows, columns = problem.arrow.theta_row[of_factor], problem.arrow.theta_col[of_factor]
            theta[of_factor] = self.Lambda[block][rows, columns]
        with one_blas_thread():
            return self._conditional_cov(problem, problem.scale_theta(theta))

    def refit(self, y: Any) -> Self:
        """Fit the same model to another response.

        Parameters
        ----------
        y
            (n_obs,) values for the rows used, or one value per row of the data: counts, or fractions of successes with
            the same numbers of trials.

        Returns
        -------
        The new fit.

        Raises
        ------
        InputError
            If `y` does not contain one count, or one fraction, for each row.
        """
        values, trials = new_response(y, self.prepared.design.rows_used), self.weights
        if self.family == "binomial":
            values, trials = read_fractions(values, trials, self.formula)
        else:
            values = read_counts(values, self.formula)
        data = with_response(self.prepared, self.data, values)
        return self.optimise(self.prepared, data, values, trials, self.family, self.n_agq, self.options, self.reml)

    def _by_ml(self, options: Mapping[str, Any]) -> Self:
        return self.optimise(
            self.prepared, self.data, self.y, self.weights, self.family, self.n_agq, options, reml=False
        )

    @classmethod
    def optimise(
        cls,
        prepared: Prepared,
        data: pd.DataFrame,
        y: FloatArray,
        trials: FloatArray | None,
        family: str,
        n_agq: int,
        options: Mapping[str, Any],
        reml: bool,
    ) -> Self:
        """Compress the response, fit the model (in the limit if it is separated), and create the fitted model."""
        spec = FAMILIES[family]
        fits, limit = maximise(prepared, y, trials, spec, n_agq, reml, full=True)
        notes = list(prepared.design.notes)
        vcov, full = fits.vcov[0], fits.vcov if fits.vcov_full is None else fits.vcov_full
        conditional = vcov
        if np.isfinite(full).all():
            vcov = full[0]
        else:
            notes.append(
                "the joint Hessian is not positive definite, which can happen if a variance is zero; standard errors "
                "are conditional on the variances"
            )
        beta = fits.beta[0]
        if limit is not None:
            p, columns = prepared.X.shape[1], np.array(limit.columns, dtype=np.int64)
            notes.append(limit.note(prepared.design.fixed.names, spec.trials))
            beta = _spread(beta, p, columns)
            vcov, conditional = (_spread(cov, (p, p), np.ix_(columns, columns)) for cov in (vcov, conditional))
        return cls(
            prepared=prepared,
            data=data,
            y=y,
            weights=trials,
            family=family,
            beta=beta,
            cov_beta=0.5 * (vcov + vcov.T),
            Lambda=tuple(lam[0] for lam in fits.Lambda),
            modes=tuple(b[0] for b in fits.ranef),
            converged=int(fits.status[0]) == entry.OK,
            n_iter=int(fits.n_iter[0]),
            decrement=float(fits.decrement[0]),
            notes=tuple(notes),
            options=options,
            limit=limit,
            n_agq=n_agq,
            dispersion=float(np.exp(fits.log_dispersion[0])) if spec.has_dispersion else np.nan,
            log_likelihood=float(fits.loglik[0]),
            cov_given_variances=conditional,
            reml=reml,
        )

    logLik = loglik
    resid = residuals


def maximise(
    prepared: Prepared, y: FloatArray, trials: FloatArray | None, spec: Family, n_agq: int, reml: bool, *, full: bool
) -> tuple[GeneFits, Limit | None]:
    """Find the optimum, and the limit in which the model was fitted (None if all estimates are finite).

    Raises
    ------
    InputError
        If the model cannot be fitted.
    """
    _check_outcomes(prepared, y, spec)
    limit = find_limit(prepared, y, trials, spec.trials)
    design = prepared if limit is None else limit.inside
    if limit is not None:
        y, trials = np.ascontiguousarray(y[limit.remaining]), None if trials is None else trials[limit.remaining]
    structure, nodes, stats = build_counts(design, y, trials, spec)
    fits = fit_genes(structure, nodes, stats, spec, reml=reml, n_agq=n_agq, full=full)
    if int(fits.status[0]) in (entry.FAILED, entry.EMPTY):
        raise InputError(
            f"the model {prepared.design.formula.source!r} could not be fitted, because its likelihood was not finite: "
            "centre and scale numeric covariates, and look for extreme values of the response"
        )
    return fits, limit


def _spread(values: FloatArray, shape: Any, place: Any) -> FloatArray:
    """Put values at their positions in an array of zeros."""
    out = np.zeros(shape)
    out[place] = values
    return out


def _check_outcomes(prepared: Prepared, y: FloatArray, spec: Family) -> None:
    """Raise an error if all responses are zero, or all are the maximum."""
    source = prepared.design.formula.source
    if not y.any():
        problem = "there are no successes" if spec.trials else "all counts are zero"
        raise InputError(f"the model {source!r} cannot be fitted, because {problem}: use other data")
    if spec.trials and (y == 1.0).all():
        raise InputError(f"the model {source!r} cannot be fitted, because there are no failures: use other data")


def build_counts(
    prepared: Prepared, y: FloatArray, trials: FloatArray | None, family: Family
) -> tuple[Structure, Nodes, GeneStats]:
    """Build the input of the engine."""
    if family.trials:
        nodes, stats = _trial_stats(prepared, y, np.ones_like(y) if trials is None else trials)
    else:
        table = count_nodes(family)(prepared.row_of, len(prepared.X), prepared.offset)
        nodes, stats = engine_nodes(table), count_stats(compress_counts(y[:, None], table, prepared.offset))
    cells = np.bincount(prepared.row_of, minlength=len(prepared.X)).astype(np.float64)
    return build_structure(prepared.X, prepared.blocks, cells), nodes, stats


def _trial_stats(prepared: Prepared, fraction: FloatArray, trials: FloatArray) -> tuple[Nodes, GeneStats]:
    """Count successes and trials of each row; each row has one offset."""
    n_rows = len(prepared.X)
    success = fraction * trials
    offset = np.zeros(n_rows)
    offset[prepared.row_of] = prepared.offset
    const = gammaln(trials + 1.0) - gammaln(success + 1.0) - gammaln(trials - success + 1.0)
    n_trials = np.asarray(np.bincount(prepared.row_of, trials, minlength=n_rows), dtype=np.float64)
    n_success = np.asarray(np.bincount(prepared.row_of, success, minlength=n_rows), dtype=np.float64)
    nodes = Nodes(np.arange(n_rows + 1, dtype=np.int64), np.exp(offset), n_trials)
    stats = GeneStats(
        A=n_success[None, :],
        tail=np.zeros((1, N_TAIL)),
        over_ptr=np.zeros(2, dtype=np.int64),
        over_value=np.zeros(0),
        over_count=np.zeros(0),
        extra=np.zeros((1, 4)),
        const=np.array([float(np.sum(const + success * prepared.offset))]),
    )
    return nodes, stats
