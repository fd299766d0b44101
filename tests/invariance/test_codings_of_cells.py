"""Covariates of cells are tested as the space that they span, also in samples of more than a thousand cells."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import ScGlmmWarning


def make_adata(n_genes: int = 52, n_samples: int = 4, n_cells: int = 1050) -> ad.AnnData:
    """Simulate counts that depend on two correlated covariates of cells, one of them skewed."""
    rng = np.random.default_rng(5)
    sample = np.repeat(np.arange(n_samples), n_cells)
    x = rng.normal(size=len(sample))
    y = rng.gamma(2.0, 1.0, len(sample)) + 0.5 * x
    slopes = rng.normal(0.0, 0.1, (2, n_genes))
    level = np.log(rng.uniform(0.1, 0.6, n_genes)) + rng.normal(0.0, 0.3, (n_samples, n_genes))[sample]
    mean = np.exp(level + np.column_stack([x, y - 2.0]) @ slopes)
    counts = rng.poisson(mean * rng.gamma(2.0, 0.5, mean.shape))
    obs = pd.DataFrame({"sample": [f"s{i}" for i in sample], "x": x, "y": y}, index=[f"c{i}" for i in range(len(x))])
    obs["u"], obs["w"] = 1e4 * (0.6 * x + 0.8 * y) + 3e5, 0.8 * x - 0.6 * y
    obs["size"] = np.exp(rng.normal(0.0, 0.3, len(x)))
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float64)), obs=obs)


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return make_adata()


def table_of(adata: ad.AnnData, right: str, contrasts: object, test: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        result = sc_glmm.tl.test(
            adata,
            f"X ~ {right} + (1|sample)",
            contrasts=contrasts,
            test=test,
            within="homogeneous",
            size_factors="size",
            min_counts=0,
            copy=True,
        )
    assert result.uns["glmm"]["params"]["compression"] == "centred"
    return sc_glmm.get.results(result, columns="all")


@pytest.mark.parametrize("test", ["t", "eb_lr"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("x + y", {"all": ["x", "y"]}), ("u + w", {"all": ["u", "w"]})),
        (("y + x", "x"), ("I(1000 * y - 7) + x", "x")),
        (("poly(y, 3)", "poly(y, 3)"), ("bs(y, df=3)", "bs(y, df=3)")),
    ],
    ids=["rotated", "units", "spline"],
)
def test_p_values_do_not_depend_on_the_coding(adata, test, first, second):
    one, two = (table_of(adata, *coding, test) for coding in (first, second))
    assert list(one["status"]) == list(two["status"])
    assert one["p_value"].notna().all() and (one["p_value"] > 1e-6).any()
    np.testing.assert_allclose(two["p_value"], one["p_value"], rtol=2e-3, atol=1e-9)
