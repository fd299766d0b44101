"""Simulate null data like real data: cells, donors and size factors of a cell type, counts from fits of its genes.

Every gene keeps its mean and its dispersion as fitted; its variance between donors is drawn from the distribution
over genes that the default test estimates for its abundance. No gene differs between groups of donors, and all that the
test assumes is true: what it then rejects too little or too much is due to the counts alone.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

import sc_glmm

# Genes with fewer counts are left out: in a new draw, few of them would have enough counts for a test.
MIN_FITTED = 5
_KEY = "null"


@dataclass(frozen=True)
class FittedNull:
    """Fitted distributions for drawing counts.

    Attributes
    ----------
    obs
        Cells: the donor, and ``size_factor``.
    var_names
        Genes.
    mean
        ``(n_genes,)`` expected count per unit of size factor.
    dispersion
        ``(n_genes,)``.
    variances, cumulated
        ``(n_nodes,)`` values of the variance between donors, and ``(n_genes, n_nodes)`` their distribution function.
    """

    obs: pd.DataFrame
    var_names: pd.Index
    mean: np.ndarray
    dispersion: np.ndarray
    variances: np.ndarray
    cumulated: np.ndarray


def fit_null(adata: ad.AnnData, donor: str, donors: list[str]) -> FittedNull:
    """Fit every gene of the cells of these donors without a difference between groups."""
    data = adata[adata.obs[donor].astype(str).isin(donors)].copy()
    data.obs = pd.DataFrame({donor: pd.Categorical(data.obs[donor].astype(str))}, index=data.obs_names)
    data.layers["counts"] = data.X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        sc_glmm.pp.size_factors(data, sample_key=donor, layer="counts", key_added="size_factor")
        data = data[data.obs["size_factor"] > 0, np.asarray(data.X.sum(axis=0)).ravel() >= MIN_FITTED].copy()
        sc_glmm.tl.test(
            data, f"counts ~ 1 + (1|{donor})", size_factors="size_factor", contrasts={"mean": [1.0]}, n_jobs=1,
            progress=False, key_added=_KEY,
        )  # fmt: skip
    info = sc_glmm.get.fit_info(data, _KEY)
    prior = data.uns[_KEY]["priors"]["0"]
    rank = (rankdata(info["total"]) - 0.5) / len(info)
    nodes, marginal = np.asarray(prior["variance"])[:, 0], np.asarray(prior["marginal_0"])
    mass = np.stack([np.interp(rank, prior["anchors"], column) for column in marginal.T], axis=1)
    finite = np.isfinite(info["dispersion"].to_numpy(float))
    mean = info["total"].to_numpy(float) / data.obs["size_factor"].sum()
    return FittedNull(
        obs=data.obs,
        var_names=data.var_names[finite],
        mean=mean[finite],
        dispersion=info["dispersion"].to_numpy(float)[finite],
        variances=nodes,
        cumulated=np.cumsum(mass, axis=1)[finite],
    )


def draw(fitted: FittedNull, donor: str, rng: np.random.Generator) -> ad.AnnData:
    """Draw new counts; ``var["variance"]`` is the variance of each gene."""
    n_genes = len(fitted.mean)
    node = (fitted.cumulated < fitted.cumulated[:, -1:] * rng.random((n_genes, 1))).sum(axis=1)
    variance = fitted.variances[node]
    codes, levels = pd.factorize(fitted.obs[donor])
    effects = np.sqrt(variance)[:, None] * rng.normal(size=(n_genes, len(levels))) - variance[:, None] / 2
    size = fitted.obs["size_factor"].to_numpy()
    columns = []
    for gene in range(n_genes):
        mu = size * (fitted.mean[gene] * np.exp(effects[gene]))[codes]
        phi = fitted.dispersion[gene]
        columns.append(sparse.csr_matrix(rng.poisson(mu * rng.standard_gamma(1.0 / phi, len(mu)) * phi)))
    var = pd.DataFrame({"variance": variance}, index=fitted.var_names)
    return ad.AnnData(X=sparse.vstack(columns, format="csr").T.tocsr(), obs=fitted.obs.copy(), var=var)
