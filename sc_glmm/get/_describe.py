"""Describe the columns of the results."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pandas as pd

from .._adata.contrasts import all_contrasts
from .._adata.mudata import results_in
from .._adata.stored import read_alternative, read_results

if TYPE_CHECKING:
    from anndata import AnnData

#: Default columns of ``get.results``.
MAIN_COLUMNS = (
    "variable",
    "contrast",
    "log_fc",
    "ci_low",
    "ci_high",
    "p_value",
    "adj_p_value",
    "mean",
    "pct",
    "status",
    "tested",
)

# pattern of the name -> meaning; the first match counts
_MEANINGS: dict[str, str] = {
    "variable": "gene",
    "contrast": "comparison, such as 'disease: AD vs ctl'",
    "meaning": "what the contrast compares; differs from contrast if you gave it a name",
    "log_fc": "estimated log2 fold change of the contrast",
    "ci_low": "lower limit of the 95 % confidence interval of log_fc",
    "ci_high": "upper limit of the 95 % confidence interval of log_fc",
    "p_value": "two-sided p-value; NaN if the gene could not be tested",
    "adj_p_value": "p-value adjusted over the tested genes of the contrast (Benjamini and Hochberg)",
    "mean": "mean response per cell (for counts, the mean count)",
    "pct": "percentage of cells with a count",
    "status": "status of the fit; 'singular' (a variance of zero) and 'separated' are valid results, not failures",
    "tested": "whether there is a valid p-value; filter by this column",
    "coef": "estimate of the contrast (natural log)",
    "se": "standard error of coef",
    "log_fc_se": "standard error of log_fc",
    "stat": "test statistic (t, F or z)",
    "df": "degrees of freedom between samples",
    "p_hk": "p-value of the Hartung-Knapp test, which uses this gene only",
    "log_fc_shrunk": "log_fc shrunk towards zero by a prior from all genes, for ranking",
    "lfsr": "local false sign rate: probability that the sign of the effect is wrong",
    "s_value": "mean lfsr of this gene and all genes with a smaller lfsr",
    "message": "explanation of the status",
    "converged": "whether the optimiser converged",
    "singular": "whether a variance of the random effects is zero",
    "separated": "whether all counts are zero for some combination of covariates",
    "n_iter": "number of evaluations of the objective function",
    "baseMean": "same as mean, by the name that other packages use",
    "total": "sum of the counts",
    "loglik": "maximised (restricted) log likelihood",
    "dispersion": "dispersion: phi in the variance mu + phi mu^2",
    "dispersion_at_bound": "whether the dispersion is at a limit of its range",
    "log_dispersion_se": "standard error of the natural log of the dispersion",
    "phi_from_trend": "whether the dispersion comes from the trend over abundance",
    "n_agq": "number of quadrature nodes (1: Laplace approximation)",
    "information": "information of the counts about the effect of a sample, median over samples",
    "more_variable": "whether the gene varies more between samples than other genes of similar abundance",
    r"share_.+": "fraction of the observed variation between samples that is true variation, not noise of the counts",
    r"p_sd_.+": "p-value for the hypothesis that this variance between samples is zero",
    r"sd_.+_eb_(low|high)": "5 and 95 % quantiles of the posterior of the standard deviation between samples",
    r"sd_.+_eb": "standard deviation between samples: posterior mean under the prior from all genes",
    r"sd_.+": "standard deviation of the random effects, natural log",
    r"corr_.+": "correlation of two random effects",
    r"extreme_.+_z": "distance of the most extreme sample, in standard deviations",
    r"extreme_.+": "sample with the largest random effect",
    r"n_empty_.+": "number of samples without a count",
    r"coef_.+": "fixed effect (natural log)",
    r"se_.+": "standard error of the fixed effect",
}


def describe(adata: AnnData | str | os.PathLike[str], key: str = "glmm") -> pd.DataFrame:
    """Describe the columns of the results: their meaning, and whether they are shown by default.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        `key_added` of the run.

    Returns
    -------
    pandas.DataFrame
        One row per column of ``get.results(adata, columns="all")``, indexed by its name, with ``meaning`` and ``main``
        (whether ``get.results(adata)`` shows it). The main columns come first. The row ``contrast`` has what named
        contrasts compare.

    Raises
    ------
    InputError
        If there are no results under `key`.
    """
    stored, key = results_in(adata, key)
    columns = [str(name) for name in read_results(stored, key).columns]
    params = stored.uns[key]["params"]
    groupby = params.get("cells_grouped_by")
    names = list(dict.fromkeys([name for name in (groupby, *MAIN_COLUMNS) if name in columns] + columns))
    meanings = [
        f"level of {groupby!r} whose cells were tested" if name == groupby else _meaning(name) for name in names
    ]
    named = [f"{each.label!r} is {each.meaning}" for each in all_contrasts(params) if each.label != each.meaning]
    if named:
        meanings[names.index("contrast")] = "; ".join(["comparison", *named])
    words = read_alternative(stored, key).words
    if words and "p_value" in names:
        meanings[names.index("p_value")] = f"p-value{words}; NaN if the gene could not be tested"
    main = [name in MAIN_COLUMNS or name == groupby for name in names]
    return pd.DataFrame({"meaning": meanings, "main": main}, index=pd.Index(names, name="column"))


def _meaning(name: str) -> str:
    return next((label for pattern, label in _MEANINGS.items() if re.fullmatch(pattern, name, re.DOTALL)), "")
