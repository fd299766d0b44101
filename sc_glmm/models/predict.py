"""Predict and simulate responses, with all, some or none of the random effects."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._design import ReTerm
from .._display.arguments import check_choice, check_count, check_flag, suggest
from .._errors import InputError
from .._formula import parse_formula
from .checks import accept_r_names, random_generator
from .fitted import MixedFit
from .scales import inverse_link
from .update import term_key


@accept_r_names
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
        Random effects to use. None: all. ``"NA"`` (or NaN) or ``"~0"``: none, as for a new level with average effects.
        A formula such as ``"~ (1 | plate)"``: these terms.
    type
        ``"link"`` (default, as in lme4): the linear predictor. ``"response"``: means of counts, or probabilities.
    allow_new_levels
        Whether to set the random effects of unknown levels to zero; otherwise they raise an error.
    offset
        Offset of `newdata`, if the model was fitted with ``offset=``: a column, or one number per row.

    Returns
    -------
    One prediction per row, on the index of the data.

    Raises
    ------
    InputError
        If a column is missing in `newdata`, or `newdata` have unknown levels.
    """
    check_choice("type", type, ("link", "response"))
    check_flag("allow_new_levels", allow_new_levels)
    if newdata is not None and not isinstance(newdata, pd.DataFrame):
        raise InputError(
            f"newdata is {newdata.__class__.__name__}; it must be a data frame with the columns of the formula"
        )
    if newdata is None and offset is not None:
        raise InputError("offset= is only for newdata, because the rows of the model have their own offset: omit it")
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
            has_level = codes >= 0
            modes = fit.term_modes(i)
            eta[has_level] += np.einsum("nk,nk->n", Zs[i][has_level], modes[codes[has_level]])
        index = newdata.index
    values = inverse_link(fit.family, eta) if type == "response" else eta
    return pd.Series(values, index=index, name="prediction")


def chosen_terms(fit: MixedFit, re_form: str | float | None) -> list[int]:
    """Return the numbers of the terms that `re_form` contains."""
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
    formula = parse_formula(text if "~" in text else f"~ {text}")
    if formula.response is not None or not formula.random:
        raise InputError(
            f"re_form={re_form!r} has no random effect: allowed are None, 'NA' and a formula such as '~ (1 | plate)'"
        )
    chosen = []
    for term in formula.random:
        same = [i for i, own in enumerate(random) if term_key(own.term) == term_key(term)]
        if not same:
            labels = ", ".join(own.label for own in random)
            raise InputError(f"re_form={re_form!r}: the model has no term {term.label}; its terms are {labels}")
        chosen += same
    return chosen


def new_codes(term: ReTerm, data: pd.DataFrame, allow_new_levels: bool) -> IntArray:
    """Return the level of each new row; -1 for unknown levels."""
    columns = term.term.columns
    missing = [name for name in columns if name not in data.columns]
    if missing:
        raise InputError(
            f"the new data have no column {', '.join(map(repr, missing))}, which {term.label} needs: add it, or use "
            "re_form='NA' (fixed effects only)"
        )
    codes = term.codes_at(data)
    if (codes < 0).any() and not allow_new_levels:
        new = data.loc[(codes < 0), list(columns)].drop_duplicates().head(5)
        unknown = ", ".join(":".join(map(str, row)) for row in new.itertuples(index=False))
        raise InputError(
            f"{term.group!r} has levels that are not in the model: {unknown}; use allow_new_levels=True to predict for "
            "an average level, or re_form='NA'"
        )
    return codes


def _new_offset(fit: MixedFit, data: pd.DataFrame, offset: Any) -> FloatArray:
    """Compute the offset of new rows: that of the formula plus the argument."""
    total = np.zeros(len(data))
    in_formula = fit.prepared.design.offset_at(data)
    if in_formula is not None:
        total += in_formula
    if offset is not None:
        if isinstance(offset, str) and offset not in data.columns:
            raise InputError(f"offset={offset!r} is not a column of newdata{suggest(offset, data.columns)}")
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
            "the model was fitted with offset=, so predict() needs the offset of the new rows: pass offset= (0 for one "
            "unit of exposure), or fit a model with offset(...) in the formula"
        )
    return total


@accept_r_names
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
        Seed or generator of the random numbers.
    re_form
        Random effects that keep their estimates; all others are drawn anew. ``"NA"`` (default, as in lme4): none.
        None: all. A formula: its terms.

    Returns
    -------
    (n_obs, nsim) numbers, counts, or fractions of successes, on the index of the data.

    Raises
    ------
    InputError
        If `nsim` or `re_form` has an invalid value.
    """
    check_count("nsim", nsim, 1, "it is the number of data sets")
    rng = random_generator(seed)
    draws = np.column_stack([draw(fit, rng, re_form) for _ in range(nsim)])
    names = [f"sim_{i + 1}" for i in range(nsim)]
    return pd.DataFrame(draws, index=fit.data.index[fit.prepared.design.rows_used], columns=names)


def draw(fit: MixedFit, rng: np.random.Generator, re_form: str | float | None = "NA") -> FloatArray:
    """Simulate one (n_obs,) response."""
    design = fit.prepared.design
    unchanged = chosen_terms(fit, re_form)
    eta = fit.fixed_part() + fit.random_part(unchanged)
    for place in fit.prepared.places:
        if place.term not in unchanged:
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
