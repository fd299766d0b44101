"""Check the copy of results for scanpy in ``.uns``: all its functions for ranked genes work, also after a file."""

from __future__ import annotations

from collections.abc import Iterator

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

import sc_glmm

N_GENES = 24
PLOTS = sorted(name for name in dir(sc.pl) if name.startswith("rank_genes_groups"))
VALUES = ("logfoldchanges", "scores", "pvals", "pvals_adj", "log10_pvals", "log10_pvals_adj")
# warnings of scanpy, seaborn and anndata about versions of pandas, and of scanpy about an intended plot
pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*inplace"
)


@pytest.fixture(scope="module")
def tested() -> ad.AnnData:
    """Test three arms under ``arms``, and three cell types, one of which cannot be tested, under ``types``."""
    rng = np.random.default_rng(4)
    sample = np.repeat(np.arange(9), 40)
    arm = np.array(["a", "b", "c"])[sample % 3]
    effect = np.zeros(N_GENES)
    effect[[2, 5]] = 1.2, -1.2
    eta = np.outer(arm == "b", effect) + rng.normal(0, 0.2, (9, N_GENES))[sample] + rng.normal(0.8, 0.5, N_GENES)
    counts = rng.poisson(np.exp(eta))
    counts[:, 7] = 0
    counts[arm == "b", 9] = 0  # separated
    kind = np.array(["B", "NK/T", "only a"])[rng.integers(0, 3, 360)]
    obs = pd.DataFrame(
        {
            "sample": [f"s{i}" for i in sample],
            "arm": pd.Categorical(arm),
            "cell_type": pd.Categorical(np.where((kind == "only a") & (arm != "a"), "B", kind)),
        },
        index=[f"cell{i}" for i in range(360)],
    )
    adata = ad.AnnData(np.log1p(counts), obs=obs)
    adata.var_names = [f"g{i}" for i in range(N_GENES)]
    adata.layers["counts"] = sp.csr_matrix(counts)
    sc_glmm.tl.test(adata, "counts ~ arm + (1|sample)", contrasts=["b", "c"], key_added="arms", test="t")
    with pytest.warns(sc_glmm.ScGlmmWarning, match="'only a' was skipped"):
        sc_glmm.tl.test(
            adata, "counts ~ arm + (1|sample)", contrasts="b", groupby="cell_type", key_added="types", test="t"
        )
    return adata


@pytest.fixture(scope="module", params=["memory", "h5ad", "zarr"])
def anywhere(request, tested, tmp_path_factory) -> ad.AnnData:
    if request.param == "memory":
        return tested
    path = tmp_path_factory.mktemp("mirror") / f"a.{request.param}"
    getattr(tested, f"write_{request.param}")(path)
    return getattr(ad, f"read_{request.param}")(path)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = sc.settings.verbosity
    sc.settings.verbosity = 0
    yield
    sc.settings.verbosity = before
    plt.close("all")


@pytest.mark.parametrize("key", ["arms", "types"])
@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_of_scanpy(anywhere: ad.AnnData, plot: str, key: str) -> None:
    kwargs = {"n_genes": N_GENES if plot == "rank_genes_groups" else 3}
    getattr(sc.pl, plot)(anywhere, key=key, show=False, **kwargs)
    if plot not in ("rank_genes_groups", "rank_genes_groups_violin"):
        getattr(sc.pl, plot)(anywhere, key=key, show=False, n_genes=2, min_logfoldchange=0.3)


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("key", ["arms", "types"])
@pytest.mark.parametrize("plot", ["matrixplot", "dotplot"])
def test_values_in_plots(tested: ad.AnnData, plot: str, key: str, values: str) -> None:
    getattr(sc.pl, f"rank_genes_groups_{plot}")(tested, key=key, show=False, n_genes=2, values_to_plot=values)


def test_a_gene_without_a_result_is_not_drawn_as_one(tested: ad.AnnData) -> None:
    drawn = sc.pl.rank_genes_groups_matrixplot(
        tested, key="arms", var_names=["g2", "g7"], values_to_plot="logfoldchanges", show=False, return_fig=True
    )
    table = sc_glmm.get.results(tested, key="arms", columns="all")
    b = table[table["contrast"] == "arm: b vs a"]
    assert np.isnan(b.loc["g7", "log_fc"])
    assert drawn.values_df.loc["b", "g7"] == 0.0
    assert drawn.values_df.loc["b", "g2"] == pytest.approx(b.loc["g2", "log_fc"], rel=1e-5)
    assert (drawn.values_df.loc["a"] == 0.0).all()  # the base level compared with itself


@pytest.mark.parametrize(
    ("key", "groups", "reference"),
    [("arms", ["a", "b", "c"], "a"), ("types", ["B", "NK/T", "only a"], "arm: b vs a")],
)
def test_the_frames_of_scanpy(anywhere: ad.AnnData, key: str, groups: list, reference: str) -> None:
    assert anywhere.uns[key]["params"]["reference"] == reference
    frame = sc.get.rank_genes_groups_df(anywhere, group=None, key=key)
    assert list(dict.fromkeys(frame["group"])) == groups
    for group in groups:
        one = sc.get.rank_genes_groups_df(anywhere, group=group, key=key).set_index("names")
        assert sorted(one.index) == sorted(anywhere.var_names)
        assert one.notna().all(axis=None)
        table = sc_glmm.get.results(anywhere, key=key, columns="all")
        rows = table[table["contrast"] == f"arm: {group} vs a"] if key == "arms" else table[table["cell_type"] == group]
        if len(rows) == 0:  # the base level, and the skipped type
            assert (one[["scores", "logfoldchanges"]] == 0).all(axis=None)
            assert (one[["pvals", "pvals_adj"]] == 1).all(axis=None)
            continue
        theirs = one.loc[rows.index]
        tested = rows["p_value"].notna().to_numpy()
        assert 0 < tested.sum() < N_GENES
        np.testing.assert_array_equal(theirs["pvals"][tested], rows["p_value"][tested])
        np.testing.assert_array_equal(theirs["pvals_adj"][tested], rows["adj_p_value"][tested])
        np.testing.assert_allclose(theirs["logfoldchanges"][tested], rows["log_fc"][tested], rtol=1e-6)
        assert set(one.index[-int((~tested).sum()) :]) == set(rows.index[~tested])  # after the tested ones
    assert sc.get.rank_genes_groups_df(anywhere, group=None, key=key, pval_cutoff=0.99)["group"].isin(groups[:2]).any()


def test_other_readers_of_ranked_genes(tested: ad.AnnData) -> None:
    overlap = sc.tl.marker_gene_overlap(tested, {"known": ["g2", "g3"]}, key="arms", top_n_markers=3, inplace=False)
    assert overlap.loc["known", "b"] >= 1
    adata = tested.copy()
    sc.tl.filter_rank_genes_groups(adata, key="arms", key_added="filtered", min_in_group_fraction=0)
    assert "filtered" in adata.uns


def test_several_effects_of_one_level_keep_the_first() -> None:
    adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=240, n_genes=8, seed=3)
    adata.obs["batch"] = pd.Categorical(np.where(adata.obs["sample"].cat.codes % 3 == 0, "x", "y"))
    at = {
        batch: sc_glmm.cond(disease="AD", batch=batch) - sc_glmm.cond(disease="ctl", batch=batch)
        for batch in ("x", "y")
    }
    formula = "counts ~ disease*batch + (1|sample)"
    sc_glmm.tl.test(adata, formula, reference={"disease": "ctl"}, contrasts=at, test="t")
    frame = sc.get.rank_genes_groups_df(adata, group="AD", key="glmm").set_index("names")
    table = sc_glmm.get.results(adata, contrast="x", columns="all")
    assert set(table["contrast"]) == {"x"}
    finite = table["log_fc"].notna()
    np.testing.assert_allclose(frame.loc[table.index[finite], "logfoldchanges"], table["log_fc"][finite], rtol=1e-6)
