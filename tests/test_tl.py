"""Check tl.test: its results, messages and errors."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

import sc_glmm
from sc_glmm import DesignError, FormulaError, InputError, ScGlmmWarning

FORMULA = "counts ~ disease + (1|sample)"
CTL = {"disease": "ctl"}


def run(adata, formula, **kwargs):
    """Run tl.test with a test that uses each gene alone, because the default test needs more genes."""
    return sc_glmm.tl.test(adata, formula, **{"test": "t", **kwargs})


def make(n_samples=8, cells=25, n_genes=30, seed=0, strings=False):
    """Make counts of two arms with sample effects; the disease affects gene 0."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(n_samples), cells)
    arm = sample % 2
    n = len(sample)
    depth = rng.lognormal(0, 0.3, n)
    mean = rng.lognormal(0.5, 0.6, n_genes)
    mean[-1] = 20.0  # no cell without a count
    effect = np.zeros(n_genes)
    effect[0] = 1.5
    eta = np.log(mean) + np.outer(arm, effect) + rng.normal(0, 0.25, (n_samples, n_genes))[sample]
    mu = depth[:, None] * np.exp(eta)
    counts = rng.poisson(mu * rng.gamma(2.0, 0.5, mu.shape))
    names = np.array(["ctl", "AD"])[arm]
    obs = pd.DataFrame(
        {
            "sample": [f"s{i}" for i in sample],
            "disease": names if strings else pd.Categorical(names, categories=["ctl", "AD"]),
            "age": 40.0 + 3.0 * sample,
            "cell_type": np.where(np.arange(n) % 3 == 0, "B cells", "T cells/NK"),
            "mito": rng.normal(size=n),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    adata = ad.AnnData(
        sp.csr_matrix(np.log1p(counts)), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    )
    adata.layers["counts"] = sp.csr_matrix(counts)
    return adata


@pytest.fixture(scope="module")
def tested():
    adata = make()
    run(adata, FORMULA, n_jobs=1)
    return adata


def test_table_is_complete_and_in_order(tested):
    table = sc_glmm.get.results(tested, columns="all")
    assert list(table["variable"]) == list(tested.var_names)
    first = "variable contrast coef se log_fc log_fc_se ci_low ci_high stat df p_value adj_p_value status".split()
    assert list(table.columns[: len(first)]) == first
    assert set(table["contrast"]) == {"disease: AD vs ctl"}
    assert (table["df"] == 6).all()  # eight samples minus two coefficients, for any number of cells
    assert table["p_value"].idxmin() == "g0"
    assert list(table.index) == list(table["variable"])
    np.testing.assert_allclose(table["log_fc"], table["coef"] / np.log(2))
    np.testing.assert_allclose((table["ci_low"] + table["ci_high"]) / 2, table["log_fc"])
    assert ((table["ci_low"] > 0) | (table["ci_high"] < 0)).equals(table["p_value"] < 0.05)


def test_slots(tested):
    assert {"glmm", "glmm_disease"} <= set(tested.varm)
    genes = tested.varm["glmm"]
    wanted = "status message converged singular separated n_iter mean pct loglik dispersion sd_sample coef_Intercept"
    assert set(wanted.split()) <= set(genes.columns)
    y = tested.layers["counts"]
    np.testing.assert_allclose(genes["mean"], np.asarray(y.mean(axis=0)).ravel())
    np.testing.assert_allclose(genes["pct"], 100 * np.asarray((y > 0).mean(axis=0)).ravel())
    params = tested.uns["glmm"]["params"]
    assert params["formula"] == FORMULA
    assert params["response"] == "layers['counts']"
    assert params["n_rows"] == 8
    assert params["node_error"] < 1e-8


@pytest.mark.parametrize("groupby", [None, "cell_type"])
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_survives_a_file(tmp_path, form, groupby):
    adata = make(n_genes=12)
    run(adata, FORMULA, groupby=groupby)
    before = sc_glmm.get.results(adata, columns="all")
    path = tmp_path / f"a.{form}"
    getattr(adata, f"write_{form}")(path)
    after = sc_glmm.get.results(getattr(ad, f"read_{form}")(path), columns="all")
    pd.testing.assert_frame_equal(before, after, check_dtype=False, check_categorical=False)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # warning of pandas 3.1 about scanpy
def test_scanpy_reads_the_mirror(tmp_path, tested):
    path = tmp_path / "a.h5ad"
    tested.write_h5ad(path)
    for adata in (tested, ad.read_h5ad(path)):
        frame = sc.get.rank_genes_groups_df(adata, group="AD", key="glmm")
        assert frame["names"].iloc[0] == "g0"
        assert len(frame) == adata.n_vars
    table = sc_glmm.get.results(tested, columns="all").set_index("variable")
    np.testing.assert_allclose(frame["pvals"], table.loc[frame["names"], "p_value"])
    np.testing.assert_allclose(frame["logfoldchanges"], table.loc[frame["names"], "log_fc"], rtol=1e-5)


def test_copy_does_not_change_the_original():
    adata = make(n_genes=5)
    out = run(adata, FORMULA, copy=True)
    assert "glmm" in out.varm
    assert "glmm" not in adata.varm
    assert "glmm" not in adata.uns


def test_second_run_replaces_the_first():
    adata = make(n_genes=5)
    run(adata, FORMULA)
    run(adata, "counts ~ age + (1|sample)")
    assert "glmm_disease" not in adata.varm
    assert set(sc_glmm.get.results(adata, columns="all")["contrast"].astype(str)) == {"age: per unit"}


def test_results_do_not_depend_on_the_number_of_jobs():
    one, two = make(n_genes=150, cells=6), make(n_genes=150, cells=6)
    run(one, FORMULA, n_jobs=1)
    run(two, FORMULA, n_jobs=3)
    pd.testing.assert_frame_equal(
        sc_glmm.get.results(one, columns="all"), sc_glmm.get.results(two, columns="all"), check_exact=True
    )


def test_groups_are_fitted_as_if_alone():
    adata = make(n_genes=10)
    sizes = np.linspace(0.5, 2, adata.n_obs)
    run(adata, FORMULA, groupby="cell_type", size_factors=sizes)
    both = sc_glmm.get.results(adata, columns="all")
    for name in ("B cells", "T cells/NK"):
        mask = (adata.obs["cell_type"] == name).to_numpy()
        alone = adata[mask].copy()
        del alone.uns["glmm"], alone.uns["glmm_results"]
        run(alone, FORMULA, size_factors=sizes[mask])
        rows = both[both["cell_type"] == name].drop(columns="cell_type").reset_index(drop=True)
        for column in ("coef", "se", "p_value", "adj_p_value", "dispersion", "sd_sample", "mean"):
            np.testing.assert_allclose(
                rows[column], sc_glmm.get.results(alone, columns="all")[column], rtol=1e-6, atol=1e-8
            )
    details = adata.uns["glmm"]["details"]
    assert list(details["cell_type"]) == ["B cells", "T cells/NK"]


def test_a_group_that_cannot_be_tested_is_skipped_with_the_reason():
    adata = make(n_genes=8)
    adata.obs["cell_type"] = np.where(
        (adata.obs["disease"] == "AD") & (np.arange(adata.n_obs) % 2 == 0), "only AD", "rest"
    )
    with pytest.warns(ScGlmmWarning, match="'only AD' was skipped"):
        run(adata, FORMULA, groupby="cell_type")
    assert set(sc_glmm.get.results(adata, columns="all")["cell_type"].astype(str)) == {"rest"}
    details = adata.uns["glmm"]["details"].set_index("cell_type")
    assert "disease" in details.loc["only AD", "skipped"]


def test_joint_test_of_a_factor_with_three_levels_and_triples():
    adata = make(n_samples=9, n_genes=8)
    arm = adata.obs["sample"].str[1:].astype(int) % 3
    adata.obs["arm"] = pd.Categorical(np.array(["a", "b", "c"])[arm], categories=["a", "b", "c"])
    run(adata, "counts ~ arm + (1|sample)", contrasts=["arm", ("arm", "c", "b"), ("arm", "b", "c")])
    table = sc_glmm.get.results(adata, columns="all")
    joint = table[table["contrast"].astype(str).str.startswith("arm: any")]
    assert joint["coef"].isna().all()
    assert joint["p_value"].between(0, 1).all()
    stored = sc_glmm.get.results(adata, contrast="arm_c_vs_b", columns="all")
    back = sc_glmm.get.results(adata, contrast="arm: b vs c", columns="all")
    np.testing.assert_allclose(stored["coef"], -back["coef"])
    np.testing.assert_allclose(stored["p_value"], back["p_value"])


def test_gaussian_family_on_log_values():
    adata = make(n_genes=6)
    adata.layers["log1p"] = adata.X.copy()
    run(adata, "log1p ~ disease + (1|sample)", family="gaussian")
    table = sc_glmm.get.results(adata, columns="all").set_index("variable")
    frame = adata.obs.assign(y=np.asarray(adata.X[:, 0].todense()).ravel())
    from tests.frame_fit import fit_frame

    fit = fit_frame("y ~ disease + (1|sample)", frame, family="gaussian", method="reml")
    assert table.loc["g0", "coef"] == pytest.approx(fit.beta[1], rel=1e-6)
    assert table.loc["g0", "se"] == pytest.approx(fit.se[1], rel=1e-5)


def test_covariate_of_cells_on_nodes_and_by_cells_agree():
    """Compare nodes around the slopes of a gene with one row per cell."""
    adata = make(n_samples=6, cells=600, n_genes=5)
    run(adata, "counts ~ disease + mito + (1|sample) + (0 + mito|sample)")
    assert adata.uns["glmm"]["params"]["compression"] == "centred"
    grid = sc_glmm.get.results(adata, columns="all")
    frame = adata.obs.copy()
    total = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    from tests.frame_fit import fit_frame

    # size factors are given, so that both models use the same
    run(adata, "counts ~ disease + mito + (1|sample) + (0 + mito|sample)", size_factors=total)
    grid = sc_glmm.get.results(adata, columns="all")
    for gene in ("g0", "g2"):
        frame["y"] = np.asarray(adata[:, gene].layers["counts"].todense()).ravel()
        formula = "y ~ disease + mito + (1|sample) + (0 + mito|sample)"
        fit = fit_frame(formula, frame, family="nb", method="reml", offset=np.log(total))
        rows = grid[grid["variable"] == gene]
        np.testing.assert_allclose(rows["coef"], fit.beta[1:], atol=1e-5)
        np.testing.assert_allclose(rows["loglik"], fit.loglik, atol=1e-4)
    assert set(grid.loc[grid["contrast"] == "mito: per unit", "df"]) == {5.0}  # from samples, not cells


def test_effects_within_samples_get_a_variance_of_their_own():
    adata = make(n_samples=12, cells=40, n_genes=5)
    adata.obs["phase"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "S", "G1"), categories=["G1", "S"])
    spelled = "counts ~ disease + mito + phase + (1|sample) + (0 + center(mito)|sample) + (1|sample:phase)"
    run(adata, spelled)
    expected = sc_glmm.get.results(adata, columns="all")
    with pytest.warns(ScGlmmWarning, match=r"\(0 \+ center\(mito\) \| sample\), \(1 \| sample:phase\) was added"):
        run(adata, "counts ~ disease + mito + phase + (1|sample)")
    pd.testing.assert_frame_equal(sc_glmm.get.results(adata, columns="all"), expected)
    with pytest.warns(ScGlmmWarning, match="same in all samples.*would account for this"):
        run(adata, "counts ~ disease + mito + (1|sample)", within="homogeneous")
    assert not any("mito" in name for name in sc_glmm.get.results(adata, columns="all") if name.startswith("sd_sample"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ScGlmmWarning)
        run(adata, "counts ~ disease + mito + (1|sample)", contrasts="disease")  # mito is not tested
    with pytest.warns(ScGlmmWarning, match=r"\(1 \| donor:disease\) was added"):
        adata.obs["donor"] = "d" + (adata.obs["sample"].str[1:].astype(int) // 2).astype(str)
        run(adata, "counts ~ disease + (1|donor)")  # cells of one donor and condition are not replicates
    refuses("within", adata=adata, within="both")


def test_genes_below_min_counts_are_left_out_visibly():
    adata = make(n_genes=12)
    total = np.asarray(adata.layers["counts"].sum(axis=0)).ravel()
    limit = int(np.sort(total)[4])
    run(adata, FORMULA, min_counts=limit)
    table = sc_glmm.get.results(adata, columns="all")
    assert ((table["status"] == "low_count") == (total < limit)).all()
    assert table["p_value"].isna().eq(table["status"] == "low_count").all()
    info = sc_glmm.get.fit_info(adata)
    assert list(info["variable"]) == list(adata.var_names)
    assert not {"contrast", "p_value", "coef"} & set(info.columns)


# --- statuses ---------------------------------------------------------------------------------------------------------


def test_all_zero_and_separated_genes_have_a_row_without_results():
    adata = make(n_samples=14, cells=15)
    counts = adata.layers["counts"].toarray()
    counts[:, 3] = 0
    counts[(adata.obs["disease"] == "AD").to_numpy(), 4] = 0
    adata.layers["counts"] = sp.csr_matrix(counts)
    run(adata, "counts ~ disease + age + (1|sample)")
    table = sc_glmm.get.results(adata, columns="all").set_index(["contrast", "variable"])
    assert table.loc[("disease: AD vs ctl", "g3"), "status"] == "all_zero"
    one = table.loc[("disease: AD vs ctl", "g4")]
    assert one["status"] == "separated"
    assert one["separated"]
    assert np.isnan(one[["coef", "se", "log_fc", "stat", "p_value", "adj_p_value"]].astype(float)).all()
    other = table.loc[("age: per unit", "g4")]
    assert np.isfinite(other["coef"])  # the other coefficient is finite, and is that of the arm with counts
    alone = adata[(adata.obs["disease"] == "ctl").to_numpy()].copy()
    total = np.asarray(counts.sum(axis=1)).ravel().astype(float)
    run(adata, "counts ~ disease + age + (1|sample)", size_factors=total)
    run(alone, "counts ~ age + (1|sample)", size_factors=total[(adata.obs["disease"] == "ctl").to_numpy()])
    both = sc_glmm.get.results(adata, contrast="age", columns="all").set_index("variable").loc["g4"]
    only = sc_glmm.get.results(alone, contrast="age", columns="all").set_index("variable").loc["g4"]
    assert both["coef"] == pytest.approx(only["coef"], rel=1e-6)
    assert both["se"] == pytest.approx(only["se"], rel=1e-6)
    assert len(table) == 2 * adata.n_vars


# --- guards -----------------------------------------------------------------------------------------------------------


def refuses(match, error=InputError, adata=None, formula=FORMULA, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        with pytest.raises(error, match=match):
            run(make(n_genes=4) if adata is None else adata, formula, **kwargs)


def test_values_that_are_not_counts_are_rejected():
    refuses("log-", formula="X ~ disease + (1|sample)")
    for value, match in ((0.5, "not a whole number"), (-1.0, "negative"), (np.nan, "not finite")):
        adata = make(n_genes=4)
        counts = adata.layers["counts"].astype(float).tolil()
        counts[2, 1] = value
        adata.layers["counts"] = counts.tocsr()
        refuses(match, adata=adata)


def test_left_side_that_is_not_a_layer_means_x_with_a_note():
    adata = make(n_genes=4)
    adata.X = adata.layers["counts"].copy()
    with pytest.warns(ScGlmmWarning, match="no layer 'raw_counts'.*X is used; did you mean 'counts'"):
        run(adata, "raw_counts ~ disease + (1|sample)")
    assert adata.uns["glmm"]["params"]["response"] == "X"
    refuses("layers with counts: 'counts'", formula="wrong ~ disease + (1|sample)")
    refuses("left side", FormulaError, formula="log(counts) ~ disease + (1|sample)")


def test_designs_that_cannot_be_tested_are_rejected():
    refuses("no random effect", formula="counts ~ disease")
    refuses("one level", DesignError, formula="counts ~ disease + (1|constant)", adata=_with(constant="a"))
    refuses("does not group", DesignError, formula="counts ~ disease + (1|cell)", adata=_with(cell=range(200)))
    refuses("confounded|depend|estimated", DesignError, formula="counts ~ sample + (1|sample)")
    refuses("confounded", DesignError, formula="counts ~ disease + (1|disease)")
    refuses("no term or column", DesignError, contrasts="treatment")
    refuses("no level", DesignError, contrasts=("disease", "MCI", "ctl"))
    refuses("age2", InputError, formula="counts ~ age2 + (1|sample)")


def _with(**columns):
    adata = make(n_genes=4)
    for name, value in columns.items():
        adata.obs[name] = list(value) if not isinstance(value, str) else value
    return adata


def test_invalid_size_factors_and_offsets_are_rejected():
    sizes = np.ones(200)
    sizes[7] = 0.0
    refuses("positive", size_factors=sizes)
    sizes[7] = np.nan
    refuses("positive", size_factors=sizes)
    refuses("natural log", offset=np.full(200, 2500.0))
    refuses("one value per cell", size_factors=np.ones(3))
    refuses("not a column of obs", size_factors="n_count")
    refuses("cannot be combined", size_factors=np.ones(200), offset=np.zeros(200))
    refuses("cannot be used with", family="gaussian", size_factors=np.ones(200), formula="X ~ disease + (1|sample)")


def test_unsuitable_objects_are_rejected():
    refuses("must be an AnnData", adata=pd.DataFrame())
    refuses("selection empty", adata=make(n_genes=4)[:0])
    twice = make(n_genes=4)
    twice.var_names = ["a", "a", "b", "c"]
    refuses("more than once", adata=twice)
    refuses("key_added", key_added="a/b")
    refuses("family", family="tweedie")
    refuses("method", method="mle")
    refuses("n_jobs", n_jobs=0)
    refuses("method='ml'", n_agq=5)


def test_empty_cells_are_dropped_with_a_note():
    adata = make(n_genes=10)
    counts = adata.layers["counts"].tolil()
    counts[5] = 0
    counts[17] = 0
    adata.layers["counts"] = counts.tocsr()
    with pytest.warns(ScGlmmWarning, match="2 cells without a count were dropped"):
        run(adata, FORMULA)
    assert adata.uns["glmm"]["params"]["n_cells"] == 198
    without = adata[np.setdiff1d(np.arange(200), [5, 17])].copy()
    run(without, FORMULA)
    np.testing.assert_allclose(
        sc_glmm.get.results(without, columns="all")["coef"],
        sc_glmm.get.results(adata, columns="all")["coef"],
        rtol=1e-9,
    )


def test_a_matrix_cut_to_some_genes_is_noticed():
    adata = make(n_genes=20)
    adata.obs["total_counts"] = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    with pytest.warns(ScGlmmWarning, match="subset to some genes"):
        run(adata[:, -5:].copy(), FORMULA)


def test_alphabetical_base_is_announced_and_reference_sets_it():
    adata = make(n_genes=6, strings=True)
    with pytest.warns(ScGlmmWarning, match="AD"):
        run(adata, FORMULA)
    alphabetical = sc_glmm.get.results(adata, columns="all")
    assert set(alphabetical["contrast"].astype(str)) == {"disease: ctl vs AD"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ScGlmmWarning)
        run(adata, FORMULA, reference=CTL)
    np.testing.assert_allclose(sc_glmm.get.results(adata, columns="all")["coef"], -alphabetical["coef"], rtol=1e-6)


def test_few_degrees_of_freedom_give_a_warning():
    adata = make(n_samples=4, n_genes=4)
    with pytest.warns(ScGlmmWarning, match="only 2 degrees of freedom"):
        run(adata, FORMULA)


def test_offset_in_the_formula_replaces_size_factors():
    adata = make(n_genes=5)
    adata.obs["log_size"] = np.log(np.asarray(adata.layers["counts"].sum(axis=1)).ravel())
    run(adata, "counts ~ disease + offset(log_size) + (1|sample)")
    formula = sc_glmm.get.results(adata, columns="all")
    run(adata, FORMULA, offset="log_size")
    np.testing.assert_allclose(sc_glmm.get.results(adata, columns="all")["coef"], formula["coef"], rtol=1e-9)
    run(adata, FORMULA, size_factors=np.exp(adata.obs["log_size"]))
    np.testing.assert_allclose(sc_glmm.get.results(adata, columns="all")["coef"], formula["coef"], rtol=1e-6)


def test_missing_results():
    with pytest.raises(InputError, match="no results under key='glmm'"):
        sc_glmm.get.results(make(n_genes=3), columns="all")
    adata = make(n_genes=3)
    run(adata, FORMULA)
    with pytest.raises(InputError, match="no contrast 'sex'"):
        sc_glmm.get.results(adata, contrast="sex", columns="all")


def test_a_factor_is_fixed_or_random_but_not_both():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=240, n_genes=5, design="paired", seed=0)
    formula = "counts ~ donor + stim + (1|donor) + (1|sample)"
    with pytest.raises(DesignError, match=r"distinguish all 4 levels of 'donor'.*drop one of the two"):
        sc_glmm.tl.test(adata, formula, contrasts="stim", reference={"stim": "ctrl"})
