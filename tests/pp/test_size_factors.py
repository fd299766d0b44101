import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm as sg
from sc_glmm._compress import pooled_factors, pseudobulk, tmm_factors


@pytest.fixture
def adata(rng):
    """Make six samples; in three of them, three genes increase so much that the shares of the others decrease."""
    sample = rng.integers(0, 6, 600)
    depth = rng.lognormal(0, 0.4, 600)
    mu = rng.gamma(0.6, 1.0, 100) * np.ones((600, 1))
    mu[:, :3] = np.where(sample[:, None] < 3, 4.0, 80.0)
    counts = sp.csr_matrix(rng.poisson(mu * depth[:, None]).astype(np.float32))
    obs = pd.DataFrame({"sample": [f"s{i}" for i in sample], "depth": depth}, index=[f"c{i}" for i in range(600)])
    return ad.AnnData(
        X=counts.log1p(), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(100)]), layers={"counts": counts}
    )


def test_total_is_proportional_to_the_library_size(adata):
    assert sg.pp.size_factors(adata, layer="counts") is None
    size = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    np.testing.assert_allclose(adata.obs["size_factors"], size / size.mean(), rtol=1e-6)


@pytest.mark.parametrize("method", [None, "pooled", "tmm"])
def test_composition_is_corrected_with_a_note(adata, method):
    with pytest.warns(sg.ScGlmmWarning, match=r"samples differ in composition.*5 % of the counts.*g[0-2] \(\d+%\)"):
        sg.pp.size_factors(adata, sample_key="sample", layer="counts", key_added="new", method=method)
    sg.pp.size_factors(adata, sample_key="sample", layer="counts", key_added="total", method="total")
    ratio = np.log(adata.obs[["new", "total"]].div(adata.obs["depth"], axis=0)).groupby(adata.obs["sample"]).mean()
    assert np.ptp(ratio["total"]) > 0.5
    assert np.ptp(ratio["new"]) < 0.15


@pytest.mark.parametrize(("method", "factors"), [("tmm", tmm_factors), ("pooled", pooled_factors)])
def test_factor_of_a_sample_is_common_to_its_cells(adata, method, factors):
    counts = adata.layers["counts"]
    codes = adata.obs["sample"].astype("category").cat.codes.to_numpy().astype(int)
    with pytest.warns(sg.ScGlmmWarning):
        new = sg.pp.size_factors(adata, sample_key="sample", layer="counts", method=method, copy=True)
    assert "size_factors" not in adata.obs
    factor = new.obs["size_factors"].to_numpy() / np.asarray(counts.sum(axis=1)).ravel()
    expected = factors(pseudobulk(counts, codes, 6))[codes]
    np.testing.assert_allclose(factor / factor[0], expected / expected[0], rtol=1e-10)


def test_no_warning_without_a_correction(adata, rng):
    adata.layers["flat"] = sp.csc_matrix(rng.poisson(2.0, adata.shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sg.pp.size_factors(adata, sample_key="sample", layer="flat")
    assert adata.obs["size_factors"].mean() == pytest.approx(1)


def test_missing_samples_and_empty_cells(adata):
    counts = adata.layers["counts"].tolil()
    counts[5] = 0
    adata.layers["counts"] = counts.tocsr()
    adata.obs.loc["c3", "sample"] = None
    with pytest.warns(sg.ScGlmmWarning):
        sg.pp.size_factors(adata, sample_key="sample", layer="counts")
    assert adata.obs["size_factors"].notna().all()
    assert adata.obs["size_factors"].iloc[5] == 0 and (adata.obs["size_factors"].drop("c5") > 0).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, r"X holds .*not a whole number; it looks log-transformed.*\(layers: 'counts'\)"),
        ({"layer": "raw"}, r"there is no layer 'raw' \(available: 'counts'\); omit"),
        ({"layer": "counts", "method": "median"}, "method='median': allowed are 'total', 'pooled', 'tmm'"),
        ({"layer": "counts", "method": "tmm"}, "sample_key= is missing"),
        ({"layer": "counts", "sample_key": "donor"}, "no column 'donor' in obs .available: 'sample', 'depth'"),
        ({"layer": "counts", "sample_key": "empty"}, "'empty' of obs has no values"),
    ],
)
def test_unusable_arguments_are_refused(adata, arguments, words):
    if arguments.get("sample_key") == "empty":
        adata.obs["empty"] = np.nan
    with pytest.raises(sg.InputError, match=words):
        sg.pp.size_factors(adata, **arguments)
