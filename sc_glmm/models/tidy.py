"""Make tidy data frames as broom.mixed does: one row per parameter, per model, or per observation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from .._display.arguments import check_level
from .fitted import MixedFit
from .predict import predict
from .varcorr import varcorr
from .wald import coefficient_tests


def tidy(fit: MixedFit, *, ddf: str | None = None, conf_level: float | None = None) -> pd.DataFrame:
    """Get one row per parameter.

    Parameters
    ----------
    fit
        The model.
    ddf
        Degrees of freedom of the fixed effects; see :meth:`~sc_glmm.models.LmmFit.contrast`.
    conf_level
        Level of additional Wald intervals for the fixed effects.

    Returns
    -------
    ``effect`` (fixed or ran_pars), ``group``, ``term``, ``estimate`` (standard deviations and correlations for random
    effects), ``se, df, stat, p_value``; NaN for a fixed effect that is confounded with a dropped column.

    Raises
    ------
    InputError
        If an option has an invalid value.
    """
    fixed = coefficient_tests(fit, ddf)
    fixed.insert(0, "effect", "fixed")
    fixed.insert(1, "group", None)
    fixed.insert(2, "term", list(fit.names))
    if conf_level is not None:
        check_level("conf_level", conf_level)
        df = fixed["df"].to_numpy()
        quantile = np.where(np.isinf(df), stats.norm.ppf(0.5 + conf_level / 2), stats.t.ppf(0.5 + conf_level / 2, df))
        fixed["conf_low"] = fixed["estimate"] - quantile * fixed["se"]
        fixed["conf_high"] = fixed["estimate"] + quantile * fixed["se"]
    rows = []
    for grp, var1, var2, _, value in varcorr(fit).itertuples(index=False):
        if pd.isna(var1):
            name = "sd__Observation"
        else:
            name = f"sd__{var1}" if pd.isna(var2) else f"cor__{var1}.{var2}"
        rows.append({"effect": "ran_pars", "group": grp, "term": name, "estimate": value})
    return pd.concat([fixed, pd.DataFrame(rows)], ignore_index=True)


def glance(fit: MixedFit) -> pd.DataFrame:
    """Get one row per model: ``nobs, sigma, loglik, aic, bic, criterion, df_resid, converged, singular``.

    Parameters
    ----------
    fit
        The model.

    Returns
    -------
    A data frame with one row. ``criterion`` is -2 times the log likelihood that was maximised.
    """
    return pd.DataFrame(
        [
            {
                "nobs": fit.nobs,
                "sigma": fit.sigma,
                "loglik": fit.loglik(),
                "aic": fit.aic(),
                "bic": fit.bic(),
                "criterion": -2.0 * fit.loglik(),
                "df_resid": fit.df_resid,
                "converged": fit.converged,
                "singular": fit.is_singular(),
            }
        ]
    )


def augment(fit: MixedFit) -> pd.DataFrame:
    """Get one row per observation, with fitted values and residuals.

    Parameters
    ----------
    fit
        The model.

    Returns
    -------
    The rows of the data that were used, with ``fitted`` (conditional mean), ``fixed`` (mean without random effects) and
    ``resid``.
    """
    out = fit.data.loc[fit.prepared.design.rows_used].copy()
    out["fitted"] = fit.fitted()
    out["fixed"] = predict(fit, re_form="NA", type="response").to_numpy()
    out["resid"] = fit.residuals()
    return out
