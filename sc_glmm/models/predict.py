"""Predict and simulate responses, with all, some or none of the random effects."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._design import ReTerm
from .._errors import InputError
from .._formula import parse_formula
from .checks import check_choice, check_count, check_flag, random_generator
from .fitted import MixedFit
from .scales import inverse_link
from .update import term_key


def predict(
    fit: MixedFit,
    newdata: pd.DataFrame | None = None,
    *,
    re_form: str | float | None = None,
    type: Literal["link", "response"] = "link",
    allow_new_levels: bool = False,
    offset: Any = None,
) -> pd.Series:
    """Predict the linear predictor or the mean, for the data or for new data.

    Parameters
    ----------
    fit
        The model.
    newdata
        Columns of the formula, without the response. Default: the rows used in the fit.
    re_form
        None: conditional on all random effects; ``"NA"`` (or NaN) or ``"~0"``: fixed effects only (a new, average
        level); a formula such as ``"~ (1 | plate)"``: conditional on these terms.
    type
        ``"link"`` (default, as in lme4) or ``"response"``: means of counts, probabilities.
    allow_new_levels
        Whether to set the random effects of unknown levels to zero; otherwise they raise an error.
    offset
        For `newdata`, if the model was fitted with ``offset=``: a column, or one number per row.

    Returns
    -------
    One prediction per row, on the index of the data.

    Raises
    ------
    InputError
        If `newdata` lacks a column, or has unknown levels.
    """
    check_choice("type", type, ("link", "response"))
    check_flag("allow_new_levels", allow_new_levels)
    if newdata is not None and not isinstance(newdata, pd.DataFrame):
        raise InputError(
            f"newdata is {newdata.__class__.__name__}; it must be a data frame with the columns of the formula"
        )
    if newdata is None and offset is not None:
        raise InputError("offset= is only for newdata; the rows of the model have their own offset")
    design = fit.prepared.design
    chosen = chosen_terms(fit, re_form)
    if newdata is None:
        eta = fit.fixed_part() + fit.random_part(chosen)
        index = fit.data.index[design.rows_used]
    else:
        X, Zs = design.at(newdata)
        eta = fit.estimate(X) + _new_offset(fit, newdata, offset)
        for i in chosen:
            codes = new_codes(design.random[i], newdata, allow_new_levels)
            known = codes >= 0
            modes = fit.term_modes(i)
            eta[known] += np.einsum("nk,nk->n", Zs[i][known], modes[codes[known]])
        index = newdata.index
    values = inverse_link(fit.family, eta) if type == "response" else eta
    return pd.Series(values, index=index, name="prediction")


def chosen_terms(fit: MixedFit, re_form: str | float | None) -> list[int]:
    """Numbers of the terms in `re_form`."""
    random = fit.prepared.design.random
    if re_form is None:
        return list(range(len(random)))
    if isinstance(re_form, float) and np.isnan(re_form):  # R's NA in Python
        return []
    if not isinstance(re_form, str):
        raise InputError(f"re_form={re_form!r}: allowed are None, 'NA' and a formula such as '~ (1 | plate)'")
    text = re_form.strip()
    if "".join(text.split()) in ("NA", "~0", "0", "~-1"):
        return []
    asked = parse_formula(text if "~" in text else f"~ {text}")
    if asked.response is not None or not asked.random:
        raise InputError(
            f"re_form={re_form!r} has no random effect: allowed are None, 'NA' and a formula such as '~ (1 | plate)'"
        )
    found = []
    for term in asked.random:
        same = [i for i, own in enumerate(random) if term_key(own.term) == term_key(term)]
        if not same:
            known = ", ".join(own.label for own in random)
            raise InputError(f"re_form={re_form!r}: the model has no term {term.label}; its terms are {known}")
        found += same
    return found


def new_codes(term: ReTerm, data: pd.DataFrame, allow_new_levels: bool) -> IntArray:
    """Level of each new row; -1 for unknown levels."""
    columns = term.term.columns
    missing = [name for name in columns if name not in data.columns]
    if missing:
        raise InputError(
            f"the new data lack {', '.join(map(repr, missing))}, the grouping of {term.label}: add it, or predict "
            "with re_form='NA' (fixed effects only)"
        )
    codes = term.codes_at(data)
    if (codes < 0).any() and not allow_new_levels:
        new = data.loc[(codes < 0), list(columns)].drop_duplicates().head(5)
        unknown = ", ".join(":".join(map(str, row)) for row in new.itertuples(index=False))
        raise InputError(
            f"{term.group!r} has new levels: {unknown}; use allow_new_levels=True to predict for an average level, "
            "or re_form='NA'"
        )
    return codes


def _new_offset(fit: MixedFit, data: pd.DataFrame, offset: Any) -> FloatArray:
    total = np.zeros(len(data))
    inside = fit.prepared.design.offset_at(data)
    if inside is not None:
        total += inside
    if offset is not None:
        if isinstance(offset, str) and offset not in data.columns:
            raise InputError(f"offset={offset!r} is not a column of newdata; its columns are {list(data.columns)[:12]}")
        try:
            values = np.asarray(data[offset] if isinstance(offset, str) else offset, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("offset must contain numbers, one for each row of newdata") from error
        if values.ndim == 0:
            values = np.full(len(data), float(values))
        if values.shape != (len(data),):
            raise InputError(
                f"offset has shape {values.shape}; it must contain one number for each of the {len(data)} rows"
            )
        return total + values
    if fit.prepared.offset_arg is not None:
        raise InputError(
            "the model was fitted with offset=...: pass the offset of the new rows to predict (zeros for a unit of "
            "exposure), or write it into the formula as offset(...)"
        )
    return total


def simulate(
    fit: MixedFit,
    nsim: int = 1,
    *,
    seed: int | np.random.Generator | None = None,
    re_form: str | float | None = "NA",
) -> pd.DataFrame:
    """Simulate new responses from the model.

    Parameters
    ----------
    fit
        The model.
    nsim
        Number of data sets.
    seed
        Seed or generator.
    re_form
        ``"NA"`` (default, as in lme4): new random effects are drawn; None: all stay at their conditional modes; a
        formula: those of its terms stay, the others are drawn.

    Returns
    -------
    ``nobs`` x `nsim`, on the index of the data: numbers, counts, or fractions of successes.

    Raises
    ------
    InputError
        If `nsim` or `re_form` has an invalid value.
    """
    check_count("nsim", nsim, 1, "use at least one data set")
    rng = random_generator(seed)
    draws = np.column_stack([draw(fit, rng, re_form) for _ in range(nsim)])
    names = [f"sim_{i + 1}" for i in range(nsim)]
    return pd.DataFrame(draws, index=fit.data.index[fit.prepared.design.rows_used], columns=names)


def draw(fit: MixedFit, rng: np.random.Generator, re_form: str | float | None = "NA") -> FloatArray:
    """``(nobs,)`` one simulated response."""
    design = fit.prepared.design
    stay = chosen_terms(fit, re_form)
    eta = fit.fixed_part() + fit.random_part(stay)
    for place in fit.prepared.places:
        if place.term not in stay:
            term = design.random[place.term]
            b = rng.standard_normal((len(term.levels), term.Z.shape[1])) @ fit.term_lambda(place).T
            eta += np.einsum("nk,nk->n", term.Z, b[term.codes])
    mu = inverse_link(fit.family, eta)
    if fit.family == "gaussian":
        w = 1.0 if fit.weights is None else fit.weights
        return mu + fit.sigma / np.sqrt(w) * rng.standard_normal(fit.nobs)
    if fit.family == "binomial":
        trials = np.ones(fit.nobs) if fit.weights is None else fit.weights
        return rng.binomial(np.round(trials).astype(np.int64), mu) / trials
    if fit.family == "nb":
        phi = max(float(getattr(fit, "dispersion", 0.0)), 1e-12)
        mu = mu * rng.gamma(1.0 / phi, phi, fit.nobs)
    return rng.poisson(np.minimum(mu, 1e15)).astype(np.float64)
