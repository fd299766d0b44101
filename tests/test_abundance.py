"""Check tables of abundance from cells and neighbourhoods: tests, figures, known truth, invalid input."""

from __future__ import annotations

import itertools
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import ndtr
from typer.testing import CliRunner

import sc_glmm
from sc_glmm._compress.reference import common_change
from sc_glmm._errors import DesignError, InputError, ScGlmmWarning
from sc_glmm._inference import prior_of_few
from sc_glmm._inference.multiple import benjamini_hochberg
from sc_glmm.cli import app

TYPES = ["B", "CD4", "CD8", "DC", "Mono", "NK"]
LEVEL = np.array([0.0, 1.0, 0.6, -1.2, 0.8, -0.4])


def cells(n_arm=5, beta=None, seed=0, size=1000, spread=0.3, types=TYPES, level=LEVEL):
    """Simulate cells of samples in two arms; `beta` are true changes of absolute numbers, natural log."""
    rng = np.random.default_rng(seed)
    beta = np.zeros(len(types)) if beta is None else np.asarray(beta)
    rows = []
    for s in range(2 * n_arm):
        arm = int(s >= n_arm)
        rate = np.exp(level + arm * beta + rng.normal(0, spread, len(types)))
        of_type = rng.choice(len(types), rng.poisson(size * np.exp(rng.normal(0, 0.4))), p=rate / rate.sum())
        rows.append(pd.DataFrame({"sample": f"s{s}", "disease": ["ctl", "AD"][arm], "age": 50 + 3 * s, "t": of_type}))
    obs = pd.concat(rows, ignore_index=True)
    obs["cell_type"] = pd.Categorical.from_codes(obs.pop("t"), categories=types)
    obs["n_counts"] = rng.poisson(1000, len(obs))
    obs["disease"] = pd.Categorical(obs["disease"], categories=["ctl", "AD"])
    return ad.AnnData(obs=obs.set_index(obs.index.map("c{}".format)))


def results_of(table, formula="X ~ disease", **more):
    sc_glmm.tl.test(table, formula, n_jobs=1, progress=False, **more)
    return sc_glmm.get.results(table, columns="all")


@pytest.fixture(scope="module")
def grown():
    """Make data in which one type increases fourfold and the others do not change."""
    return cells(n_arm=6, beta=np.log([1, 1, 1, 1, 4, 1]), size=3000, spread=0.15, seed=1)


# Tables


def test_counts_equal_a_cross_table():
    adata = cells()
    mixed = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    for data in (adata, mixed):
        table = sc_glmm.pp.abundance(data, sample="sample", groupby="cell_type")
        expected = pd.crosstab(data.obs["sample"], data.obs["cell_type"])
        assert list(table.obs_names) == list(expected.index)
        assert list(table.var_names) == list(expected.columns)
        np.testing.assert_array_equal(table.X, expected.to_numpy())
        total = expected.sum(axis=1)
        assert (table.obs["n_cells"].to_numpy() == total.to_numpy()).all()
        np.testing.assert_allclose(table.obs["size_factors"], total / total.mean())
        np.testing.assert_allclose(table.layers["proportions"].sum(axis=1), 1.0)
    assert list(table.obs["disease"].cat.categories) == ["ctl", "AD"]


def test_columns_that_vary_within_samples_are_dropped_with_a_note(caplog):
    with caplog.at_level(logging.INFO, logger="sc_glmm"):
        logging.getLogger("sc_glmm").addHandler(caplog.handler)
        table = sc_glmm.pp.abundance(cells())
        logging.getLogger("sc_glmm").removeHandler(caplog.handler)
    assert {"sample", "disease", "age"} <= set(table.obs)
    assert not {"n_counts", "cell_type"} & set(table.obs)
    assert "n_counts" in caplog.text


def test_cells_without_a_type_are_not_counted():
    adata = cells()
    adata.obs.loc[adata.obs_names[:7], "cell_type"] = np.nan
    with pytest.warns(ScGlmmWarning, match="7 cells without a value"):
        table = sc_glmm.pp.abundance(adata)
    assert table.obs["n_cells"].sum() == adata.n_obs - 7


# The reference


def test_one_growing_type_does_not_make_the_others_shrink(grown):
    robust = results_of(sc_glmm.pp.abundance(grown))
    total = results_of(sc_glmm.pp.abundance(grown, reference="total"))
    others = [name for name in TYPES if name != "Mono"]
    assert robust.loc["Mono", "log_fc"] == pytest.approx(2.0, abs=0.4)
    assert np.abs(robust.loc[others, "log_fc"]).max() < 0.5
    assert (robust.loc[others, "adj_p_value"] > 0.05).all()
    assert robust.loc["Mono", "adj_p_value"] < 0.001
    # relative to all cells, the other types decrease; the robust reference corrects this
    assert (total.loc[others, "log_fc"] < -0.5).all()


def test_known_types_as_the_reference(grown):
    table = sc_glmm.pp.abundance(grown, reference=["B", "CD4"])
    found = results_of(table)
    assert (found.loc[["B", "CD4"], "status"] == "not_selected").all()
    assert found.loc[["B", "CD4"], "p_value"].isna().all()
    expected = table.to_df()[["B", "CD4"]].sum(axis=1) + 0.5
    np.testing.assert_allclose(table.obs["size_factors"], expected / expected.mean())
    assert found.loc["Mono", "log_fc"] == pytest.approx(2.0, abs=0.5)


def test_a_type_far_from_the_others_has_no_weight_in_the_reference():
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(10), np.repeat([0.0, 1.0], 5)])
    y = rng.poisson(200 * np.exp(rng.normal(0, 0.1, (10, 6)))).astype(float)
    shifts = []
    for factor in (20.0, 60.0):
        changed = y.copy()
        changed[5:, 0] = np.round(factor * y[5:, 0])
        result = common_change(changed, np.log(y[:, 1:].sum(axis=1)), X)
        assert result.weight[0] == 0.0
        assert (result.weight[1:] > 0.2).all()
        shifts.append(result.log_shift)
    # for any size of its change
    np.testing.assert_allclose(shifts[0], shifts[1], atol=1e-3)
    # in the limit of many cells it is the common change of the others
    common = np.round(y * 50 * np.where(X[:, 1:] > 0, 0.5, 1.0))
    result = common_change(common, np.log(50 * y.sum(axis=1)), X)
    step = result.log_shift[5:].mean() - result.log_shift[:5].mean()
    assert step == pytest.approx(np.log(0.5), abs=0.05)


def test_the_reference_depends_on_the_column_space_of_the_design_alone():
    rng = np.random.default_rng(4)
    levels = np.repeat([0, 1, 2], 4)
    X = np.column_stack([np.ones(12), levels == 1, levels == 2, rng.normal(size=12)]).astype(float)
    A = rng.normal(size=(4, 4))
    y = rng.poisson(np.exp(rng.normal(4, 0.5, (12, 7)))).astype(float)
    size = np.log(y.sum(axis=1))
    first, other = common_change(y, size, X), common_change(y, size, X @ A)
    np.testing.assert_allclose(first.log_shift, other.log_shift, atol=1e-8)
    # and not on the order
    order = rng.permutation(12)
    again = common_change(y[order][:, ::-1], size[order], X[order])
    np.testing.assert_allclose(again.log_shift, first.log_shift[order], atol=1e-8)
    assert np.abs(first.log_shift).max() > 1e-3


def test_nothing_depends_on_base_level_order_or_names():
    adata = cells(beta=np.log([1, 1, 2.5, 1, 1, 1]), seed=5)
    first = results_of(sc_glmm.pp.abundance(adata))
    renamed = adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()
    renamed.obs["patient id"] = renamed.obs.pop("sample").map(lambda name: f"z{9 - int(name[1:]):02d}")
    renamed.obs["cell_type"] = renamed.obs["cell_type"].cat.rename_categories(lambda name: f"x-{name}")
    table = sc_glmm.pp.abundance(renamed, sample="patient id")
    other = results_of(table, reference={"disease": "AD"})
    np.testing.assert_allclose(other["log_fc"].to_numpy(), -first["log_fc"].to_numpy(), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(other["p_value"].to_numpy(), first["p_value"].to_numpy(), rtol=1e-5)


# The model and its test


def test_the_model_is_a_poisson_model_with_an_effect_of_each_sample():
    table = sc_glmm.pp.abundance(cells(seed=6))
    found = results_of(table)
    params = table.uns["glmm"]["params"]
    assert params["family"] == "poisson"
    assert params["test"] == "eb_lr"
    run = sc_glmm._adata.stored.read_run(table, "glmm", None)
    factor = run.params["log_sample_factors"]
    frame = table.obs.assign(
        y=np.asarray(table.to_df()["CD4"]),
        o=np.log(table.obs["size_factors"]) + [factor[name] for name in table.obs["sample"]],
    )
    one = sc_glmm.glmer("y ~ disease + offset(o) + (1|sample)", frame, family="poisson")
    refit = sc_glmm.tl.refit(table, "CD4")
    np.testing.assert_allclose(refit.fixef(), one.fixef(), atol=0.02)
    assert float(found.loc["CD4", "sd_sample"]) == pytest.approx(float(refit.varcorr()["sdcor"].iloc[0]), rel=1e-4)


def test_repeated_donors():
    adata = cells(n_arm=6, seed=7)
    adata.obs["donor"] = pd.Categorical([f"d{int(name[1:]) % 6}" for name in adata.obs["sample"]])
    table = sc_glmm.pp.abundance(adata)
    found = results_of(table, "X ~ disease + (1|donor)")
    params = table.uns["glmm"]["params"]
    assert params["formula_fitted"] == "X ~ disease + (1|donor) + (1 | sample)"
    assert found["p_value"].notna().all()
    assert set(found["df"]) == {5.0}
    # an existing grouping factor with one level per row is not added again
    again = sc_glmm.pp.abundance(adata)
    same = results_of(again, "X ~ disease + (1|donor/disease)")
    np.testing.assert_allclose(same["p_value"], found["p_value"], rtol=1e-6)


def test_the_log_says_which_test_was_used(caplog):
    logging.getLogger("sc_glmm").addHandler(caplog.handler)
    results_of(sc_glmm.pp.abundance(cells(seed=8)))
    logging.getLogger("sc_glmm").removeHandler(caplog.handler)
    assert "test='eb_lr' with a prior of the variances from 6 types" in caplog.text
    assert "changes are relative to the change of most types" in caplog.text


def test_rejections_where_nothing_or_one_type_changes():
    """Check rejections as in benchmarks/calibration/abundance.py, but shorter; a wrong reference exceeds the bounds."""
    null, robust, total = [], [], []
    for seed in range(25):
        null.append(results_of(sc_glmm.pp.abundance(cells(n_arm=4, seed=seed, size=400, spread=0.4)))["p_value"])
        adata = cells(n_arm=4, beta=np.log([1, 1, 1, 1, 5, 1]), seed=100 + seed, size=400, spread=0.3)
        for reference, values in (("robust", robust), ("total", total)):
            values.append(results_of(sc_glmm.pp.abundance(adata, reference=reference))["p_value"].drop("Mono"))
    assert 0.01 < (np.concatenate(null) < 0.05).mean() < 0.11
    assert (np.concatenate(robust) < 0.05).mean() < 0.12
    assert (np.concatenate(total) < 0.05).mean() > 0.3


def test_the_prior_of_few_is_the_hierarchical_posterior():
    rng = np.random.default_rng(9)
    nodes = np.array([4.0, 1.0, 0.26, 0.07, 0.02, 1e-6])
    log_likelihood = rng.normal(size=(3, 6))
    result = prior_of_few.fit_prior_of_few(log_likelihood, np.array([0.2, 0.5, 0.8]), nodes[:, None], (6,))
    pairs = [prior_of_few._lognormal(nodes, m, t) for m in prior_of_few.MEDIANS for t in prior_of_few.SPREADS]
    L = np.exp(log_likelihood)
    joint = np.zeros((6, 6, 6))
    for pi in pairs:
        joint += np.einsum("i,j,k->ijk", *(pi * L[g] for g in range(3)))
    joint /= joint.sum()
    for g, axes in enumerate([(1, 2), (0, 2), (0, 1)]):
        posterior = result.at(np.array([0.2, 0.5, 0.8]))[g] * L[g]
        np.testing.assert_allclose(posterior / posterior.sum(), joint.sum(axis=axes), rtol=1e-10)
    # two variances: the same as from all combinations
    grid = np.array(list(itertools.product(nodes, nodes[:3])))
    two = prior_of_few.fit_prior_of_few(rng.normal(size=(4, 18)), np.arange(4) / 4, grid, (6, 3))
    np.testing.assert_allclose(two.at(np.arange(4) / 4).sum(axis=1), 1.0)


@pytest.mark.parametrize("n_types", [2, 5, 12])
def test_the_prior_of_few_is_calibrated(n_types):
    """Check Gaussian estimates with variances that are not lognormal."""
    rng = np.random.default_rng(10)
    nodes = np.array([1e-6, 1e-3, 3e-3, 8e-3, 0.02, 0.04, 0.07, 0.11, 0.17, 0.26, 0.4, 0.6, 1.0, 1.8, 4.0])
    p = []
    for _ in range(1500 // n_types * 2):
        s2 = rng.uniform(0.2, 0.7, n_types) ** 2 + 0.005
        rss, b = s2 * rng.chisquare(4, n_types), rng.normal(size=n_types) * np.sqrt(s2 * 2 / 3)
        V = nodes + 0.005
        log_likelihood = -2.0 * np.log(V) - rss[:, None] / (2 * V)
        rank = (np.arange(n_types) + 0.5) / n_types
        prior = prior_of_few.fit_prior_of_few(log_likelihood, rank, nodes[:, None], (15,)).at(rank)
        weight = prior * np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        p += list((2 * weight * ndtr(-np.abs(b)[:, None] / np.sqrt(V * 2 / 3))).sum(axis=1))
    assert 0.035 < (np.array(p) < 0.05).mean() < 0.065
    assert (np.array(p) < 0.01).mean() < 0.018


# Neighbourhoods


def test_weighted_adjustment_by_hand():
    p, w = np.array([0.03, 0.01, 0.2, np.nan, 0.04]), np.array([1.0, 2.0, 4.0, 9.0, 1.0])
    # ascending 0.01 (2), 0.03 (1), 0.04 (1), 0.2 (4); total weight 8
    raw = [0.01 * 8 / 2, 0.03 * 8 / 3, 0.04 * 8 / 4, 0.2]
    expected = [min(raw[1:3]), min(raw[:3]), 0.2, np.nan, raw[2]]
    np.testing.assert_allclose(benjamini_hochberg(p, w), expected)
    np.testing.assert_allclose(benjamini_hochberg(p, 7 * w), expected)
    np.testing.assert_allclose(benjamini_hochberg(p, np.ones(5)), benjamini_hochberg(p))
    tied, weight = np.array([0.02, 0.02, 0.5]), np.array([1.0, 3.0, 2.0])
    np.testing.assert_allclose(benjamini_hochberg(tied, weight), benjamini_hochberg(tied, weight[[1, 0, 2]]))


def milo_cells(seed=11):
    """Make cells with neighbourhoods in the format of pertpy's make_nhoods."""
    adata = cells(n_arm=4, seed=seed, size=150)
    rng = np.random.default_rng(seed)
    place = rng.normal(size=adata.n_obs) + 2.0 * adata.obs["cell_type"].cat.codes
    index = np.sort(rng.choice(adata.n_obs, 70, replace=False))
    distance = np.abs(place.to_numpy()[:, None] - place.to_numpy()[index])
    near = distance <= np.sort(distance, axis=0)[60]
    adata.obsm["nhoods"] = sparse.csr_matrix(near.astype(np.float32))
    adata.obs["nhood_ixs_refined"] = np.isin(np.arange(adata.n_obs), index).astype(int)
    adata.obs["nhood_kth_distance"] = 0.0
    adata.obs.loc[adata.obs_names[index], "nhood_kth_distance"] = np.sort(distance, axis=0)[60]
    return adata


def milo_mudata(adata):
    """Make a MuData in the format of pertpy's count_nhoods."""
    mudata = pytest.importorskip("mudata")
    if hasattr(mudata, "set_options"):  # until mudata 0.4, whose default this is
        mudata.set_options(pull_on_update=False)
    dummies = pd.get_dummies(adata.obs["sample"])
    table = ad.AnnData(
        X=sparse.csr_matrix(adata.obsm["nhoods"].T.dot(sparse.csr_matrix(dummies.to_numpy(dtype=np.float32))).T),
        obs=pd.DataFrame(index=dummies.columns.astype(str)),
    )
    table.uns["sample_col"] = "sample"
    inside = (adata.obs["nhood_ixs_refined"] == 1).to_numpy()
    table.var["index_cell"] = adata.obs_names[inside]
    table.var["kth_distance"] = adata.obs.loc[inside, "nhood_kth_distance"].to_numpy()
    return mudata.MuData({"rna": adata, "milo": table})


def test_neighbourhoods_of_milo():
    adata = milo_cells()
    table = sc_glmm.pp.abundance(adata, nhoods="nhoods")
    member = adata.obsm["nhoods"].toarray()
    for sample, row in zip(table.obs["sample"], table.X, strict=True):
        np.testing.assert_array_equal(row, member[(adata.obs["sample"] == sample).to_numpy()].sum(axis=0))
    assert (table.obs["n_cells"] == adata.obs["sample"].value_counts().loc[table.obs_names]).all()
    np.testing.assert_allclose(table.var["spatial_weight"], 1.0 / table.var["kth_distance"])
    found = results_of(table)
    np.testing.assert_allclose(
        found["adj_p_value"], benjamini_hochberg(found["p_value"].to_numpy(), table.var["spatial_weight"].to_numpy())
    )
    assert not np.allclose(found["adj_p_value"], benjamini_hochberg(found["p_value"].to_numpy()))
    overlap = sc_glmm.pp.abundance(adata, nhoods="nhoods", weights="graph-overlap")
    np.testing.assert_allclose(overlap.var["spatial_weight"], 1.0 / (member.T @ member).sum(axis=1))
    equal = sc_glmm.pp.abundance(adata, nhoods="nhoods", weights=None)
    assert "spatial_weight" not in equal.var

    of_mudata = sc_glmm.pp.abundance(milo_mudata(adata))
    np.testing.assert_array_equal(of_mudata.X, table.X)
    pd.testing.assert_series_equal(of_mudata.obs["disease"], table.obs["disease"], check_names=False)
    assert (of_mudata.obs["n_cells"] == table.obs["n_cells"]).all()
    np.testing.assert_allclose(of_mudata.var["spatial_weight"], table.var["spatial_weight"])
    np.testing.assert_allclose(results_of(of_mudata)["p_value"].to_numpy(), found["p_value"].to_numpy())


# Bad input


def test_messages_about_tables():
    adata = cells()
    with pytest.raises(InputError, match="no column 'cel_type' in obs.*did you mean 'cell_type'"):
        sc_glmm.pp.abundance(adata, groupby="cel_type")
    with pytest.raises(InputError, match="one sample .*'s0'"):
        sc_glmm.pp.abundance(adata[adata.obs["sample"] == "s0"].copy())
    with pytest.raises(InputError, match="one type .*'B'"):
        sc_glmm.pp.abundance(adata[adata.obs["cell_type"] == "B"].copy())
    with pytest.raises(InputError, match="reference='Bcell'.*'CD4'"):
        sc_glmm.pp.abundance(adata, reference="Bcell")
    with pytest.raises(InputError, match="contains all types"):
        sc_glmm.pp.abundance(adata, reference=TYPES)
    with pytest.raises(InputError, match="no entry 'nhood' in obsm"):
        sc_glmm.pp.abundance(adata, nhoods="nhood")
    with pytest.raises(InputError, match="weights='k'"):
        sc_glmm.pp.abundance(adata, weights="k")
    with pytest.raises(InputError, match="not a table of samples"):
        sc_glmm.pl.abundance(adata)


def test_a_sample_in_two_arms():
    adata = cells()
    adata.obs["disease"] = adata.obs["disease"].astype(str)
    adata.obs.loc[adata.obs_names[0], "disease"] = "AD"
    table = sc_glmm.pp.abundance(adata)
    with pytest.raises(InputError, match="no column 'disease'.*several values of it within a sample"):
        sc_glmm.tl.test(table, "X ~ disease")


def test_a_table_of_cells_still_needs_a_random_effect():
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=120, n_genes=10, seed=0)
    with pytest.raises(InputError, match="no random effect"):
        sc_glmm.tl.test(adata, "counts ~ disease")


def test_too_few_samples():
    table = sc_glmm.pp.abundance(cells(n_arm=1))
    with pytest.raises(DesignError, match="degrees? of freedom"):
        sc_glmm.tl.test(table, "X ~ disease")


def test_a_type_without_cells_in_an_arm():
    adata = cells(seed=12)
    gone = (adata.obs["cell_type"] == "NK") & (adata.obs["disease"] == "AD")
    table = sc_glmm.pp.abundance(adata[~gone.to_numpy()].copy())
    row = results_of(table).loc["NK"]
    assert row["status"] == "separated"
    assert row["ci_low"] == -np.inf
    assert np.isfinite(row["ci_high"])
    assert row["p_value"] < 0.05


def test_existing_table():
    counts = sc_glmm.pp.abundance(cells(seed=13))
    plain = ad.AnnData(counts.X.copy(), obs=counts.obs[["disease"]].copy(), var=pd.DataFrame(index=TYPES))
    table = sc_glmm.pp.abundance(plain, groupby=None)
    np.testing.assert_allclose(results_of(table)["p_value"].to_numpy(), results_of(counts)["p_value"].to_numpy())
    twice = ad.AnnData(plain.X, obs=plain.obs.assign(sample="s"), var=plain.var)
    with pytest.raises(InputError, match="'s' occurs in several rows"):
        sc_glmm.pp.abundance(twice, groupby=None)


# Files, command, figure


def test_a_table_on_disk_and_the_command(tmp_path):
    adata = cells(seed=14, beta=np.log([1, 1, 3, 1, 1, 1]))
    source, out = tmp_path / "cells.h5ad", tmp_path / "table.h5ad"
    adata.write_h5ad(source)
    run = CliRunner()
    process = run.invoke(app, ["abundance", str(source), "-o", str(out)])
    assert process.exit_code == 0, process.output
    expected = results_of(sc_glmm.pp.abundance(adata))
    sc_glmm.tl.test(out, "X ~ disease", n_jobs=1, progress=False)
    found = sc_glmm.get.results(out, columns="all")
    np.testing.assert_allclose(found["p_value"].to_numpy(), expected["p_value"].to_numpy())
    result = run.invoke(app, ["test", str(out), "X ~ disease", "-o", str(tmp_path / "r.csv"), "--n-jobs", "1"])
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(pd.read_csv(tmp_path / "r.csv")["p_value"], expected["p_value"].to_numpy(), rtol=1e-6)
    drawn = run.invoke(app, ["plot", str(out), "abundance", "-o", str(tmp_path / "f.png")])
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "f.png").stat().st_size > 10_000
    wrong = run.invoke(app, ["abundance", str(source), "-o", str(out), "--groupby", "type"])
    assert wrong.exit_code == 2
    assert "no column 'type'" in wrong.output


def test_the_figure_shows_samples_and_changes(grown):
    import matplotlib.pyplot as plt

    table = sc_glmm.pp.abundance(grown)
    left = sc_glmm.pl.abundance(table, by="disease")
    assert len(left.figure.axes) == 1
    found = results_of(table)
    left = sc_glmm.pl.abundance(table)
    right = left.figure.axes[1]
    order = [label.get_text() for label in left.get_yticklabels()]
    assert order == list(table.to_df().div(table.obs["n_cells"], axis=0).mean().sort_values(ascending=False).index)
    dots = [line for line in left.lines if line.get_marker() == "o" and len(line.get_xdata()) > 1]
    shares = np.sort(np.concatenate([np.asarray(line.get_xdata()) for line in dots]))
    np.testing.assert_allclose(shares, np.sort(table.layers["proportions"][table.layers["proportions"] > 0].ravel()))
    marks = {
        int(line.get_ydata()[0]): float(line.get_xdata()[0])
        for line in right.lines
        if line.get_marker() == "o" and len(line.get_xdata()) == 1
    }
    np.testing.assert_allclose([marks[i] for i in range(6)], found.loc[order, "log_fc"])
    assert [text.get_text() for text in left.figure.axes[0].get_legend().get_texts()] == ["ctl", "AD"]
    with pytest.raises(InputError, match="by='arm' is not a column"):
        sc_glmm.pl.abundance(table, by="arm")
    plt.close("all")
