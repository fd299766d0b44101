"""Compare fitted models by likelihood-ratio tests.

A restricted likelihood is the likelihood of the data after X was projected out. With another X, it is the likelihood of
other data. Models with different fixed effects are therefore always compared by maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .._arrays import FloatArray
from .._display import logger
from .._errors import InputError
from .._formula import RandomTerm, term_text, unique_labels
from .fitted import MixedFit, check_fit
from .glmm import GlmmModel
from .lmm import LmmModel
from .table import Table
from .update import reduced, term_key

REFIT_NOTE = "refitting model(s) with ML (instead of REML)"


def lrtest(*fits: MixedFit) -> Table:
    """Compare nested models by likelihood-ratio tests.

    If the fixed effects differ, REML fits are refitted by maximum likelihood, with a note. In this case, R's
    ``lmtest::lrtest`` compares restricted likelihoods, and its result depends on the units of the covariates. The note
    below the table shows this number next to the valid one.

    Parameters
    ----------
    fits
        Two or more models of the same response on the same rows.

    Returns
    -------
    One row per model, the smallest first: number of parameters, log likelihood, and the test against the row above.

    Raises
    ------
    InputError
        If the models are not nested fits of the same data.
    """
    for model in fits:
        check_fit(model, "lrtest")
    restricted = all(fit.reml for fit in fits) and _same_fixed(fits)
    table = compare(fits, refit=not restricted)
    frame = table.table[["npar", "logLik", "Df", "Chisq", "Pr(>Chisq)"]]
    return Table(frame, "Likelihood ratio test\n\n" + table.title.partition("\n")[2], table.notes)


def compare(fits: Sequence[MixedFit], *, refit: bool = True) -> Table:
    """Make the table of ``anova(m0, m1, ...)``.

    Raises
    ------
    InputError
        If the models are not nested fits of the same data, or their restricted likelihoods are not comparable.
    """
    if len(fits) < 2:
        raise InputError("a likelihood-ratio test needs at least two models, but received one")
    _check_same_data(fits)
    ordered = sorted(fits, key=lambda fit: fit.n_par)
    same_fixed = _same_fixed(ordered)
    notes: list[str] = []
    used = list(ordered)
    if any(fit.reml for fit in ordered):
        if refit:
            used = [fit.refit_ml() for fit in ordered]
            logger.info(REFIT_NOTE)
            notes.append(REFIT_NOTE)
        elif not same_fixed:
            raise InputError(
                "these REML fits have different fixed effects, so their restricted likelihoods are not comparable (the "
                "ratio depends on the units and coding of X). Use refit=True (the default), which compares them by "
                "maximum likelihood"
            )
        elif not all(fit.reml for fit in ordered):
            raise InputError("some of these models were fitted by REML and others by ML: use refit=True (the default)")
    logliks = np.array([fit.loglik() for fit in used])
    frame = _comparison_frame(used, logliks)
    if refit and not same_fixed and all(fit.reml for fit in ordered):
        for i in range(1, len(ordered)):
            restricted = 2.0 * (ordered[i].loglik() - ordered[i - 1].loglik())
            notes.append(
                f"m{i} against m{i - 1}: Chisq {frame['Chisq'].iloc[i]:.4f} by ML. The restricted likelihoods would "
                f"give {restricted:.4f}, which is not a valid test because it depends on the units of the covariates"
            )
    if same_fixed and frame["Df"].iloc[1:].notna().any():
        notes.append(
            "a variance of zero lies on the boundary, so the chi-squared p-value is conservative; see ranova() for "
            "the mixture and bootstrap_lrt() for a simulated reference"
        )
    models = "\n".join(f"m{i}: {fit.formula}" for i, fit in enumerate(ordered))
    return Table(frame, f"Models:\n{models}", tuple(notes))


def _comparison_frame(used: Sequence[MixedFit], logliks: FloatArray) -> pd.DataFrame:
    npar = np.array([fit.n_par for fit in used])
    df = np.diff(npar, prepend=npar[0]).astype(np.float64)
    chisq = np.maximum(2.0 * np.diff(logliks, prepend=logliks[0]), 0.0)
    # models of equal size are listed without a test
    tested = df > 0.0
    p = stats.chi2.sf(chisq, np.where(tested, df, 1.0))
    return pd.DataFrame(
        {
            "npar": npar,
            "AIC": [fit.aic() for fit in used],
            "BIC": [fit.bic() for fit in used],
            "logLik": logliks,
            "deviance": -2.0 * logliks,
            "Chisq": np.where(tested, chisq, np.nan),
            "Df": np.where(tested, df, np.nan),
            "Pr(>Chisq)": np.where(tested, p, np.nan),
        },
        index=[f"m{i}" for i in range(len(used))],
    )


def _same_fixed(fits: Sequence[MixedFit]) -> bool:
    """Return whether all models have the same fixed-effects matrix, column by column."""
    first = fits[0].prepared.design.fixed
    others = [fit.prepared.design.fixed for fit in fits[1:]]
    return all(o.X.shape == first.X.shape and np.array_equal(o.X, first.X) for o in others)


def _check_same_data(fits: Sequence[MixedFit]) -> None:
    first = fits[0]
    for fit in fits[1:]:
        if fit.family != first.family:
            raise InputError(f"the models have different families, {first.family!r} and {fit.family!r}: use one family")
        if fit.nobs != first.nobs:
            raise InputError(
                f"the models use {first.nobs} and {fit.nobs} rows, so their likelihoods are not comparable. If a "
                "covariate has missing values, drop these rows from the data first"
            )
        if not np.array_equal(fit.y, first.y):
            raise InputError(
                "the models have different responses (or rows in a different order) and cannot be compared"
            )
        if not _equal(fit.weights, first.weights) or not np.array_equal(fit.prepared.offset, first.prepared.offset):
            raise InputError("the models have different weights or offsets and cannot be compared")
        if isinstance(fit, GlmmModel) and isinstance(first, GlmmModel) and fit.n_agq != first.n_agq:
            raise InputError(f"the models use n_agq={first.n_agq} and n_agq={fit.n_agq}: fit both with the same n_agq")
    ordered = sorted(fits, key=lambda fit: fit.n_par)
    for small, large in zip(ordered[:-1], ordered[1:], strict=True):
        if large.n_par == small.n_par:
            continue
        X0, X1 = small.prepared.design.fixed.X, large.prepared.design.fixed.X
        rest = X0 - X1 @ np.linalg.lstsq(X1, X0, rcond=None)[0]
        if np.abs(rest).max(initial=0.0) > 1e-7 * max(np.abs(X0).max(initial=0.0), 1e-300):
            raise InputError(
                f"the fixed effects of {small.formula!r} are not a special case of those of {large.formula!r}, but a "
                "likelihood-ratio test needs nested models; compare AIC instead"
            )


def _equal(a: FloatArray | None, b: FloatArray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def mixture_p(statistic: float, df: int, variances: int = 1) -> float:
    """Compute the probability of a larger likelihood ratio if a variance (with its `df - 1` covariances) is zero.

    Parameters
    ----------
    statistic
        Likelihood ratio.
    df
        Difference of the numbers of parameters.
    variances
        Number of variances among these parameters. For one, the distribution is the mixture
        ``1/2 chi2(df - 1) + 1/2 chi2(df)`` of Self and Liang (1987) and Stram and Lee (1994). For more, the weights
        depend on the design, and ``chi2(df)`` is a conservative bound.
    """
    upper = float(stats.chi2.sf(statistic, df))
    if variances > 1:
        return upper
    lower = float(stats.chi2.sf(statistic, df - 1)) if df > 1 else float(statistic <= 0.0)
    return 0.5 * (lower + upper)


def ranova(fit: LmmModel) -> Table:
    """Test each random effect by dropping it; slopes are dropped one at a time.

    Parameters
    ----------
    fit
        The model. REML fits are compared by restricted likelihoods, which is valid because the fixed effects stay the
        same.

    Returns
    -------
    The columns of lmerTest's ``ranova``, and ``Pr(mixture)``, which accounts for the boundary at zero.

    Raises
    ------
    InputError
        If the model is for counts or trials.
    """
    if not isinstance(fit, LmmModel):
        raise InputError(
            f"ranova() received {type(fit).__name__}, but needs a model from lmer. For counts and trials, compare with "
            "a model without the term: anova(small, large), or bootstrap_lrt()"
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
    """List the possible reductions of a term: name of the dropped effect, and the smaller term or None."""
    slopes = [t for t in term.terms if t]
    if not slopes or len(term.terms) == 1:
        return [(None, None)]
    out: list[tuple[str | None, str | None]] = []
    for slope, label in unique_labels(slopes).items():
        others = [term_text(t) for t in term.terms if t != slope]
        if () not in term.terms:
            others = ["0", *others]
        out.append((label, f"({' + '.join(others)} | {term.group_text})"))
    return out


def _without(fit: LmmModel, number: int, smaller: str | None) -> tuple[float, int, int]:
    """Return the maximised log likelihood, number of parameters and dropped variances of a smaller model."""
    random = fit.prepared.design.random
    n_dropped = random[number].Z.shape[1]
    if smaller is None and len(random) == 1:
        # theta = 0 is the linear model without random effects
        point = fit.point_at(np.zeros(fit.problem.n_theta), fit.reml)
        return -point.value, fit.n_par - fit.problem.n_theta, n_dropped
    small = reduced(fit, [term_key(random[number].term)], smaller)
    if smaller is not None:
        n_dropped -= small.prepared.design.random[-1].Z.shape[1]
    return small.loglik(), small.n_par, n_dropped
