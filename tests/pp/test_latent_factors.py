"""Check ``pp.latent_factors`` and the functions that read its results, with AnnData."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import sc_glmm
from sc_glmm._errors import DesignError, InputError, ScGlmmWarning
from sc_glmm.cli import app

FORMULA = "counts ~ disease + (1|sample)"


def data(n_samples=16, lean=0.0, seed=0, strength=0.5) -> ad.AnnData:
    """Make samples in two arms; a third of the genes share a programme in some of the samples."""
    adata = sc_glmm.datasets.simulate(n_samples=n_samples, n_cells=60 * n_samples, n_genes=120, seed=seed)
    rng = np.random.default_rng(seed)
    samples = adata.obs["sample"].cat.categories
    arm = adata.obs.groupby("sample", observed=True)["disease"].first().loc[samples].cat.codes.to_numpy()
    side = 2.0 * arm - 1.0
    hidden = rng.normal(size=n_samples)
    hidden = hidden - hidden.mean() - side * (hidden @ side) / n_samples
    hidden = hidden / hidden.std() + lean * side
    loading = strength * rng.normal(size=120) * (np.arange(120) % 3 == 0)
    of_cell = hidden[adata.obs["sample"].cat.codes]
    rate = 3.0 * np.exp(rng.normal(size=120) * 0.5 + np.outer(of_cell, loading))
    adata.layers["counts"] = rng.poisson(rate).astype(float)
    adata.obs["hidden"] = of_cell
    adata.obs["cell_type"] = np.where(np.arange(adata.n_obs) % 2, "B", "T")
    return adata


@pytest.fixture(scope="module")
def one() -> ad.AnnData:
    adata = data()
    sc_glmm.pp.latent_factors(adata, FORMULA)
    return adata


def test_the_factor_is_written_once_for_each_sample(one):
    assert list(one.obs.filter(like="latent").columns) == ["latent_1"]
    by_sample = one.obs.groupby("sample", observed=True)[["latent_1", "hidden"]]
    assert (by_sample.nunique() == 1).all().all()
    assert abs(by_sample.first().corr().iloc[0, 1]) > 0.95


def test_report_names_covariates_that_correlate_with_the_factor(one):
    report = sc_glmm.get.latent_factors(one)
    assert list(report["factor"]) == ["latent_1"]
    assert abs(report["r_hidden"].iloc[0]) > 0.95
    assert report["strength"].iloc[0] > 2.0
    assert {"r_tested", "r_n_cells", "r_log_depth", "r_disease", "genes_up", "genes_down"} <= set(report.columns)
    loaded = {one.var_names[3 * i] for i in range(40)}
    assert set(report["genes_up"].iloc[0].split(", ")) <= loaded


def test_groups_have_their_own_factors_and_other_cells_none():
    adata = data()
    adata.obs.loc[adata.obs_names[:10], "cell_type"] = np.nan
    sc_glmm.pp.latent_factors(adata, FORMULA, groupby="cell_type", n_factors=1)
    assert adata.obs["latent_1"].isna().sum() == 10
    assert list(sc_glmm.get.latent_factors(adata)["group"]) == ["B", "T"]
    assert list(sc_glmm.get.latent_factors(adata, group="T")["group"]) == ["T"]
    with pytest.raises(InputError, match="'B', 'T'"):
        sc_glmm.get.latent_factors(adata, group="NK")


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_the_report_survives_files(one, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    (one.write_h5ad if suffix == "h5ad" else one.write_zarr)(path)
    back = (ad.read_h5ad if suffix == "h5ad" else ad.read_zarr)(path)
    expected = sc_glmm.get.latent_factors(one)
    assert sc_glmm.get.latent_factors(back).equals(expected)


def test_a_second_call_replaces_the_first():
    adata = data()
    sc_glmm.pp.latent_factors(adata, FORMULA, n_factors=3)
    sc_glmm.pp.latent_factors(adata, FORMULA, n_factors=1)
    assert list(adata.obs.filter(like="latent").columns) == ["latent_1"]
    sc_glmm.pp.latent_factors(adata, FORMULA, n_factors=0)
    assert not list(adata.obs.filter(like="latent").columns)
    assert len(sc_glmm.get.latent_factors(adata)) == 0
    copied = sc_glmm.pp.latent_factors(adata, FORMULA, n_factors=1, copy=True)
    assert "latent_1" in copied.obs and "latent_1" not in adata.obs


def test_the_number_of_jobs_and_the_format_do_not_matter(one):
    sparse = data()
    import scipy.sparse as sp

    sparse.layers["counts"] = sp.csc_matrix(sparse.layers["counts"])
    sc_glmm.pp.latent_factors(sparse, FORMULA, n_jobs=2)
    np.testing.assert_array_equal(sparse.obs["latent_1"], one.obs["latent_1"])


def test_few_samples_are_rejected_without_a_number_of_factors():
    adata = data(n_samples=8)
    with pytest.raises(DesignError, match="8 samples are too few"):
        sc_glmm.pp.latent_factors(adata, FORMULA)
    with pytest.warns(ScGlmmWarning, match="8 samples, but hidden factors need at least 12"):
        sc_glmm.pp.latent_factors(adata, FORMULA, n_factors=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_factors": 15}, r"n_factors=15.*0 to 12"),
        ({"n_factors": -1}, "0 to 12"),
        ({"n_factors": "many"}, "'auto' and whole numbers"),
        ({"n_factors": True}, "'auto' and whole numbers"),
        ({"groupby": "nothing"}, "groupby='nothing'"),
    ],
)
def test_invalid_arguments_are_rejected_before_writing(options, message):
    adata = data()
    with pytest.raises((InputError, DesignError), match=message):
        sc_glmm.pp.latent_factors(adata, FORMULA, **options)
    assert "latent" not in adata.uns


def test_a_column_of_the_user_is_not_overwritten():
    adata = data()
    adata.obs["latent_1"] = 1.0
    with pytest.raises(InputError, match="latent_1"):
        sc_glmm.pp.latent_factors(adata, FORMULA)


def test_older_factors_remain_when_a_column_is_taken(one):
    adata = one.copy()
    adata.obs["latent_2"] = 1.0
    with pytest.raises(InputError, match="latent_2"):
        sc_glmm.pp.latent_factors(adata, FORMULA, n_factors=2)
    pd.testing.assert_series_equal(adata.obs["latent_1"], one.obs["latent_1"])
    assert list(sc_glmm.get.latent_factors(adata)["factor"]) == ["latent_1"]


def test_few_genes_are_rejected():
    adata = data()
    adata.layers["counts"][:, 49:] = 0.0
    with pytest.raises(DesignError, match="49 of 120 genes have counts.*at least 50"):
        sc_glmm.pp.latent_factors(adata, FORMULA)


def test_a_factor_that_correlates_with_the_arms_warns():
    with pytest.warns(ScGlmmWarning, match="correlates with the tested columns"):
        sc_glmm.pp.latent_factors(data(lean=2.5), FORMULA)


def test_warning_about_factors_of_other_fixed_effects(one):
    adata = one.copy()
    adata.obs["age"] = adata.obs["sample"].cat.codes.to_numpy() % 5 + 0.5
    with pytest.warns(ScGlmmWarning, match="estimated for the fixed effects of"):
        sc_glmm.tl.test(adata, "counts ~ disease + age + latent_1 + (1|sample)", contrasts="disease", test="t")
    with pytest.warns(ScGlmmWarning, match="circular"):
        sc_glmm.tl.test(adata, "counts ~ disease + latent_1 + (1|sample)", test="t")


def test_message_without_factors():
    with pytest.raises(InputError, match="pp.latent_factors first"):
        sc_glmm.get.latent_factors(data())


def test_the_figure_draws_samples_and_correlations(one):
    left = sc_glmm.pl.latent_factors(one, color="disease")
    right = left.figure.axes[1]
    assert sum(len(c.get_offsets()) for c in left.collections) == 16
    assert {text.get_text() for text in left.get_legend().get_texts()} == {"ctl", "AD"}
    assert "tested columns" in [label.get_text() for label in right.get_yticklabels()]
    _, ax = plt.subplots()
    assert sc_glmm.pl.latent_factors(one, ax=ax) is ax and len(ax.figure.axes) == 1
    with pytest.raises(InputError, match="color='nothing'"):
        sc_glmm.pl.latent_factors(one, color="nothing")
    plt.close("all")


def test_the_command_writes_the_factors_and_the_report(tmp_path):
    adata = data()
    adata.write_h5ad(tmp_path / "in.h5ad")
    run = CliRunner().invoke(
        app, ["latent", str(tmp_path / "in.h5ad"), FORMULA, "--contrast", "disease", "-o", str(tmp_path / "out.h5ad")]
    )
    assert run.exit_code == 0, run.output
    back = ad.read_h5ad(tmp_path / "out.h5ad")
    sc_glmm.pp.latent_factors(adata, FORMULA)
    np.testing.assert_array_equal(back.obs["latent_1"], adata.obs["latent_1"])
    run = CliRunner().invoke(app, ["latent", str(tmp_path / "in.h5ad"), FORMULA, "-o", str(tmp_path / "out.csv")])
    assert run.exit_code == 0, run.output
    assert list(pd.read_csv(tmp_path / "out.csv")["factor"]) == ["latent_1"]
    run = CliRunner().invoke(
        app, ["latent", str(tmp_path / "in.h5ad"), FORMULA, "--n-factors", "x", "-o", str(tmp_path / "out.csv")]
    )
    assert run.exit_code == 2 and "whole number" in run.output
