"""Generalised linear mixed models on a data frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._display import warn_notes
from .._errors import InputError
from .._families.registry import FAMILIES
from .._fit.model import check_method
from .glmm import GlmmFit, fit_response
from .prepare import per_row, prepare

FloatArray = NDArray[np.float64]


def glmer(
    formula: str,
    data: pd.DataFrame,
    *,
    family: str,
    reml: bool = False,
    n_agq: int = 1,
    weights: Any = None,
    offset: Any = None,
    reference: Mapping[str, object] | None = None,
    na_action: Literal["drop", "raise"] = "drop",
) -> GlmmFit:
    """Fit a generalised linear mixed model by maximum likelihood, or restricted maximum likelihood.

    ``E y = g^-1(X beta + Z b + offset)`` with ``b ~ N(0, Lambda Lambda')``; g is the log for counts, the logit for
    trials.

    Parameters
    ----------
    formula
        In lme4's syntax. The response of a binomial model is 0 and 1, a share of successes with ``weights`` trials,
        or ``cbind(successes, failures)``.
    data
        One row per observation.
    family
        ``"poisson"``, ``"nb"`` (variance mu + phi mu^2, phi estimated) or ``"binomial"``.
    reml
        Integrate over the fixed effects as well (Laplace approximation; glmmTMB's ``REML = TRUE``), which takes the
        bias off variances that are estimated from few groups. As for linear models, such likelihoods compare no fixed
        effects.
    n_agq
        Nodes of adaptive Gauss-Hermite quadrature for a model with one scalar random effect; 1 is Laplace.
    weights
        Binomial only: number of trials of each row, a column of `data` or one number per row.
    offset
        Added to the linear predictor (natural log or logit scale): a column, or one number per row; beside
        ``offset(...)`` in the formula.
    reference
        Column -> level that the others are compared with.
    na_action
        ``"drop"`` rows with missing values (and say so), or ``"raise"`` an error.

    Returns
    -------
    The fitted model.

    Raises
    ------
    FormulaError, DesignError, InputError
        If the formula, the data or their combination cannot be used; the message says why and what to do.
    """
    _check_family(family, weights)
    binomial = family == "binomial"
    prepared = prepare(formula, data, offset=offset, reference=reference, na_action=na_action, split_offset=binomial)
    design = prepared.design
    check_method("reml" if reml else "ml", n_agq, design.random)
    values = design.response
    if values is None:
        raise InputError(f"the formula {formula!r} has no left side: write the response before '~'")
    if binomial:
        trials = None if weights is None else per_row("weights", weights, data, design)
        y, trials = _shares(values, trials, formula)
    else:
        y, trials = _counts(values, formula), None
    options = {
        "family": family,
        "reml": reml,
        "n_agq": n_agq,
        "weights": weights,
        "offset": offset,
        "reference": reference,
        "na_action": na_action,
    }
    fit = fit_response(prepared, data, y, trials, family, n_agq, options, reml)
    warn_notes(fit.notes)
    return fit


def _check_family(family: str, weights: Any) -> None:
    if family == "gaussian":
        raise InputError("family='gaussian': a linear mixed model is fitted by sc_glmm.lmer")
    allowed = [name for name in FAMILIES if name in ("poisson", "nb", "binomial")]
    if family not in allowed:
        raise InputError(f"family={family!r}: allowed are {', '.join(map(repr, allowed))}")
    if weights is not None and family != "binomial":
        raise InputError(
            f"weights with family={family!r}: only a binomial model has them (numbers of trials); for exposure use "
            "offset=log(exposure)"
        )


def _counts(values: FloatArray, formula: str) -> FloatArray:
    if values.ndim != 1:
        raise InputError(f"the left side of {formula!r} has several columns; counts have one")
    bad = np.flatnonzero(~np.isfinite(values) | (values < 0.0) | (values != np.round(values)))
    if len(bad):
        raise InputError(
            f"the response of {formula!r} is {values[bad[0]]:g} in row {bad[0]} of those used ({len(bad)} such rows); "
            "counts must be whole numbers from 0 on: use raw counts, or sc_glmm.lmer for measurements"
        )
    return np.ascontiguousarray(values, dtype=np.float64)


def _shares(values: FloatArray, trials: FloatArray | None, formula: str) -> tuple[FloatArray, FloatArray | None]:
    """Share of successes and trials of each row."""
    if values.ndim == 2:
        if trials is not None:
            raise InputError(f"{formula!r} has two columns on the left, so the trials are known: leave weights out")
        if values.shape[1] != 2:
            raise InputError(f"the left side of {formula!r} has {values.shape[1]} columns; two are needed")
        if not np.isfinite(values).all() or (values < 0.0).any() or (values != np.round(values)).any():
            raise InputError(f"successes and failures of {formula!r} must be whole numbers from 0 on")
        trials = np.ascontiguousarray(values.sum(axis=1))
        success = values[:, 0]
    else:
        if not np.isfinite(values).all() or (values < 0.0).any() or (values > 1.0).any():
            hint = "give cbind(successes, failures), or shares with weights=trials"
            raise InputError(f"the response of {formula!r} is not between 0 and 1 in every row: {hint}")
        success = values if trials is None else values * trials
        off = np.abs(success - np.round(success)) > 1e-3
        if off.any():
            i = int(np.flatnonzero(off)[0])
            raise InputError(
                f"row {i} of those used has {success[i]:g} successes (share {values[i]:g}); a share times its trials "
                "must be a whole number: pass the numbers of trials as weights"
            )
        success = np.round(success)
    if trials is None:
        return np.ascontiguousarray(success), None
    if (trials <= 0.0).any():
        i = int(np.flatnonzero(trials <= 0.0)[0])
        raise InputError(f"row {i} of those used has {trials[i]:g} trials; drop rows without trials")
    return np.ascontiguousarray(success / trials), trials
