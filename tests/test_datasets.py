"""Check simulated data against their truth: moments, effects, sample and donor effects, slopes."""

from __future__ import annotations

import tracemalloc

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import sc_glmm
from sc_glmm import datasets


def _row_means(adata, columns):
    """Compute counts per unit of size factor, one row per level of `columns`, and the first obs of each row."""
    groups = adata.obs.groupby(columns, observed=True).indices
    y = adata.layers["counts"]
    size = adata.obs["true_size_factor"].to_numpy()
    means = np.array([np.asarray(y[i].sum(axis=0)).ravel() / size[i].sum() for i in groups.values()])
    return means, adata.obs.iloc[[i[0] for i in groups.values()]]


def test_form_of_the_result():
    adata = datasets.simulate(n_samples=6, n_cells=500, n_genes=40)
    assert adata.shape == (500, 40)
    for matrix in (adata.X, adata.layers["counts"]):
        assert isinstance(matrix, sparse.csr_matrix)
        assert matrix.has_canonical_format
    assert adata.X.dtype == np.float32
    assert adata.layers["counts"].dtype == np.int32
    assert (adata.X != adata.layers["counts"]).nnz == 0
    assert list(adata.obs["disease"].cat.categories) == ["ctl", "AD"]
    assert adata.obs["sample"].nunique() == 6
    # each sample is in one arm and from one donor, and every donor has one sample
    assert (adata.obs.groupby("sample", observed=True)[["disease", "donor"]].nunique() == 1).all(axis=None)
    assert (adata.obs.groupby("donor", observed=True)["sample"].nunique() == 1).all()
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    assert adata.uns["truth"]["formula"] == "counts ~ disease + (1|sample)"
    assert adata.uns["truth"]["contrast"] == "disease: AD vs ctl"


def test_normalising_x_in_place_does_not_change_the_counts():
    adata = datasets.simulate(n_samples=4, n_cells=50, n_genes=20)
    before = adata.layers["counts"].copy()
    adata.X.data[:] = np.log1p(adata.X.data)
    adata.X.indices[:] = 0
    assert (before != adata.layers["counts"]).nnz == 0


def test_the_seed_decides():
    a, b, c = (datasets.simulate(n_samples=4, n_cells=100, n_genes=30, seed=s) for s in (1, 1, 2))
    assert (a.X != b.X).nnz == 0
    assert a.obs.equals(b.obs)
    assert a.var.equals(b.var)
    assert (a.X != c.X).nnz > 0
    d = datasets.simulate(n_samples=4, n_cells=100, n_genes=30, seed=np.random.default_rng(1))
    assert (a.X != d.X).nnz == 0


def test_paired_design():
    adata = datasets.simulate(n_samples=8, n_cells=400, n_genes=20, design="paired")
    assert list(adata.obs["stim"].cat.categories) == ["ctrl", "stim"]
    assert adata.obs["donor"].nunique() == 4
    assert (adata.obs.groupby("donor", observed=True)["stim"].nunique() == 2).all()
    assert (adata.obs.groupby("donor", observed=True)["sample"].nunique() == 2).all()
    assert adata.uns["truth"]["formula"] == "counts ~ stim + (1|donor) + (1|sample)"
    assert (adata.var["true_sd_donor"] > 0).any()


def test_mean_and_variance_are_negative_binomial():
    adata = datasets.simulate(
        n_samples=4, n_cells=20_000, n_genes=150, frac_de=0, sample_sd=0, depth_sd=0, depth=300, seed=3
    )
    y = adata.layers["counts"].toarray()
    mu, phi = adata.var["true_mean"].to_numpy(), adata.var["true_dispersion"].to_numpy()
    variance = mu + phi * mu**2
    z_mean = (y.mean(axis=0) - mu) / np.sqrt(variance / len(y))
    # The standard error of a variance from the fourth moment of the sample itself.
    centred = (y - mu) ** 2
    z_variance = (centred.mean(axis=0) - variance) / (centred.std(axis=0) / np.sqrt(len(y)))
    assert np.abs(z_mean).max() < 5
    assert 0.8 < z_mean.std() < 1.2
    usual = mu * len(y) > 500
    assert np.abs(z_variance[usual]).max() < 6
    assert np.median(phi) == pytest.approx(0.5, rel=0.3)


def test_without_dispersion_the_counts_are_poisson():
    adata = datasets.simulate(n_samples=4, n_cells=20_000, n_genes=50, frac_de=0, sample_sd=0, depth_sd=0, dispersion=0)
    y = adata.layers["counts"].toarray()
    mu = adata.var["true_mean"].to_numpy()
    usual = mu * len(y) > 500
    index = y.var(axis=0)[usual] / mu[usual]
    assert usual.sum() > 10
    assert np.abs(index - 1).max() < 0.1
    assert (adata.var["true_dispersion"] == 0).all()


@pytest.mark.parametrize(("design", "column", "level"), [("unpaired", "disease", "AD"), ("paired", "stim", "stim")])
def test_effects_are_those_in_var(design, column, level):
    adata = datasets.simulate(
        n_samples=6, n_cells=12_000, n_genes=200, design=design, frac_de=0.4, sample_sd=0, donor_sd=0, depth=2_000
    )
    means, rows = _row_means(adata, [column])
    treated = (rows[column] == level).to_numpy()
    found = np.log(means[treated][0] / means[~treated][0])
    well = adata.var["true_mean"].to_numpy() > 0.5
    assert well.sum() > 100
    assert np.abs(found - adata.var["true_coef"])[well].max() < 0.12
    np.testing.assert_allclose(adata.var["true_coef"], adata.var["true_log_fc"] * np.log(2))
    size = adata.var.loc[adata.var["is_de"], "true_log_fc"].abs()
    assert len(size) == 80
    assert size.between(0.5, 1.5).all()
    assert (adata.var.loc[adata.var["is_de"], "true_coef"] > 0).sum() == 40
    assert (adata.var.loc[~adata.var["is_de"], "true_coef"] == 0).all()


def test_sample_effects_have_the_spread_in_var():
    adata = datasets.simulate(
        n_samples=60, n_cells=12_000, n_genes=200, frac_de=0, sample_sd=0.3, dispersion=0, depth=4_000, imbalance=0
    )
    means, _ = _row_means(adata, ["sample"])
    well = adata.var["true_mean"].to_numpy() > 2
    found = np.log(means).std(axis=0, ddof=1)[well]
    true = adata.var["true_sd_sample"].to_numpy()[well]
    assert well.sum() > 50
    assert np.corrcoef(found, true)[0, 1] > 0.95
    assert np.median(found[true > 0] / true[true > 0]) == pytest.approx(1, abs=0.06)
    assert found[true == 0].max() < 0.1
    assert (true == 0).any()


def test_donor_effects_are_shared_by_the_samples_of_a_donor():
    adata = datasets.simulate(
        n_samples=60, n_cells=12_000, n_genes=100, design="paired", frac_de=0, sample_sd=0, donor_sd=0.5, depth=2_000
    )
    means, rows = _row_means(adata, ["donor", "stim"])
    log_mean = np.log(means[:, adata.var["true_mean"].to_numpy() > 2])
    ctrl = (rows["stim"] == "ctrl").to_numpy()
    sd = adata.var["true_sd_donor"].to_numpy()[adata.var["true_mean"].to_numpy() > 2]
    between = ((log_mean[ctrl] + log_mean[~ctrl]) / 2).std(axis=0, ddof=1)
    within = (log_mean[ctrl] - log_mean[~ctrl]).std(axis=0, ddof=1)
    assert np.median(between[sd > 0] / sd[sd > 0]) == pytest.approx(1, abs=0.1)
    assert np.median(within[sd > 0.3]) < 0.25


def test_effects_of_covariates_equal_those_in_var():
    adata = datasets.simulate(
        n_samples=6,
        n_cells=20_000,
        n_genes=60,
        covariates={"pct_mito": 0.3, "s_score": 0.0},
        frac_de=0,
        sample_sd=0,
        dispersion=0,
        depth=600,
    )
    z = adata.obs[["pct_mito", "s_score"]].to_numpy()
    assert np.abs(z.std(axis=0) - 1).max() < 0.2
    assert (adata.var["true_coef_s_score"] == 0).all()
    assert adata.uns["truth"]["formula"] == "counts ~ disease + pct_mito + s_score + (1|sample)"
    y = adata.layers["counts"]
    X = np.column_stack([np.ones(len(z)), z])
    for gene in np.argsort(-adata.var["true_mean"].to_numpy())[:20]:
        # One Newton step from the truth is the estimate, up to rounding of the order of its error squared.
        truth = np.array([np.log(adata.var["true_mean"].iloc[gene]), adata.var["true_coef_pct_mito"].iloc[gene], 0.0])
        mu = adata.obs["true_size_factor"].to_numpy() * np.exp(X @ truth)
        information = X.T @ (X * mu[:, None])
        step = np.linalg.solve(information, X.T @ (y[:, [gene]].toarray().ravel() - mu))
        assert np.abs(step / np.sqrt(np.diag(np.linalg.inv(information)))).max() < 5


def test_cell_types():
    adata = datasets.simulate(n_samples=6, n_cells=9_000, n_genes=200, n_cell_types=3, frac_de=0.5, sample_sd=0)
    truth = adata.varm["true_coef"]
    assert list(truth.columns) == list(adata.obs["cell_type"].cat.categories)
    assert (adata.obs.groupby(["sample", "cell_type"], observed=False).size() > 0).all()
    present = truth.to_numpy() != 0
    assert (present.any(axis=1) == adata.var["is_de"]).all()
    assert 0 < present.sum() < 3 * adata.var["is_de"].sum()
    for cell_type in truth:
        means, rows = _row_means(adata[adata.obs["cell_type"] == cell_type], ["disease"])
        well = (means * 500 > 100).all(axis=0)
        sick = (rows["disease"] == "AD").to_numpy()
        found = np.log(means[sick][0][well] / means[~sick][0][well])
        assert well.sum() > 10
        assert np.abs(found - truth[cell_type].to_numpy()[well]).max() < 0.3


def test_balance_and_depth():
    even = datasets.simulate(n_samples=7, n_cells=700, n_genes=10, imbalance=0, depth_sd=0)
    assert (even.obs["sample"].value_counts() == 100).all()
    assert (even.obs["true_size_factor"] == 1).all()
    uneven = datasets.simulate(n_samples=30, n_cells=3_000, n_genes=500, imbalance=1, depth=100, depth_sd=0.6)
    sizes = uneven.obs["sample"].value_counts()
    assert sizes.sum() == 3_000
    assert sizes.min() >= 2
    assert sizes.max() > 3 * sizes.median()
    assert np.log(uneven.obs["true_size_factor"]).std() == pytest.approx(0.6, rel=0.1)
    assert np.median(uneven.obs["true_size_factor"]) == pytest.approx(1)


def test_the_defaults_look_like_single_cells():
    adata = datasets.simulate(n_cells=1_000)
    assert 0.04 < adata.X.nnz / np.prod(adata.shape) < 0.12
    few_genes = datasets.simulate(n_cells=1_000, n_genes=20)
    assert few_genes.X.sum(axis=1).min() > 0


def test_blocks_of_genes_keep_memory_low(monkeypatch):
    monkeypatch.setattr(datasets, "_BLOCK_VALUES", 50_000)
    tracemalloc.start()
    try:
        adata = datasets.simulate(n_samples=4, n_cells=2_000, n_genes=2_000, depth=100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    dense = 8 * np.prod(adata.shape)
    assert peak < 0.6 * dense


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
def test_round_trip(tmp_path, fmt):
    adata = datasets.simulate(
        n_samples=4, n_cells=60, n_genes=10, n_cell_types=2, covariates={"x": 0.1}, seed=np.random.default_rng(1)
    )
    path = tmp_path / f"data.{fmt}"
    getattr(adata, f"write_{fmt}")(path)
    back = getattr(ad, f"read_{fmt}")(path)
    assert back.uns["truth"]["formula"] == adata.uns["truth"]["formula"]
    assert back.uns["truth"]["seed"] is None
    np.testing.assert_allclose(back.var["true_coef"], adata.var["true_coef"])
    assert (back.layers["counts"] != adata.layers["counts"]).nnz == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"design": "crossed"}, "'crossed'.*unpaired"),
        ({"n_samples": 3}, "n_samples=3.*at least 4"),
        ({"n_samples": 7, "design": "paired"}, "n_samples=7.*even"),
        ({"n_cells": 20}, "n_cells=20"),
        ({"n_genes": 0}, "n_genes=0"),
        ({"n_cell_types": 0}, "n_cell_types=0"),
        ({"frac_de": 1.5}, "frac_de=1.5"),
        ({"log_fc": (2.0, 1.0)}, "log_fc"),
        ({"depth": 0.0}, "depth=0.0"),
        ({"dispersion": -1.0}, "dispersion=-1.0"),
        ({"sample_sd": np.nan}, "sample_sd=nan"),
        ({"covariates": {"sample": 0.1}}, "'sample'"),
        ({"covariates": {"x": -0.1}}, "covariates"),
    ],
)
def test_errors_say_what_is_wrong(arguments, words):
    with pytest.raises(sc_glmm.InputError, match=words):
        datasets.simulate(**{"n_cells": 100, "n_genes": 5, **arguments})
