"""Test fixed effects by Wald tests: t and F with a choice of degrees of freedom, z and chi-squared for GLMMs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .._arrays import FloatArray
from .._design import build_contrasts, estimable_alone, residual_df, untestable_terms
from .._display import warn_notes
from .._display.arguments import check_choice
from .._errors import DesignError, InputError
from .._inference.ddf import kenward_roger, satterthwaite
from .fitted import MixedFit
from .lmm import LmmModel

METHODS = {
    "satterthwaite": "Satterthwaite's",
    "kenward-roger": "Kenward-Roger's",
    "between-within": "between-within",
    "asymptotic": "asymptotic",
}
_SHORT = {"kr": "kenward-roger", "z": "asymptotic", "bw": "between-within"}


@dataclass(frozen=True)
class JointTest:
    """Result of an F test of ``L beta = 0``; `ddf` is infinite for a chi-squared test."""

    stat: float
    ndf: int
    ddf: float
    p_value: float


def ddf_method(fit: MixedFit, ddf: str | None) -> str:
    """Return the full name of the method; by default Satterthwaite for Gaussian models, asymptotic for others."""
    if ddf is None:
        return "satterthwaite" if isinstance(fit, LmmModel) else "asymptotic"
    name = _SHORT.get(ddf.lower(), ddf.lower()) if isinstance(ddf, str) else ""
    if name not in METHODS:
        check_choice("ddf", ddf, (*METHODS, *_SHORT))
    if name in ("satterthwaite", "kenward-roger") and not isinstance(fit, LmmModel):
        raise InputError(
            f"ddf={ddf!r} needs a linear mixed model; for counts and trials, use 'asymptotic' or, with few groups, "
            "'between-within' or a bootstrap (bootstrap_lrt)"
        )
    return name


def single_tests(fit: MixedFit, L: FloatArray, ddf: str | None = None) -> pd.DataFrame:
    """Test each row of (k, p) `L`; return ``estimate, se, df, stat, p_value``."""
    method = ddf_method(fit, ddf)
    L = np.atleast_2d(L)
    cov = fit.kenward_roger_parts.adjusted if isinstance(fit, LmmModel) and method == "kenward-roger" else fit.cov_beta
    estimate = fit.estimate(L)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.where(fit.infinite(L) == 0.0, np.sqrt(np.einsum("kp,pq,kq->k", L, cov, L)), np.nan)
        stat = estimate / se
    df = np.array([_one_df(fit, row, method) for row in L])
    p = 2.0 * np.where(
        np.isinf(df), stats.norm.sf(np.abs(stat)), stats.t.sf(np.abs(stat), np.where(df > 0, df, np.nan))
    )
    return pd.DataFrame({"estimate": estimate, "se": se, "df": df, "stat": stat, "p_value": p})


def coefficient_tests(fit: MixedFit, ddf: str | None = None) -> pd.DataFrame:
    """Test each coefficient; NaN for coefficients that are confounded with a dropped column."""
    tests = single_tests(fit, np.eye(len(fit.beta)), ddf)
    tests.loc[~estimable_alone(fit.prepared.design.fixed)] = np.nan
    return tests


def joint_test(fit: MixedFit, L: FloatArray, ddf: str | None = None) -> JointTest:
    """Test all rows of (k, p) `L` jointly; NaN if one of them is infinite."""
    method = ddf_method(fit, ddf)
    if (fit.infinite(L) != 0.0).any():
        return JointTest(np.nan, len(L), np.inf, np.nan)
    cov, scale, df = fit.cov_beta, 1.0, np.inf
    if isinstance(fit, LmmModel) and method == "kenward-roger":
        parts = fit.kenward_roger_parts
        cov = parts.adjusted
        df, scale = kenward_roger(L, parts)
    elif isinstance(fit, LmmModel) and method == "satterthwaite":
        df = satterthwaite(L, fit.satterthwaite_parts)[1]
    elif method == "between-within":
        df = _between_within(fit, L)
    estimate = L @ fit.beta
    q = len(L)
    F = scale * float(estimate @ np.linalg.solve(L @ cov @ L.T, estimate)) / q
    p = float(stats.chi2.sf(F * q, q) if np.isinf(df) else stats.f.sf(F, q, df))
    return JointTest(F, q, float(df), p)


def contrast(fit: MixedFit, contrasts: Any = None, *, ddf: str | None = None) -> pd.DataFrame:
    """Test contrasts of the fixed effects.

    Parameters
    ----------
    fit
        The model.
    contrasts
        A term, a column, a triple ``(factor, level, base)``, an array of weights, or a list or dictionary of these.
        Default: one contrast per term. Terms that cannot be estimated are left out, with a warning.
    ddf
        Method for the degrees of freedom: ``"satterthwaite"`` (default for linear models), ``"kenward-roger"`` (or
        ``"kr"``), ``"between-within"``, or ``"asymptotic"`` (default for counts and trials).

    Returns
    -------
    One row per contrast: label, estimate and standard error (contrasts with one row), degrees of freedom, t or F,
    p-value.

    Raises
    ------
    InputError
        If a contrast cannot be parsed, or if it cannot be estimated.
    """
    rows: dict[str, dict[str, Any]] = {}
    result = build_contrasts(fit.prepared.design, contrasts)
    if contrasts is None:
        warn_notes(f"not tested: {reason}" for reason in untestable_terms(fit.prepared.design).values())
    for one in result:
        if len(one.L) == 1:
            line = {str(k): v for k, v in single_tests(fit, one.L, ddf).iloc[0].items()}
            rows[one.name] = {"words": one.words, "ndf": 1, **line}
        else:
            joint = joint_test(fit, one.L, ddf)
            rows[one.name] = {
                "words": one.words,
                "ndf": joint.ndf,
                "estimate": np.nan,
                "se": np.nan,
                "df": joint.ddf,
                "stat": joint.stat,
                "p_value": joint.p_value,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def _one_df(fit: MixedFit, row: FloatArray, method: str) -> float:
    if not np.any(row):
        return np.nan
    if isinstance(fit, LmmModel) and method == "satterthwaite":
        return float(satterthwaite(row[None, :], fit.satterthwaite_parts)[0][0])
    if isinstance(fit, LmmModel) and method == "kenward-roger":
        return kenward_roger(row[None, :], fit.kenward_roger_parts)[0]
    return _between_within(fit, row[None, :]) if method == "between-within" else np.inf


def _between_within(fit: MixedFit, L: FloatArray) -> float:
    design = fit.prepared.design
    df = residual_df(L, design.fixed.X, design.random)
    if df < 1.0:
        raise DesignError(
            "the contrast is confounded with a grouping factor, so its test has no degrees of freedom: use another "
            "contrast, or a random effect with more levels"
        )
    return df
