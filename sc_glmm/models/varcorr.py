"""Compute variances, standard deviations and correlations of the random effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray
from .fitted import MixedFit


@dataclass(frozen=True)
class TermVariance:
    """The covariance of one random-effects term.

    Attributes
    ----------
    group
        Grouping factor, numbered if it has several terms.
    names
        Names of the k effects.
    cov
        (k, k) covariance.
    sd
        (k,) standard deviations.
    corr
        (k, k) correlations; NaN if one of the variances is zero.
    """

    group: str
    names: tuple[str, ...]
    cov: FloatArray
    sd: FloatArray
    corr: FloatArray


def term_variances(fit: MixedFit) -> list[TermVariance]:
    """Compute the covariances of all terms, in lme4's order."""
    out = []
    for place in fit.prepared.places:
        lam = fit.term_lambda(place)
        cov = lam @ lam.T
        sd = np.sqrt(np.diagonal(cov))
        with np.errstate(invalid="ignore", divide="ignore"):
            corr = np.clip(cov / np.outer(sd, sd), -1.0, 1.0)
        np.fill_diagonal(corr, 1.0)
        out.append(TermVariance(place.name, fit.term_names(place), cov, sd, corr))
    return out


def varcorr(fit: MixedFit) -> pd.DataFrame:
    """Get the variances, standard deviations and correlations of the random effects.

    Parameters
    ----------
    fit
        The model.

    Returns
    -------
    A data frame with the columns of lme4: ``grp, var1, var2, vcov, sdcor``. Each group has its variances first, then
    its covariances; the residual variance is the last row. For a variance, ``var2`` is None and ``sdcor`` is a standard
    deviation. For a covariance, ``sdcor`` is a correlation.
    """
    rows: list[tuple[str, str | None, str | None, float, float]] = []
    for term in term_variances(fit):
        for i, name in enumerate(term.names):
            rows.append((term.group, name, None, float(term.cov[i, i]), float(term.sd[i])))
        for j in range(len(term.names)):
            for i in range(j + 1, len(term.names)):
                rows.append((term.group, term.names[j], term.names[i], float(term.cov[i, j]), float(term.corr[i, j])))
    if fit.family == "gaussian":
        rows.append(("Residual", None, None, fit.sigma**2, fit.sigma))
    return pd.DataFrame(rows, columns=["grp", "var1", "var2", "vcov", "sdcor"])


def variance_names(fit: MixedFit) -> list[str]:
    """List the names of the variance parameters: ``sd_Days|Subject``, ``cor_Days.Intercept|Subject``, ``sigma``."""
    names = []
    for term in term_variances(fit):
        for c in range(len(term.names)):
            for r in range(c, len(term.names)):
                one = f"sd_{term.names[c]}" if r == c else f"cor_{term.names[r]}.{term.names[c]}"
                names.append(f"{one}|{term.group}")
    return [*names, "sigma"] if fit.family == "gaussian" else names


def is_correlation(fit: MixedFit) -> BoolArray:
    """Return an (n,) mask of the variance parameters that are correlations, in the order of :func:`variance_names`."""
    ks = [len(term.names) for term in term_variances(fit)]
    kinds = [r != c for k in ks for c in range(k) for r in range(c, k)]
    return np.array([*kinds, False] if fit.family == "gaussian" else kinds, dtype=bool)


def variance_values(fit: MixedFit) -> FloatArray:
    """Return standard deviations and correlations in the order of :func:`variance_names`."""
    values = []
    for term in term_variances(fit):
        k = len(term.names)
        values += [term.sd[c] if r == c else term.corr[r, c] for c in range(k) for r in range(c, k)]
    return np.array([*values, fit.sigma] if fit.family == "gaussian" else values)
