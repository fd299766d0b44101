"""Read the response of a model, and check that its family allows the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import BoolArray, FloatArray
from .._errors import InputError


def read_measurements(values: FloatArray | None, formula: str) -> FloatArray:
    """Return the response, after checking that it has one finite number per row and varies."""
    if values is None or values.ndim != 1:
        raise InputError(f"the left side of {formula!r} has several columns; a linear mixed model needs one response")
    y = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(y).all():
        bad = int(np.flatnonzero(~np.isfinite(y))[0])
        raise InputError(f"the response of {formula!r} is {y[bad]} in row {bad} of the rows used: drop this row")
    if np.ptp(y) == 0.0:
        raise InputError(f"the response of {formula!r} is {y[0]:g} in every row, so there is nothing to model")
    return y


def read_counts(values: FloatArray, formula: str) -> FloatArray:
    """Return the response of a count model, after checking that it contains whole numbers of at least 0."""
    if values.ndim != 1:
        raise InputError(f"the left side of {formula!r} has several columns, but a model of counts needs one")
    bad = np.flatnonzero(~np.isfinite(values) | (values < 0.0) | (values != np.round(values)))
    if len(bad):
        raise InputError(
            f"the response of {formula!r} is {values[bad[0]]:g} in row {bad[0]} of the rows used ({len(bad)} such "
            "rows); counts must be whole numbers of at least 0: use raw counts, or sc_glmm.lmer for measurements"
        )
    return np.ascontiguousarray(values, dtype=np.float64)


def read_fractions(values: FloatArray, trials: FloatArray | None, formula: str) -> tuple[FloatArray, FloatArray | None]:
    """Return the fraction of successes and the number of trials of each row, after checking them."""
    if values.ndim == 2:
        if trials is not None:
            raise InputError(
                f"{formula!r} has two columns on the left, which contain the numbers of trials: omit weights="
            )
        if values.shape[1] != 2:
            raise InputError(
                f"the left side of {formula!r} has {values.shape[1]} columns; it must have two: "
                "cbind(successes, failures)"
            )
        if not np.isfinite(values).all() or (values < 0.0).any() or (values != np.round(values)).any():
            raise InputError(
                f"successes and failures of {formula!r} must be whole numbers of at least 0: check both columns"
            )
        trials = np.ascontiguousarray(values.sum(axis=1))
        success = values[:, 0]
    else:
        if not np.isfinite(values).all() or (values < 0.0).any() or (values > 1.0).any():
            hint = "use cbind(successes, failures), or fractions with weights=trials"
            raise InputError(f"the response of {formula!r} is not between 0 and 1 in every row: {hint}")
        success = values if trials is None else values * trials
        off = np.abs(success - np.round(success)) > 1e-3
        if off.any():
            i = int(np.flatnonzero(off)[0])
            raise InputError(
                f"row {i} of the rows used has {success[i]:g} successes (fraction {values[i]:g}); a fraction times its "
                "number of trials must be a whole number: pass the numbers of trials as weights="
            )
        success = np.round(success)
    if trials is None:
        return np.ascontiguousarray(success), None
    if (trials <= 0.0).any():
        i = int(np.flatnonzero(trials <= 0.0)[0])
        raise InputError(f"row {i} of the rows used has {trials[i]:g} trials: drop rows without trials")
    return np.ascontiguousarray(success / trials), trials


def new_response(y: Any, rows_used: BoolArray) -> FloatArray:
    """Convert a new response for :meth:`refit` to (n_obs,) finite numbers.

    Parameters
    ----------
    y
        One number for each row used, or for each row of the data.
    rows_used
        Mask of the rows used.
    """
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y contains {type(y).__name__}; it must contain one number for each row used") from error
    n_obs = int(rows_used.sum())
    if values.shape == (len(rows_used),) and len(rows_used) != n_obs:
        values = values[rows_used]
    if values.shape != (n_obs,):
        raise InputError(f"y has shape {values.shape}; it must contain {n_obs} numbers, one for each row used")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"y is {values[bad]} in row {bad} of the rows used; every row used needs a finite number")
    return np.ascontiguousarray(values)
