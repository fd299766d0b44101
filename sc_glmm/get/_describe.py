"""What each column of the results means."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_results

if TYPE_CHECKING:
    from anndata import AnnData

#: What ``get.results`` shows by default.
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

# pattern of the name -> meaning; the first that fits
_MEANINGS: dict[str, str] = {
    "variable": "gene",
    "contrast": "what is compared with what",
    "log_fc": "log2 fold change: estimate of the contrast",
    "ci_low": "lower end of the 95 % interval of log_fc",
    "ci_high": "upper end of the 95 % interval of log_fc",
    "p_value": "two-sided p-value; NaN where the gene could not be tested",
    "adj_p_value": "p-value adjusted over the tested genes of the contrast (Benjamini and Hochberg)",
    "mean": "mean response per cell (count, for counts)",
    "pct": "percentage of cells with a count",
    "status": "one word on the fit; 'singular' (a variance of zero) and 'separated' are answers, not failures",
    "tested": "whether there is a valid p-value: the column to filter by",
    "coef": "estimate of the contrast, natural log",
    "se": "standard error of coef",
    "log_fc_se": "standard error of log_fc",
    "stat": "statistic of the test (t, F or z)",
    "df": "degrees of freedom between samples",
    "p_hk": "p-value of Hartung and Knapp's test, which looks at the gene alone",
    "log_fc_shrunk": "log_fc shrunk towards zero by a prior from all genes, for ranking",
    "lfsr": "local false sign rate: probability that the sign of the effect is wrong",
    "s_value": "mean lfsr of the gene and all that are more certain",
    "message": "what happened, in words",
    "converged": "whether the optimiser converged",
    "singular": "whether a variance of the random effects is zero",
    "separated": "whether counts are all zero where some combination of covariates says so",
    "n_iter": "evaluations of the objective",
    "baseMean": "mean once more, under the name that other packages use",
    "total": "sum of the counts",
    "loglik": "maximised (restricted) log likelihood",
    "dispersion": "phi of the variance mu + phi mu^2",
    "dispersion_at_bound": "whether the dispersion is at the end of its range",
    "log_dispersion_se": "standard error of the natural log of the dispersion",
    "phi_from_trend": "whether the dispersion was taken from the trend over abundance",
    "n_agq": "quadrature nodes (1: Laplace)",
    "information": "median over samples of the information that counts hold on a sample's effect",
    "more_variable": "whether the gene is more variable between samples than genes of its abundance",
    r"share_.+": "share of the spread between samples that is variation between samples, not noise of their counts",
    r"p_sd_.+": "p-value of no such variance between samples",
    r"sd_.+_eb_(low|high)": "5 and 95 % points of the posterior of the standard deviation between samples",
    r"sd_.+_eb": "standard deviation between samples, under the prior from all genes",
    r"sd_.+": "standard deviation of the random effects, natural log",
    r"corr_.+": "correlation of two random effects",
    r"extreme_.+_z": "how far the most extreme sample lies, in standard deviations",
    r"extreme_.+": "sample whose random effect is the largest",
    r"n_empty_.+": "samples without a count",
    r"coef_.+": "fixed effect, natural log",
    r"se_.+": "standard error of the fixed effect",
}


def describe(adata: AnnData | str | os.PathLike[str], key: str = "glmm") -> pd.DataFrame:
    """Describe the columns of the results: what each means, and whether it is shown by default.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        Its `key_added`.

    Returns
    -------
    pandas.DataFrame
        One row per column of ``get.results(adata, columns="all")``, which is the index, those of
        ``get.results(adata)`` first: ``meaning``, and ``main``, whether it is among the latter.

    Raises
    ------
    InputError
        If there are no results under `key`.
    """
    held, key = results_in(adata, key)
    groupby = held.uns[key]["params"].get("cells_grouped_by") if key in held.uns else None
    there = [str(name) for name in read_results(held, key).columns]
    names = list(dict.fromkeys([name for name in (groupby, *MAIN_COLUMNS) if name in there] + there))
    meanings = [
        f"level of {groupby!r} whose cells were tested" if name == groupby else _meaning(name) for name in names
    ]
    main = [name in MAIN_COLUMNS or name == groupby for name in names]
    return pd.DataFrame({"meaning": meanings, "main": main}, index=pd.Index(names, name="column"))


def _meaning(name: str) -> str:
    return next((told for pattern, told in _MEANINGS.items() if re.fullmatch(pattern, name, re.DOTALL)), "")
