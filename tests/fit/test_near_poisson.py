"""Check genes with many counts and no dispersion: fits converge at the bound of the dispersion."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import ScGlmmWarning


def make(seed: int, n_samples: int, n_cells: int) -> ad.AnnData:
    """Make genes with means from 100 to a million and dispersions from 0 to 1e-6, with and without sample effects."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(n_samples), n_cells)
    mean = np.repeat(np.logspace(2, 6, 9), 4)
    phi = np.tile([0.0, 1e-12, 1e-9, 1e-6], 9)
    sd = rng.choice([0.0, 1e-3, 1e-2, 0.3], len(mean))
    size = rng.lognormal(0.0, 0.4, len(sample))
    mu = size[:, None] * mean * np.exp(rng.normal(size=(n_samples, len(mean))) * sd)[sample]
    shape = 1.0 / np.maximum(phi, 1e-15)
    rate = np.where(phi > 0.0, mu * rng.gamma(shape, 1.0 / shape, mu.shape), mu)
    obs = pd.DataFrame(
        {
            "sample": [f"s{i}" for i in sample],
            "arm": np.where(sample % 2, "B", "A"),
            "x": rng.normal(size=len(sample)),
            "size": size,
        },
        index=[f"c{i}" for i in range(len(sample))],
    )
    return ad.AnnData(sp.csr_matrix(rng.poisson(rate).astype(np.float64)), obs=obs)


def facts(adata: ad.AnnData, formula: str, **options) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, formula, size_factors="size", contrasts="arm", reference={"arm": "A"}, **options)
    assert sc_glmm.get.results(adata)["status"].isin(["ok", "singular"]).all()
    return adata.varm["glmm"]


@pytest.mark.parametrize("formula", ["X ~ arm + (1|sample)", "X ~ arm + x + (1|sample)", "X ~ arm + x + (x|sample)"])
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("seed", [0, 1])
def test_genes_without_dispersion_converge_to_poisson(formula: str, method: str, seed: int) -> None:
    adata = make(seed, 6 + 2 * seed, 20 - 10 * seed)
    if "(x|" in formula:  # rounding errors of 1e9 hide slopes with a standard deviation of 1e-4
        adata = adata[:, :28].copy()
    nb = facts(adata, formula, test="t", method=method)
    assert nb["converged"].all()
    poisson = facts(adata, formula, test="t", method=method, family="poisson")
    # at the bound of 1e-8, the variance is larger than that of a Poisson by a factor 1 + 1e-8 times the mean
    at_bound = (nb["dispersion_at_bound"] & (nb["mean"] < 1e5)).to_numpy()
    assert at_bound.sum() > 5
    for name in ("coef_arm[T.B]", "se_arm[T.B]"):
        one, two = nb.loc[at_bound, name], poisson.loc[at_bound, name]
        np.testing.assert_allclose(one, two, rtol=2e-2, atol=1e-6 if name.startswith("coef") else 0.0)


def test_other_tests_have_results_for_near_poisson_genes() -> None:
    adata = make(3, 8, 15)
    for test in ("eb_lr", "lrt", "wald"):
        facts(adata, "X ~ arm + (1|sample)", test=test)
        assert sc_glmm.get.results(adata)["p_value"].notna().all()
