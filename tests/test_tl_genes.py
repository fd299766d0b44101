"""Check tests of selected genes: size factors from all genes, fits of the selected, one row for each gene."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._errors import InputError

FORMULA = "counts ~ disease + (1|sample)"
ESTIMATES = ["coef", "se", "log_fc", "log_fc_se", "ci_low", "ci_high", "stat", "df", "p_value", "adj_p_value", "p_hk"]


@pytest.fixture(scope="module")
def adata():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=700, n_genes=140, n_cell_types=2, frac_de=0.3, seed=11)
    adata.var["chosen"] = np.arange(140) % 2 == 0
    return adata


def ran(adata, **options):
    tested = sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, copy=True, **options)
    return tested, sc_glmm.get.results(tested, columns="all")


@pytest.mark.parametrize("test", ["t", "lrt"])
def test_single_gene_has_the_same_results_as_among_all_genes(adata, test):
    _, everything = ran(adata, test=test)
    result, selected = ran(adata, test=test, genes="chosen")
    chosen = adata.var["chosen"].to_numpy()
    assert list(selected["variable"]) == list(adata.var_names)
    for name in ("coef", "se", "p_value", "dispersion", "sd_sample", "loglik"):
        np.testing.assert_array_equal(selected[name][chosen], everything[name][chosen], err_msg=name)
        assert selected[name][~chosen].isna().all(), name
    # p-values are adjusted over the tested genes
    assert (selected["adj_p_value"][chosen] <= everything["adj_p_value"][chosen] * (1 + 1e-12)).sum() > 0
    assert (selected["status"][~chosen] == "not_selected").all()
    assert (selected["status"][chosen] == everything["status"][chosen]).all()
    # counts are available for all genes
    np.testing.assert_array_equal(selected["total"], everything["total"])
    assert result.uns["glmm"]["params"]["genes"] == "chosen"


def test_the_prior_is_that_of_the_tested_genes(adata):
    _, everything = ran(adata)
    _, selected = ran(adata, genes="chosen")
    chosen = adata.var["chosen"].to_numpy()
    some_counts = chosen & (everything["total"] >= 10).to_numpy()
    assert selected["p_value"][some_counts].notna().all()
    assert not np.allclose(selected["p_value"][some_counts], everything["p_value"][some_counts], rtol=1e-9)
    assert selected.loc[~chosen, ESTIMATES].isna().all(axis=None)
    np.testing.assert_array_equal(selected["sd_sample"][chosen], everything["sd_sample"][chosen])


def test_named_genes_in_groups(adata):
    names = list(adata.var_names[[3, 60, 61]])
    with pytest.warns(sc_glmm.ScGlmmWarning, match="at least 50 genes"):
        result, selected = ran(adata, genes=names, groupby="cell_type")
    assert set(selected.loc[selected["p_value"].notna(), "variable"]) == set(names)
    details = sc_glmm.get.details(result)
    assert (details["n_tested"] == 3).all()
    assert (details["n_not_selected"] == 137).all()
    assert result.uns["glmm"]["params"]["genes"] == "3 given"
    with pytest.raises(InputError, match="not one of the tested genes="):
        sc_glmm.tl.refit(result, adata.var_names[0], group="type_1")
    model = sc_glmm.tl.refit(result, names[0], group="type_1")
    row = selected[(selected["variable"] == names[0]) & (selected["cell_type"] == "type_1")].iloc[0]
    assert model.test["coef"].iloc[0] == pytest.approx(row["coef"], rel=1e-9)


def test_gaussian_genes(adata):
    logs = adata.copy()
    logs.layers["counts"] = np.log1p(logs.layers["counts"].toarray())
    _, everything = ran(logs, family="gaussian")
    _, selected = ran(logs, family="gaussian", genes=logs.var["chosen"])
    chosen = adata.var["chosen"].to_numpy()
    np.testing.assert_array_equal(selected["p_value"][chosen], everything["p_value"][chosen])
    assert selected["p_value"][~chosen].isna().all()
    assert (selected["status"][~chosen] == "not_selected").all()


def test_from_a_file_and_with_few_counts(adata, tmp_path):
    adata.write_h5ad(tmp_path / "in.h5ad")
    sc_glmm.tl.test(tmp_path / "in.h5ad", FORMULA, genes="chosen", min_counts=60, test="t")
    import anndata as ad

    table = sc_glmm.get.results(ad.read_h5ad(tmp_path / "in.h5ad"), columns="all")
    total = np.asarray(adata.layers["counts"].sum(axis=0)).ravel()
    expected = np.where(
        ~adata.var["chosen"], "not_selected", np.where((total > 0) & (total < 60), "low_count", "tested")
    )
    assert "low_count" in expected
    message = table["status"].astype(str).where(table["status"].isin(["not_selected", "low_count"]), "tested")
    assert list(message) == list(expected)
    assert table["p_value"].notna().to_numpy().tolist() == ((expected == "tested") & (total > 0)).tolist()


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # warning about scanpy's use of pandas
def test_scanpy_reads_tested_genes(adata):
    sc = pytest.importorskip("scanpy")
    result, selected = ran(adata, genes="chosen", test="t")
    frame = sc.get.rank_genes_groups_df(result, group="AD", key="glmm")
    assert len(frame) == result.n_vars
    assert set(frame["names"].iloc[: int(selected["p_value"].notna().sum())]) == set(
        selected.loc[selected["p_value"].notna(), "variable"]
    )
    assert pd.Series(frame["pvals"]).notna().all()
