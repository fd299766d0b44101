"""Compute the influence of each group of observations on the estimates, by exact refits without it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._arrays import BoolArray, IntArray
from .._design import group_levels
from .._errors import DesignError, InputError, ScGlmmWarning
from .fitted import MixedFit, check_fit
from .varcorr import is_correlation, variance_names, variance_values


@dataclass(frozen=True, eq=False)
class Influence:
    """Changes of a model when each group is left out.

    Attributes
    ----------
    group
        Grouping of the observations.
    whole
        Fixed effects from all observations.
    se
        Standard errors from all observations.
    estimates
        (n_groups, p) fixed effects without each group; NaN if the model cannot be fitted without the group.
    dfbetas
        (n_groups, p) change by the group, ``beta - beta_without``, divided by the standard error without the group.
    cooks_distance
        (n_groups,) squared length of this change in the metric of the covariance of the fixed effects, divided by p.
        Values of about one or more are large. lme4's distance is smaller by the factor ``(n_groups - p) / n_groups``.
    sd
        Standard deviations of the random effects (and sigma) without each group.
    n_obs
        Number of observations in each group.
    message
        Reason why the model cannot be fitted without the group; empty if it can.
    """

    group: str
    whole: pd.Series
    se: pd.Series
    estimates: pd.DataFrame
    dfbetas: pd.DataFrame
    cooks_distance: pd.Series
    sd: pd.DataFrame
    n_obs: pd.Series
    message: pd.Series

    def __repr__(self) -> str:
        top = self.cooks_distance.sort_values(ascending=False).head(3)
        named = ", ".join(f"{name} {value:.2g}" for name, value in top.items())
        return f"<Influence of {len(self.n_obs)} levels of {self.group!r}; largest Cook's distances: {named}>"


def influence(fit: MixedFit, group: str | None = None) -> Influence:
    """Fit the model again without each group of observations.

    Parameters
    ----------
    fit
        The model.
    group
        A grouping factor of the model, or any column of its data. Default: the grouping factor with the most levels.

    Returns
    -------
    The changes, one row per group.

    Raises
    ------
    InputError
        If there is no such group, or if it has only one level.
    """
    check_fit(fit, "influence")
    name, codes, levels = _groups(fit, group)
    if len(levels) < 2:
        raise InputError(f"group={name!r} has only one level, so no data would remain without it: use another group")
    names, p = list(fit.names), len(fit.beta)
    estimates, dfbetas = np.full((len(levels), p), np.nan), np.full((len(levels), p), np.nan)
    cooks, messages = np.full(len(levels), np.nan), [""] * len(levels)
    sds: list[dict[str, float]] = []
    # zero for an estimate that is infinite in the model itself
    variance = np.diagonal(fit.cov_beta)
    unit = np.divide(1.0, np.sqrt(variance), out=np.zeros(p), where=variance > 0.0)
    precision = np.linalg.pinv(fit.cov_beta * np.outer(unit, unit), hermitian=True) * np.outer(unit, unit)
    infinite = np.isinf(fit.fixef().to_numpy())
    for i in range(len(levels)):
        try:
            without = _refit(fit, codes != i)
        except (DesignError, InputError) as error:
            messages[i] = str(error)
            sds.append({})
            continue
        sds.append(_standard_deviations(without))
        if set(without.names) != set(names):
            missing = ", ".join(sorted(set(names) - set(without.names)))
            messages[i] = f"without this group, the effect {missing} does not exist"
            continue
        place = [without.names.index(one) for one in names]
        estimates[i] = without.fixef().to_numpy()[place]
        change = np.where(infinite, 0.0, fit.beta - estimates[i])
        dfbetas[i] = np.where(infinite, np.nan, change / without.bse.to_numpy()[place])
        if not np.isfinite(change).all():
            messages[i] = f"without this group, the model is separated: {without.notes[-1]}"
            continue
        cooks[i] = change @ precision @ change / (p - infinite.sum())
    index = pd.Index(levels, name=name)
    sd = pd.DataFrame(sds, index=index).reindex(columns=list(_standard_deviations(fit)))
    return Influence(
        group=name,
        whole=fit.fixef(),
        se=fit.bse,
        estimates=pd.DataFrame(estimates, index=index, columns=names),
        dfbetas=pd.DataFrame(dfbetas, index=index, columns=names),
        cooks_distance=pd.Series(cooks, index=index, name="cooks_distance"),
        sd=sd.astype(np.float64),
        n_obs=pd.Series(np.bincount(codes, minlength=len(levels)), index=index, name="n_obs"),
        message=pd.Series(messages, index=index, name="message"),
    )


def _groups(fit: MixedFit, group: str | None) -> tuple[str, IntArray, tuple[str, ...]]:
    """Return the name of the group, the level of each row used, and the names of the levels."""
    design = fit.prepared.design
    own = {term.group: term for term in design.random}
    name = fit.prepared.groupings[fit.prepared.places[0].block].name if group is None else group
    if not isinstance(name, Hashable):
        raise InputError(f"group={name!r} must be the name of a grouping factor or of a column of the data")
    if name in own:
        return name, own[name].codes, own[name].levels
    if name not in fit.data.columns:
        raise InputError(
            f"group={name!r} is neither a grouping factor of the model ({', '.join(own)}) nor a column of its data"
        )
    values = fit.data.loc[design.rows_used, name]
    if values.isna().any():
        raise InputError(f"group={name!r} has missing values in the rows used: fill them in")
    return name, *group_levels(values)


def _refit(fit: MixedFit, rows: BoolArray) -> MixedFit:
    """Fit the same formula to a subset of the rows used, with the same base levels."""
    make = fit.fitter
    design = fit.prepared.design
    options = {name: fit.options[name] for name in inspect.signature(make).parameters if name in fit.options}
    for name in ("weights", "offset"):
        value = options.get(name)
        if value is not None and not isinstance(value, str):
            values = np.asarray(value, dtype=np.float64)
            options[name] = (values[design.rows_used] if len(values) == len(design.rows_used) else values)[rows]
    bases = {name: factor.base for name, factor in design.fixed.factors.items() if factor.base is not None}
    options["reference"] = {**bases, **(options.get("reference") or {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        return make(fit.formula, fit.data.loc[design.rows_used].loc[rows], **options)


def _standard_deviations(fit: MixedFit) -> dict[str, float]:
    parameters = zip(variance_names(fit), variance_values(fit), is_correlation(fit), strict=True)
    return {name: float(value) for name, value, correlation in parameters if not correlation}
