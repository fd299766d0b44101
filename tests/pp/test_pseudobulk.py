"""Check sums by sample: equal to a table of all cells, with a warning about omitted cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm as sg

FORMS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "array": sp.csr_array,
    "dense": lambda m: m.toarray(),
    "uint8": lambda m: sp.csr_matrix(m, dtype=np.uint8),
}


@pytest.fixture
def adata(rng):
    """Make 300 cells of five samples and two cell types; one sample has only one type, three cells have no sample."""
    counts = sp.csr_matrix(rng.poisson(0.7, (300, 20)).astype(np.float32))
    sample = rng.integers(0, 5, 300)
    kind = np.where(sample == 4, "T", rng.choice(["B", "T"], 300))
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([f"s{i}" for i in sample], categories=["s4", "s3", "s2", "s1", "s0", "unused"]),
            "arm": pd.Categorical(np.where(sample < 2, "ctl", "AD")),
            "age": np.array([40.0, 50.0, np.nan, 60.0, 70.0])[sample],
            "cell_type": kind,
            "depth": rng.random(300),
        },
        index=[f"c{i}" for i in range(300)],
    )
    var = pd.DataFrame({"symbol": [f"S{i}" for i in range(20)]}, index=[f"g{i}" for i in range(20)])
    return ad.AnnData(X=counts, obs=obs, var=var, layers={"log": counts.log1p()})


@pytest.mark.parametrize("form", FORMS)
def test_sums_are_those_of_the_cells(adata, form):
    dense = adata.X.toarray()
    adata.X = FORMS[form](adata.X)
    bulk = sg.pp.pseudobulk(adata, "sample", groupby="cell_type")
    expected = pd.DataFrame(dense).groupby(
        [adata.obs["sample"].to_numpy(), adata.obs["cell_type"].to_numpy()], observed=True
    )
    keys = [tuple(name.split("_")) for name in bulk.obs_names]
    X = bulk.X if form == "dense" else bulk.X.toarray()
    props = bulk.layers["psbulk_props"] if form == "dense" else bulk.layers["psbulk_props"].toarray()
    np.testing.assert_array_equal(X, expected.sum().loc[keys])
    np.testing.assert_allclose(props, expected.agg(lambda y: np.mean(y > 0)).loc[keys])
    np.testing.assert_array_equal(bulk.obs["psbulk_cells"], expected.size().loc[keys])
    np.testing.assert_allclose(bulk.obs["psbulk_counts"], X.sum(axis=1))
    assert X.sum() == dense.sum()


def test_columns_that_are_copied(adata):
    bulk = sg.pp.pseudobulk(adata, "sample")
    # order of the categories; columns with one value per sample, also missing values
    assert list(bulk.obs_names) == ["s4", "s3", "s2", "s1", "s0"]
    assert list(bulk.obs.columns) == ["sample", "arm", "age", "psbulk_cells", "psbulk_counts"]
    np.testing.assert_array_equal(bulk.obs["age"], [70, 60, np.nan, 50, 40])
    assert list(bulk.obs["arm"]) == ["AD", "AD", "AD", "ctl", "ctl"]
    pd.testing.assert_frame_equal(bulk.var, adata.var)
    by_type = sg.pp.pseudobulk(adata, "sample", groupby="cell_type")
    assert "s4_T" in by_type.obs_names and "s4_B" not in by_type.obs_names
    assert by_type.n_obs == 9


def test_it_can_be_written_and_summed_from_a_layer(adata, tmp_path):
    adata.layers["twice"] = adata.X * 2
    bulk = sg.pp.pseudobulk(adata, "sample", layer="twice")
    bulk.write_h5ad(tmp_path / "bulk.h5ad")
    again = ad.read_h5ad(tmp_path / "bulk.h5ad")
    np.testing.assert_array_equal(again.X.toarray(), 2 * sg.pp.pseudobulk(adata, "sample").X.toarray())


def test_stored_zeros_do_not_count_as_expression(adata):
    adata.X.data[:50] = 0
    bulk = sg.pp.pseudobulk(adata, "sample")
    expected = pd.DataFrame(adata.X.toarray() > 0).groupby(adata.obs["sample"].to_numpy(), observed=True).mean()
    np.testing.assert_allclose(bulk.layers["psbulk_props"].toarray(), expected.loc[list(bulk.obs_names)])


def test_omissions_warn(adata):
    adata.obs.loc[["c1", "c2", "c3"], "sample"] = None
    with pytest.warns(sg.ScGlmmWarning, match="3 cells without a value in sample were left out"):
        bulk = sg.pp.pseudobulk(adata, "sample")
    assert bulk.obs["psbulk_cells"].sum() == 297
    adata.obs["sample"] = adata.obs["sample"].astype(object).where(np.arange(300) > 0, "tiny")
    with (
        pytest.warns(sg.ScGlmmWarning, match="3 cells without"),
        pytest.warns(sg.ScGlmmWarning, match="1 of 6 profiles have fewer than 5 cells and were left out"),
    ):
        bulk = sg.pp.pseudobulk(adata, "sample", min_cells=5)
    assert "tiny" not in bulk.obs_names and bulk.n_obs == 5


def test_names_stay_distinct():
    obs = pd.DataFrame({"sample": ["a_b", "a"], "kind": ["c", "b_c"]}, index=["x", "y"])
    bulk = sg.pp.pseudobulk(ad.AnnData(np.ones((2, 2)), obs=obs), "sample", groupby="kind")
    assert bulk.obs_names.is_unique


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sample_key": "samples"}, "no column 'samples' in obs.*did you mean 'sample'"),
        ({"sample_key": "sample", "groupby": "type"}, "no column 'type'"),
        ({"sample_key": "sample", "layer": "raw"}, "no layer 'raw'"),
        ({"sample_key": "sample", "min_cells": 1000}, "all 5 have fewer than min_cells=1000"),
    ],
)
def test_unusable_arguments_are_refused(adata, arguments, words):
    with pytest.raises(sg.InputError, match=words):
        sg.pp.pseudobulk(adata, **arguments)
