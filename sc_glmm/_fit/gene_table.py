"""Build a table with one row per gene: status, mean, dispersion, standard deviations and coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray, IntArray, ObjectArray
from .._design import estimable_alone, finest
from .._engine.genes import GeneFits
from .._results import sd_name
from .genes import TRUSTED, AllFits, GeneModel, categorical_status, gene_status, singular_genes
from .moderated import Moderation, variance_interval, variance_tests
from .totals import GeneTotals

# Columns with fixed names; the other names depend on the columns and groups of the run.
FACTS = (
    ("status", "message", "converged", "singular", "separated", "n_iter", "mean", "pct", "baseMean", "total", "loglik")
    + ("dispersion", "log_dispersion_se", "dispersion_at_bound", "phi_from_trend", "n_agq", "information")
    + ("more_variable",)
)


@dataclass(frozen=True)
class GeneTable:
    """Table with one row per gene, and the names of its columns with estimates.

    Attributes
    ----------
    frame
        The table.
    coef
        Names of the columns of the fixed effects.
    sd, corr
        Per random term, the names of the columns of its standard deviations and of its correlations. Correlations are
        those of the lower triangle, row by row.
    """

    frame: pd.DataFrame
    coef: tuple[str, ...]
    sd: tuple[tuple[str, ...], ...]
    corr: tuple[tuple[str, ...], ...]


def gene_table(
    model: GeneModel, totals: GeneTotals, result: AllFits, genes: pd.Index, moderation: Moderation | None = None
) -> GeneTable:
    """Describe the fit of every gene, in the order of the matrix.

    Columns: status, message, flags (singular, separated, converged, phi_at_bound), n_iter, mean and baseMean (mean
    response per cell), pct (share of cells with a response other than zero, in percent), total, loglik, dispersion,
    `sd_<group>` (standard deviations of the random effects; `sd_<group>_<column>` for several columns,
    `corr_<group>_<a>_<b>`), `extreme_<group>` and `extreme_<group>_z` (the sample farthest from the others, in standard
    deviations), `n_empty_<group>` (samples without a count), `coef_<name>` and `se_<name>` for every fixed
    effect (natural log).
    """
    fits, status = result.fits, gene_status(model, result)
    n_cells = float(len(model.design.fixed.X))
    separated = np.zeros(len(status), dtype=bool)
    separated[list(result.separations)] = True
    fitted = np.isin(status, (*TRUSTED, "separated", "not_converged"))
    columns: dict[str, object] = {
        "status": categorical_status(status),
        "message": _messages(status, result),
        "converged": fits.status == 0,
        "singular": singular_genes(model, fits),
        "separated": separated,
        "n_iter": fits.n_iter,
        "mean": totals.raw_total / n_cells,
        "pct": 100.0 * totals.n_nonzero / n_cells,
        "baseMean": totals.raw_total / n_cells,
        "total": totals.raw_total,
        "loglik": fits.loglik,
    }
    if model.family.has_dispersion:
        low, high = model.family.log_dispersion_bounds
        columns["dispersion"] = np.exp(fits.log_dispersion)
        columns["log_dispersion_se"] = fits.log_dispersion_se
        with np.errstate(invalid="ignore"):
            columns["dispersion_at_bound"] = (fits.log_dispersion <= low) | (fits.log_dispersion >= high)
    sd_of: dict[tuple[str, int], str] = {}
    corr_of: dict[tuple[str, int, int], str] = {}
    for grouping, lam in zip(model.groupings, fits.Lambda, strict=True):
        cov = lam @ np.swapaxes(lam, 1, 2)
        sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
        names = grouping.columns
        for i, name in enumerate(names):
            own = f"sd_{grouping.name}" if len(names) == 1 else f"sd_{grouping.name}_{name}"
            sd_of[grouping.name, i] = _free(columns, own)
            columns[sd_of[grouping.name, i]] = sd[:, i]
            for j in range(i):
                with np.errstate(invalid="ignore", divide="ignore"):
                    correlation = cov[:, i, j] / (sd[:, i] * sd[:, j])
                corr_of[grouping.name, i, j] = _free(columns, f"corr_{grouping.name}_{names[j]}_{name}")
                columns[corr_of[grouping.name, i, j]] = correlation
    level, z = _extreme(model, fits)
    samples = model.groupings[finest(model.groupings)].name
    columns[_free(columns, f"extreme_{samples}")] = level
    columns[_free(columns, f"extreme_{samples}_z")] = z
    if model.family.counts:
        columns[_free(columns, f"n_empty_{samples}")] = totals.n_empty
    if moderation is not None:
        if model.family.has_dispersion:
            columns["dispersion"] = np.exp(moderation.log_dispersion)
            columns["phi_from_trend"] = moderation.phi_from_trend
        columns["n_agq"] = moderation.n_agq
        information = np.where(fitted, moderation.information, np.nan)
        columns["information"] = information
        if moderation.grid.names == (model.groupings[0].name,):
            signal = moderation.variance_mean[:, 0] * information
            columns[_free(columns, f"share_{sd_name(moderation.grid.names[0])}")] = signal / (1.0 + signal)
        columns["more_variable"] = moderation.surprising
        p_variances = variance_tests(model, moderation)
        for k, name in enumerate(moderation.grid.names):
            columns[_free(columns, f"p_sd_{sd_name(name)}")] = p_variances[k]
            column = _free(columns, f"sd_{sd_name(name)}_eb")
            columns[column] = np.sqrt(moderation.variance_mean[:, k])
            low_sd, high_sd = (np.sqrt(limit) for limit in variance_interval(moderation, k))
            columns[f"{column}_low"], columns[f"{column}_high"] = low_sd, high_sd
    beta, se = _determined(fits, result, fitted)
    beta[:, ~estimable_alone(model.design.fixed)] = np.nan
    se[:, ~estimable_alone(model.design.fixed)] = np.nan
    coef = []
    for j, name in enumerate(model.design.fixed.names):
        coef.append(_free(columns, f"coef_{name}"))
        columns[coef[-1]] = beta[:, j]
        columns[_free(columns, f"se_{name}")] = se[:, j]
    sd_names, corr_names = [], []
    first = dict.fromkeys((grouping.name for grouping in model.groupings), 0)
    for term in model.design.random:
        places = range(first[term.group], first[term.group] + len(term.names))
        first[term.group] = places.stop
        sd_names.append(tuple(sd_of[term.group, i] for i in places))
        corr_names.append(tuple(corr_of[term.group, i, j] for i in places for j in places if j < i))
    return GeneTable(pd.DataFrame(columns, index=genes), tuple(coef), tuple(sd_names), tuple(corr_names))


def _extreme(model: GeneModel, fits: GeneFits) -> tuple[Any, FloatArray]:
    """Find the sample (level of the finest grouping factor) farthest from the others, and its distance.

    The distance is in standard deviations. Both are missing if the variance is zero.
    """
    i = finest(model.groupings)
    effects, sd = fits.ranef[i][:, :, 0], fits.Lambda[i][:, 0, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where((sd > 0.0)[:, None], effects / sd[:, None], np.nan)
    finite = np.isfinite(z).all(axis=1)
    place = np.argmax(np.abs(np.nan_to_num(z)), axis=1)
    values = np.where(finite, np.take_along_axis(z, place[:, None], axis=1)[:, 0], np.nan)
    codes: IntArray = np.where(finite, place, -1).astype(np.int64)
    return pd.Categorical.from_codes(codes, categories=pd.Index(model.groupings[i].levels)), values


def _determined(fits: GeneFits, result: AllFits, fitted: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return coefficients and standard errors, NaN where separation makes them infinite or a gene was not fitted."""
    beta = np.where(fitted[:, None], fits.beta, np.nan)
    se = np.sqrt(np.diagonal(np.where(fitted[:, None, None], fits.vcov, np.nan), axis1=1, axis2=2))
    for gene, separation in result.separations.items():
        infinite = [separation.touches(row[None, :]) for row in np.eye(beta.shape[1])]
        beta[gene, infinite] = np.nan
        se[gene, infinite] = np.nan
    return beta, se


def _messages(status: ObjectArray, result: AllFits) -> ObjectArray:
    texts = {
        "all_zero": "no counts in the cells used",
        "low_count": "fewer counts than min_counts",
        "not_selected": "not one of the genes to test",
        "error": "no start gave finite values",
        "separated": "all counts are zero for some combination of covariates; infinite coefficients are not shown",
        "singular": "a variance of the random effects is zero",
        "ok": "",
    }
    out = np.array([texts.get(word, "") for word in status], dtype=object)
    for gene in np.flatnonzero(status == "not_converged"):
        out[gene] = f"Newton decrement {result.fits.decrement[gene]:.2g} after {result.fits.n_iter[gene]} evaluations"
    return out


def _free(columns: Mapping[str, object], name: str) -> str:
    """Make a column name that AnnData can store (without a slash) and that is not used yet."""
    plain = name.replace("/", "|")
    free, count = plain, 1
    while free in columns:
        count += 1
        free = f"{plain}_{count}"
    return free
