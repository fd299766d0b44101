"""Likelihood-ratio tests between fitted models.

A restricted likelihood is the likelihood of the residuals from X: with another X it is the likelihood of other data.
So models with different fixed effects are compared by maximum likelihood only, whatever they were fitted by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .._design import untestable_terms
from .._display import logger
from .._errors import InputError
from .._formula import term_label
from .fitted import check_fit
from .glmm import GlmmFit
from .table import Table
from .update import reduced, term_key

if TYPE_CHECKING:
    from .fitted import MixedFit

FloatArray = NDArray[np.float64]

REFIT_NOTE = "refitting model(s) with ML (instead of REML)"


def lrtest(*fits: MixedFit) -> Table:
    """Likelihood-ratio tests of nested models, smallest first.

    REML fits are refitted by maximum likelihood where the fixed effects differ, and this is said. (R's
    ``lmtest::lrtest`` compares restricted likelihoods there, a number that changes when a covariate is expressed in
    other units; the note under the table shows it beside the valid one.)

    Parameters
    ----------
    fits
        Two or more models of the same response on the same rows.

    Returns
    -------
    One row per model: parameters, log likelihood, and the test against the row above.
    """
    for model in fits:
        check_fit(model, "lrtest")
    restricted = all(fit.reml for fit in fits) and _same_fixed(fits)
    table = compare(fits, refit=not restricted)
    frame = table.table[["npar", "logLik", "Df", "Chisq", "Pr(>Chisq)"]]
    return Table(frame, "Likelihood ratio test\n\n" + table.title.partition("\n")[2], table.notes)


def compare(fits: Sequence[MixedFit], *, refit: bool = True) -> Table:
    """The table of ``anova(m0, m1, ...)``."""
    if len(fits) < 2:
        raise InputError("a likelihood-ratio test compares two models or more; one was given")
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
                "these REML fits have different fixed effects: a restricted likelihood depends on X (its scale, its "
                "coding), so their ratio tests nothing. Leave refit=True, which compares them by maximum likelihood"
            )
        elif not all(fit.reml for fit in ordered):
            raise InputError("some of these models were fitted by REML and some by ML: leave refit=True")
    logliks = np.array([fit.loglik() for fit in used])
    frame = _comparison_frame(used, logliks)
    if refit and not same_fixed and all(fit.reml for fit in ordered):
        for i in range(1, len(ordered)):
            wrong = 2.0 * (ordered[i].loglik() - ordered[i - 1].loglik())
            notes.append(
                f"m{i} against m{i - 1}: Chisq {frame['Chisq'].iloc[i]:.4f} by ML; the restricted likelihoods would "
                f"have given {wrong:.4f}, which is no test: it changes with the units of the covariates"
            )
    if same_fixed and frame["Df"].iloc[1:].notna().any():
        notes.append(
            "a variance of zero lies on the boundary: the chi-square reference is conservative; see ranova() for the "
            "mixture and bootstrap_lrt() for a simulated reference"
        )
    models = "\n".join(f"m{i}: {fit.formula}" for i, fit in enumerate(ordered))
    return Table(frame, f"Models:\n{models}", tuple(notes))


def _comparison_frame(used: Sequence[MixedFit], logliks: FloatArray) -> pd.DataFrame:
    npar = np.array([fit.n_par for fit in used])
    df = np.diff(npar, prepend=npar[0]).astype(np.float64)
    chisq = np.maximum(2.0 * np.diff(logliks, prepend=logliks[0]), 0.0)
    # models of the same size are listed without a test
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


def drop1(fit: MixedFit, *, ddf: str | None = None) -> Table:
    """Drop each fixed-effects term that no other contains, one at a time.

    Parameters
    ----------
    fit
        The model.
    ddf
        Instead of likelihood ratios (by ML), F tests with these degrees of freedom for a linear model.

    Returns
    -------
    One row per term.
    """
    check_fit(fit, "drop1")
    formula = fit.prepared.design.formula
    terms = [term for term in formula.fixed_terms if term and fit.prepared.design.fixed.terms[term_label(term)]]
    droppable = [term for term in terms if not any(set(term) < set(other) for other in terms)]
    title = f"Single term deletions\n\nModel:\n{fit.formula}"
    if ddf is not None:
        from .anova import anova

        table = anova(fit, type="II", ddf=ddf)
        return Table(table.table.loc[[term_label(term) for term in droppable]], f"{title}\n{table.title}")
    base = fit.refit_ml()
    rows: dict[str, dict[str, float]] = {
        "<none>": {"npar": np.nan, "AIC": base.aic(), "LRT": np.nan, "Pr(Chi)": np.nan}
    }
    for term in droppable:
        small = reduced(base, [term_key(term)])
        lrt, df = max(2.0 * (base.loglik() - small.loglik()), 0.0), base.n_par - small.n_par
        p = float(stats.chi2.sf(lrt, df)) if df > 0 else np.nan
        rows[term_label(term)] = {"npar": df, "AIC": small.aic(), "LRT": lrt if df > 0 else np.nan, "Pr(Chi)": p}
    refused = untestable_terms(fit.prepared.design)
    notes = (*((REFIT_NOTE,) if fit.reml else ()), *(why for label, why in refused.items() if label in rows))
    return Table(pd.DataFrame.from_dict(rows, orient="index"), title, notes)


def _same_fixed(fits: Sequence[MixedFit]) -> bool:
    """Whether all models have the same fixed-effects matrix, column by column."""
    first = fits[0].prepared.design.fixed
    others = [fit.prepared.design.fixed for fit in fits[1:]]
    return all(o.X.shape == first.X.shape and np.array_equal(o.X, first.X) for o in others)


def _check_same_data(fits: Sequence[MixedFit]) -> None:
    first = fits[0]
    for fit in fits[1:]:
        if fit.family != first.family:
            raise InputError(f"the models are of different families, {first.family!r} and {fit.family!r}")
        if fit.nobs != first.nobs:
            raise InputError(
                f"the models use {first.nobs} and {fit.nobs} rows, so their likelihoods are of different data; missing "
                "values in a covariate of one of them? Drop these rows from the data first"
            )
        if not np.array_equal(fit.y, first.y):
            raise InputError("the models have different responses (or rows in another order): nothing can be compared")
        if not _equal(fit.weights, first.weights) or not np.array_equal(fit.prepared.offset, first.prepared.offset):
            raise InputError("the models have different weights or offsets: their likelihoods cannot be compared")
        if isinstance(fit, GlmmFit) and isinstance(first, GlmmFit) and fit.n_agq != first.n_agq:
            raise InputError(f"the models use n_agq={first.n_agq} and n_agq={fit.n_agq}: fit both with the same")
    ordered = sorted(fits, key=lambda fit: fit.n_par)
    for small, large in zip(ordered[:-1], ordered[1:], strict=True):
        if large.n_par == small.n_par:
            continue
        X0, X1 = small.prepared.design.fixed.X, large.prepared.design.fixed.X
        rest = X0 - X1 @ np.linalg.lstsq(X1, X0, rcond=None)[0]
        if np.abs(rest).max(initial=0.0) > 1e-7 * max(np.abs(X0).max(initial=0.0), 1e-300):
            raise InputError(
                f"the fixed effects of {small.formula!r} are no special case of those of {large.formula!r}: a "
                "likelihood-ratio test compares nested models; compare AIC instead"
            )


def _equal(a: FloatArray | None, b: FloatArray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
