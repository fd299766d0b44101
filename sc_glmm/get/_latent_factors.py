"""Read the report on hidden factors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.latent import read_factors
from .._arrays import FloatArray
from .._display.arguments import check_choice

if TYPE_CHECKING:
    from anndata import AnnData


def latent_factors(adata: AnnData, key: str = "latent", *, group: str | None = None, n_genes: int = 5) -> pd.DataFrame:
    """Get the report on the hidden factors of :func:`sc_glmm.pp.latent_factors`, with one row per factor.

    Parameters
    ----------
    adata
        Annotated data after :func:`sc_glmm.pp.latent_factors`.
    key
        `key_added` of :func:`sc_glmm.pp.latent_factors`.
    group
        Level of `groupby`. Default: all levels.
    n_genes
        Number of genes to list at each end of the loadings.

    Returns
    -------
    pandas.DataFrame
        ``group``, ``factor``
            Level of `groupby` (empty without `groupby`), and column of ``obs``. Groups without factors have no row.
        ``strength``
            Variance along the factor, relative to the variance of the noise.
        ``agreement``
            Smallest canonical correlation between the factors of two halves of the genes, for this factor and all
            stronger ones together.
        ``r_tested``
            Multiple correlation of the factor with the tested columns, given the other columns of the design.
        ``genes_up``, ``genes_down``
            Genes whose rate increases and decreases most with the factor.
        ``r_n_cells``, ``r_log_depth``, ``r_<column>``
            Correlation over samples with the number of cells, the log of the summed size factors, and every column of
            ``obs``. Numbers (averaged over the cells of a sample) have a signed correlation. Other columns that are
            constant within samples have the multiple correlation with their levels.

    Raises
    ------
    InputError
        If there are no hidden factors under `key`, or `group` is not one of their groups.
    """
    entry = read_factors(adata, key)
    reports = [dict(report) for report in entry["groups"].values()]
    names = [str(report["group"]) for report in reports]
    if group is not None:
        check_choice("group", group, names)
    rows = []
    for report in reports:
        name = str(report["group"])
        if group is not None and name != group:
            continue
        properties = sample_columns(adata, entry, name)
        samples, loadings = (_of_group(entry[table], name) for table in ("samples", "loadings"))
        agreement = np.asarray(report["agreement"], dtype=np.float64)
        for j in range(int(report["n_factors"])):
            factor = samples[f"factor_{j + 1}"].to_numpy(dtype=np.float64)
            ranked = loadings.sort_values(f"factor_{j + 1}", kind="stable")["variable"].astype(str).tolist()
            rows.append(
                {
                    "group": name,
                    "factor": str(entry["columns"][j]),
                    "strength": float(np.asarray(report["strength"])[j]),
                    "agreement": float(agreement[j]) if j < len(agreement) else np.nan,
                    "r_tested": float(np.asarray(report["r_tested"])[j]),
                    "genes_up": ", ".join(ranked[::-1][:n_genes]),
                    "genes_down": ", ".join(ranked[:n_genes]),
                    **{f"r_{column}": correlation(factor, values) for column, values in properties.items()},
                }
            )
    first = ["group", "factor", "strength", "agreement", "r_tested", "genes_up", "genes_down"]
    return pd.DataFrame(rows, columns=None if rows else first)


def sample_columns(adata: AnnData, entry: Any, group: str) -> dict[str, pd.Series]:
    """Return properties of the samples: number of cells, depth, and columns of ``obs`` that differ between samples."""
    samples = _of_group(entry["samples"], group)
    out: dict[str, pd.Series] = {name: samples[name].astype(float) for name in ("n_cells", "log_depth")}
    obs: pd.DataFrame = adata.obs  # type: ignore[assignment]
    of_group = np.flatnonzero(entry["samples"]["group"].astype(str) == group)
    sample_of_cell = np.asarray(entry["sample_of_cell"], dtype=np.int64)
    cells = [np.flatnonzero(sample_of_cell == place) for place in of_group]
    for column in obs.columns:
        if column in list(entry["columns"]):
            continue
        values = obs[column]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            means = [float(values.iloc[places].mean()) for places in cells]
            if np.isfinite(means).all() and np.ptp(means) > 0.0:
                out[str(column)] = pd.Series(means)
            continue
        levels = [values.iloc[places].dropna().astype(str).unique() for places in cells]
        if all(len(level) == 1 for level in levels):
            of_sample = pd.Series([level[0] for level in levels]).astype("category")
            if 1 < len(of_sample.cat.categories) <= len(of_sample) // 2:
                out[str(column)] = of_sample
    return out


def correlation(factor: FloatArray, values: pd.Series) -> float:
    """Compute the signed correlation with numbers, or the multiple correlation with the levels of a factor."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        fitted = pd.Series(factor).groupby(values.to_numpy(), observed=True).transform("mean").to_numpy()
        return float(np.sqrt(np.sum((fitted - factor.mean()) ** 2) / np.sum((factor - factor.mean()) ** 2)))
    return float(np.corrcoef(factor, values.to_numpy(dtype=np.float64))[0, 1])


def _of_group(frame: pd.DataFrame, group: str) -> pd.DataFrame:
    return frame[frame["group"].astype(str) == group].reset_index(drop=True)
