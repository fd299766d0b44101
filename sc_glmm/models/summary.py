"""The summary of a fit: one record with all its numbers, rendered as text and as HTML in R's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._engine.optimize import ACCEPTED
from .glmm import GlmmFit
from .lmm import LmmFit
from .means import LINKS
from .varcorr import TermVariance, term_variances
from .wald import METHODS, ddf_method, single_tests

if TYPE_CHECKING:
    from .fitted import MixedFit

FAMILY_WORDS = {"poisson": "poisson", "binomial": "binomial", "nb": "negative binomial"}


@dataclass(frozen=True, eq=False)
class Summary:
    """Everything that a summary shows.

    Attributes
    ----------
    title
        What was fitted, and how.
    family
        Family and link, empty for a linear model.
    formula
        As written.
    criteria
        ``{"REML criterion at convergence": value}``, or AIC, BIC, logLik, deviance and df.resid.
    residuals
        Five quantiles of the scaled residuals.
    random
        The covariances, term by term.
    sigma
        Residual standard deviation, NaN for counts and trials.
    nobs, ngrps
        Observations; levels of each grouping factor.
    fixed
        ``estimate, se, df, stat, p_value`` by name; no `df` for z tests.
    correlation
        ``(p, p)`` of the fixed effects.
    notes
        On singularity and convergence.
    """

    title: str
    family: str
    formula: str
    criteria: dict[str, float]
    residuals: dict[str, float]
    random: tuple[TermVariance, ...]
    sigma: float
    nobs: int
    ngrps: dict[str, int]
    fixed: pd.DataFrame
    correlation: pd.DataFrame
    notes: tuple[str, ...]

    def __str__(self) -> str:
        from .render import summary_text

        return summary_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from .render import summary_html

        return summary_html(self)


def summarise(fit: MixedFit, *, ddf: str | None = None) -> Summary:
    """Build the summary.

    Parameters
    ----------
    fit
        The model.
    ddf
        For linear models ``"satterthwaite"`` (default), ``"kenward-roger"``, ``"between-within"`` or
        ``"asymptotic"``.

    Returns
    -------
    A record that prints itself.
    """
    method = ddf_method(fit, ddf)
    fixed = single_tests(fit, np.eye(len(fit.beta)), method)
    fixed.index = pd.Index(list(fit.names))
    if np.isinf(fixed["df"]).all():
        fixed = fixed.drop(columns="df")
    scaled = fit.residuals("pearson", scaled=True)
    quantiles = np.quantile(scaled, [0.0, 0.25, 0.5, 0.75, 1.0])
    sd = fit.bse.to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = fit.vcov().div(sd, axis=0).div(sd, axis=1)
    return Summary(
        title=_title(fit, method),
        family=_family(fit),
        formula=fit.formula,
        criteria=_criteria(fit),
        residuals=dict(zip(("Min", "1Q", "Median", "3Q", "Max"), map(float, quantiles), strict=True)),
        random=tuple(term_variances(fit)),
        sigma=fit.sigma if fit.family == "gaussian" else np.nan,
        nobs=fit.nobs,
        ngrps={str(name): int(n) for name, n in fit.ngrps().items()},
        fixed=fixed,
        correlation=correlation,
        notes=_notes(fit),
    )


def _title(fit: MixedFit, method: str) -> str:
    if isinstance(fit, LmmFit):
        how = "REML" if fit.reml else "maximum likelihood"
        tests = "" if method == "asymptotic" else f". t-tests use {METHODS[method]} method"
        return f"Linear mixed model fit by {how}{tests}"
    n_agq = fit.n_agq if isinstance(fit, GlmmFit) else 1
    how = "Laplace Approximation" if n_agq == 1 else f"Adaptive Gauss-Hermite Quadrature, n_agq = {n_agq}"
    by = "restricted maximum likelihood" if fit.reml else "maximum likelihood"
    return f"Generalized linear mixed model fit by {by} ({how})"


def _family(fit: MixedFit) -> str:
    if not isinstance(fit, GlmmFit):
        return ""
    text = f"{FAMILY_WORDS[fit.family]} ( {LINKS[fit.family]} )"
    if fit.family == "nb":
        text += f", dispersion {fit.dispersion:.4g} (R's size {1.0 / fit.dispersion:.4g})"
    return text


def _criteria(fit: MixedFit) -> dict[str, float]:
    if fit.reml:
        return {"REML criterion at convergence": -2.0 * fit.loglik()}
    loglik = fit.loglik()
    return {
        "AIC": fit.aic(),
        "BIC": fit.bic(),
        "logLik": loglik,
        "deviance": -2.0 * loglik,
        "df.resid": float(fit.df_resid),
    }


def _notes(fit: MixedFit) -> tuple[str, ...]:
    notes = []
    if fit.limit is not None:
        notes.append(fit.limit.note(fit.names, fit.family == "binomial"))
    if fit.is_singular():
        notes.append(
            "boundary (singular) fit: a variance is zero or a correlation is one (see is_singular); the fit is valid, "
            "and the data say nothing about that variance being larger"
        )
    if not fit.converged:
        notes.append(_why_not_converged(fit))
    return tuple(notes)


def _why_not_converged(fit: MixedFit) -> str:
    if fit.family == "binomial":
        for place in fit.prepared.places:
            codes = fit.prepared.blocks[place.block].codes[fit.prepared.row_of]
            by_level = pd.Series(fit.y).groupby(codes)
            if ((by_level.max() == 0.0) | (by_level.min() == 1.0)).all():
                return (
                    f"not converged: every level of {place.name} has successes only or failures only, so the variance "
                    "between levels has no finite estimate; use a coarser grouping factor, or summarise each level"
                )
    if fit.decrement < ACCEPTED:
        return (
            "not converged: the Hessian is not positive definite at the end, so some parameters cannot be told apart; "
            "simplify the random effects"
        )
    return (
        f"not converged: Newton decrement {fit.decrement:.2g} at the end (accepted below {ACCEPTED:g}); centre and "
        "scale covariates, or simplify the random effects"
    )
