"""Compute confidence intervals: Wald, profile likelihood, or parametric bootstrap."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from .._arrays import FloatArray
from .._design import estimable_alone
from .._display.arguments import check_choice, check_count, check_level
from .._errors import InputError
from .._parallel.blas import one_blas_thread
from .checks import accept_r_names, random_generator
from .fitted import MixedFit
from .glmm import GlmmModel
from .lmm import LmmModel
from .predict import draw
from .profile import profile_fixed, profile_variances
from .profile_glmm import profile_glmm
from .varcorr import variance_names, variance_values
from .wald import ddf_method, single_tests

_FAR = 1e200


@accept_r_names
def confint(
    fit: MixedFit,
    *,
    method: Literal["wald", "profile", "boot"] = "profile",
    level: float = 0.95,
    ddf: str | None = "asymptotic",
    nsim: int = 500,
    seed: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Compute confidence intervals of all parameters.

    Parameters
    ----------
    fit
        The model. For a REML fit, the profiles are those of the ML fit, as in lme4.
    method
        ``"profile"``: the values at which the deviance exceeds its minimum by the chi-squared quantile. ``"wald"``:
        estimate plus and minus a multiple of the standard error; NaN for variances, whose estimates are far from
        normal. ``"boot"``: percentiles of refits to simulated data.
    level
        Coverage of the intervals.
    ddf
        Wald only: degrees of freedom of the fixed effects. Default: the normal distribution, as in lme4.
    nsim, seed
        Bootstrap only: number of simulated data sets, and seed or generator of the random numbers.

    Returns
    -------
    One row for each standard deviation and correlation of the random effects, for sigma, and for each fixed effect;
    columns ``low, high``. At the end of the range, limits are 0 for a standard deviation and -1 or 1 for a correlation.
    Fixed effects that are confounded with a dropped column have NaN.

    Raises
    ------
    InputError
        If an option has an invalid value, or if fewer than nine in ten simulated responses could be fitted.
    """
    check_level("level", level)
    names = [*variance_names(fit), *fit.names]
    kind = method.lower() if isinstance(method, str) else method  # R writes "Wald"
    check_choice("method", kind, ("profile", "wald", "boot"))
    if kind == "wald":
        bounds = np.vstack([np.full((len(names) - len(fit.names), 2), np.nan), _wald(fit, level, ddf)])
    elif kind == "profile":
        with one_blas_thread():
            bounds = _profile(fit, level)
    else:
        with one_blas_thread():
            bounds = _bootstrap(fit, level, nsim, seed)
    # coefficients that are confounded with a dropped column have no interval of their own
    bounds[len(bounds) - len(fit.beta) :][~estimable_alone(fit.prepared.design.fixed)] = np.nan
    return pd.DataFrame(bounds, index=names, columns=["low", "high"])


def _wald(fit: MixedFit, level: float, ddf: str | None) -> FloatArray:
    tests = single_tests(fit, np.eye(len(fit.beta)), ddf_method(fit, ddf))
    df = tests["df"].to_numpy()
    quantile = np.where(np.isinf(df), stats.norm.ppf(0.5 + level / 2), stats.t.ppf(0.5 + level / 2, df))
    half = quantile * tests["se"].to_numpy()
    return np.column_stack([fit.beta - half, fit.beta + half])  # NaN if the standard error is NaN


def _profile(fit: MixedFit, level: float) -> FloatArray:
    cutoff = float(stats.chi2.ppf(level, 1))
    best = fit.refit_ml()
    if isinstance(best, LmmModel):
        return np.vstack([profile_variances(best, cutoff), profile_fixed(best, cutoff)])
    if not isinstance(best, GlmmModel):
        raise InputError(f"profiles are defined for fitted mixed models, not for {type(fit).__name__}")
    return profile_glmm(best, cutoff)


def _bootstrap(fit: MixedFit, level: float, nsim: int, seed: int | np.random.Generator | None) -> FloatArray:
    check_count("nsim", nsim, 10, "percentiles need many simulations, such as 500")
    rng = random_generator(seed)
    draws = []
    for _ in range(nsim):
        try:
            again = fit.refit(draw(fit, rng))
        except InputError:  # a simulated response that cannot be fitted, such as all zeros
            continue
        draws.append(np.concatenate([variance_values(again), again.fixef()]))
    if len(draws) < 0.9 * nsim:
        raise InputError(f"only {len(draws)} of {nsim} simulated responses could be fitted: use method='profile'")
    ends = [0.5 - level / 2, 0.5 + level / 2]
    # infinite estimates of separated draws count as larger than all others
    values = np.nan_to_num(np.array(draws), nan=np.nan, posinf=_FAR, neginf=-_FAR)
    bounds = np.nanquantile(values, ends, axis=0).T
    bounds = np.where(np.abs(bounds) > 1e-6 * _FAR, np.sign(bounds) * np.inf, bounds)
    # an estimate that is infinite in the model is infinite in all data simulated from it
    bounds[len(bounds) - len(fit.beta) :][fit.infinite(np.eye(len(fit.beta))) != 0.0] = np.nan
    return bounds
