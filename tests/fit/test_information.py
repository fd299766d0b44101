"""Check the eigenvalue ratio, which measures correlation between the errors of genes."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm

CELLS = (6, 10, 20, 40, 60, 90, 150, 200, 250, 300)


def unequal_samples(shared: float, n_genes: int = 300) -> ad.AnnData:
    """Make ten samples of 6 to 300 cells; all genes share a part of the variance between samples."""
    rng = np.random.default_rng(11)
    sample = np.repeat(np.arange(len(CELLS)), CELLS)
    effects = rng.normal(size=(len(CELLS), n_genes)) * np.sqrt(1.0 - shared)
    effects += np.sqrt(shared) * rng.normal(size=(len(CELLS), 1)) * rng.choice([-1.0, 1.0], n_genes)
    counts = rng.poisson(0.6 * np.exp(0.3 * effects[sample]))
    counts[:, 0] += 1
    obs = pd.DataFrame({"sample": sample.astype(str), "size": 1.0}, index=[f"c{i}" for i in range(len(sample))])
    obs["arm"] = pd.Categorical(np.array(["a", "b"])[sample % 2])
    return ad.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


@pytest.mark.parametrize(("shared", "low", "high"), [(0.0, 1.0, 1.6), (0.6, 2.5, np.inf)])
def test_eigen_ratio_shows_programmes_but_not_sample_sizes(shared, low, high, caplog):
    """Check that the noisier effects of small samples do not look like correlation."""
    adata = unequal_samples(shared)
    with caplog.at_level(logging.INFO, "sc_glmm"):
        sc_glmm.tl.test(adata, "X ~ arm + (1|sample)", family="poisson", size_factors="size")
    ratio = adata.uns["glmm"]["params"]["eigen_ratio"]
    assert low <= ratio < high
    (message,) = {record.getMessage() for record in caplog.records if record.getMessage().startswith("tested ")}
    assert f"; eigenvalue ratio {ratio:.1f}): " in message


def test_the_ratio_of_each_group_is_among_its_details():
    adata = unequal_samples(0.0, 80)
    adata.obs["kind"] = np.array(["x", "y"])[np.arange(adata.n_obs) % 2]
    sc_glmm.tl.test(adata, "X ~ arm + (1|sample)", family="poisson", size_factors="size", groupby="kind")
    details = sc_glmm.get.details(adata).set_index("kind")
    assert (details["eigen_ratio"] >= 1.0).all()


def test_more_samples_than_genes():
    """Check that eigenvalues that are zero because there are few genes do not count."""
    adata = sc_glmm.datasets.simulate(n_samples=80, n_cells=1600, n_genes=60, depth=600, seed=5)
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    # of 60 independent genes in 78 dimensions, the ratio of the largest to the median eigenvalue is about 4
    assert 1.5 < adata.uns["glmm"]["params"]["eigen_ratio"] < 15.0
