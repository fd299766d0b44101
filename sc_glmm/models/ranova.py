"""Tests of random effects: single deletions with the mixture reference of the boundary."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from .._errors import InputError
from .._formula import RandomTerm, term_label, term_text
from .lmm import LmmFit
from .table import Table
from .update import reduced, term_key


def mixture_p(statistic: float, df: int, variances: int = 1) -> float:
    """Probability of a larger likelihood ratio when a variance of zero (with `df - 1` covariances) is the truth.

    Parameters
    ----------
    statistic
        Likelihood ratio.
    df
        Difference of the numbers of parameters.
    variances
        Variances among them. One: the mixture ``1/2 chi2(df - 1) + 1/2 chi2(df)`` of Self and Liang (1987) and Stram
        and Lee (1994). More: their weights depend on the design, and ``chi2(df)`` is a conservative bound.
    """
    upper = float(stats.chi2.sf(statistic, df))
    if variances > 1:
        return upper
    lower = float(stats.chi2.sf(statistic, df - 1)) if df > 1 else float(statistic <= 0.0)
    return 0.5 * (lower + upper)


def ranova(fit: LmmFit) -> Table:
    """Drop each random effect: a term with slopes loses them one at a time, a term of one column goes altogether.

    Parameters
    ----------
    fit
        The model; a REML fit is compared by restricted likelihoods, which is right here, since the fixed effects stay.

    Returns
    -------
    As lmerTest's ``ranova``, and ``Pr(mixture)``: the reference that knows that variances are not negative.
    """
    if not isinstance(fit, LmmFit):
        raise InputError(
            f"ranova() is given {type(fit).__name__}; it is for models fitted by lmer. For counts and trials compare "
            "models without the term: anova(small, large), or bootstrap_lrt()"
        )
    rows: dict[str, dict[str, float]] = {}
    loglik, n_par = fit.loglik(), fit.n_par
    rows["<none>"] = {"npar": n_par, "logLik": loglik, "AIC": fit.aic(), "LRT": np.nan, "Df": np.nan}
    for i, term in enumerate(fit.prepared.design.random):
        for name, smaller in _reductions(term.term):
            small_loglik, small_n, columns = _without(fit, i, smaller)
            lrt, df = max(2.0 * (loglik - small_loglik), 0.0), n_par - small_n
            label = term.label if name is None else f"{name} in {term.label}"
            rows[label] = {
                "npar": small_n,
                "logLik": small_loglik,
                "AIC": -2.0 * small_loglik + 2.0 * small_n,
                "LRT": lrt,
                "Df": df,
                "Pr(>Chisq)": float(stats.chi2.sf(lrt, df)),
                "Pr(mixture)": mixture_p(lrt, df, columns),
            }
    frame = pd.DataFrame.from_dict(rows, orient="index").reindex(
        columns=["npar", "logLik", "AIC", "LRT", "Df", "Pr(>Chisq)", "Pr(mixture)"]
    )
    frame["npar"] = frame["npar"].astype(int)
    return Table(frame, f"ANOVA-like table for random-effects: Single term deletions\n\nModel:\n{fit.formula}")


def _reductions(term: RandomTerm) -> list[tuple[str | None, str | None]]:
    """What a term can lose: (name, the smaller term or None)."""
    slopes = [t for t in term.terms if t]
    if not slopes or len(term.terms) == 1:
        return [(None, None)]
    out: list[tuple[str | None, str | None]] = []
    for gone in slopes:
        kept = [term_text(t) for t in term.terms if t != gone]
        if () not in term.terms:
            kept = ["0", *kept]
        out.append((term_label(gone), f"({' + '.join(kept)} | {term.group_text})"))
    return out


def _without(fit: LmmFit, number: int, smaller: str | None) -> tuple[float, int, int]:
    """Log likelihood (the kind that was maximised), number of parameters, and variances lost by the reduced model."""
    random = fit.prepared.design.random
    lost = random[number].Z.shape[1]
    if smaller is None and len(random) == 1:
        # theta = 0 is the linear model without random effects
        point = fit.point_at(np.zeros(fit.problem.n_theta), fit.reml)
        return -point.value, fit.n_par - fit.problem.n_theta, lost
    small = reduced(fit, [term_key(random[number].term)], smaller)
    if smaller is not None:
        lost -= small.prepared.design.random[-1].Z.shape[1]
    return small.loglik(), small.n_par, lost
