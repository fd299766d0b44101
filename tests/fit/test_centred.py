"""Check models with covariates of cells: every test gives the same table as with one row per cell."""

import warnings
from dataclasses import replace

import anndata
import numpy as np
import pytest

import sc_glmm
from sc_glmm._engine.compilation import four_cells
from sc_glmm._engine.fit import largest_loglik, search_fits
from sc_glmm._engine.laplace.search import FAILED, OK
from sc_glmm._families.registry import FAMILIES
from sc_glmm._fit import compress


def make(n_genes=6, n_samples=8, n_cells=1600, seed=3):
    """Make genes with small and large slopes on two covariates of cells, one of them skewed."""
    adata = sc_glmm.datasets.simulate(n_samples=n_samples, n_cells=n_cells, n_genes=n_genes, seed=seed)
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(0, 1, adata.n_obs), rng.gamma(2.0, 1.0, adata.n_obs)])
    adata.obs["s_score"], adata.obs["mito"] = x[:, 0], 5 + 3 * x[:, 1]
    adata.obs["phase"] = np.where(rng.random(adata.n_obs) < 0.4, "S", "G1")
    slopes = rng.normal(0, 0.3, (2, n_genes))
    slopes[:, 0] = (1.2, -0.8)
    counts = adata.layers["counts"].toarray()
    mean = counts.mean(axis=0) * np.exp(x @ slopes - (x @ slopes).mean(axis=0))
    adata.layers["counts"] = rng.poisson(mean * rng.gamma(2.0, 0.5, mean.shape)).astype(float)
    adata.obs["size"] = np.exp(rng.normal(0, 0.4, adata.n_obs))
    return adata


def tables(adata, formula, monkeypatch, **options):
    """Compute the table with nodes around the slopes of each gene, and the table with one row per cell."""
    settings = {"size_factors": "size", "min_counts": 0, "progress": False, **options}
    out = []
    for kind in ("centred", "cells"):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "cells":
                patch.setattr(compress, "find_centred", lambda *args, **kwargs: None)
            sc_glmm.tl.test(adata, formula, **settings)
        found = adata.uns["glmm"]["params"]["compression"]
        assert found == kind or (kind == "cells" and found == "collapsed")
        out.append(sc_glmm.get.results(adata, columns="all"))
    return out


def assert_close(ours, exact, *, ses=1e-4, loglik=1e-3, p=2e-3):
    assert (ours["status"] == exact["status"]).all() and (ours["status"] != "error").all()
    finite = exact["se"].notna()
    assert finite.any()
    change = (ours["coef"] - exact["coef"])[finite] / exact["se"][finite]
    assert change.abs().max() < ses
    np.testing.assert_allclose(ours["se"][finite], exact["se"][finite], rtol=1e-3)
    np.testing.assert_allclose(ours["loglik"], exact["loglik"], atol=loglik)
    np.testing.assert_allclose(ours["p_value"], exact["p_value"], atol=p)


@pytest.mark.parametrize("family", ["nb", "poisson"])
@pytest.mark.parametrize(
    "right",
    [
        "disease + s_score + mito + (1|sample)",
        "disease * s_score + phase + mito + (1|sample)",
        "disease + s_score + (1|sample) + (0 + center(s_score)|sample)",
    ],
)
def test_fits_equal_those_on_cells(monkeypatch, family, right):
    pair = tables(make(), f"counts ~ {right}", monkeypatch, family=family, test="t", within="homogeneous")
    assert_close(*pair)


@pytest.mark.parametrize("test", ["lrt", "wald"])
def test_tests_of_single_genes_equal_those_on_cells(monkeypatch, test):
    pair = tables(make(), "counts ~ disease + s_score + mito + (1|sample)", monkeypatch, test=test)
    assert_close(*pair)


@pytest.mark.parametrize("test", ["t", "wald", "lrt"])
@pytest.mark.parametrize("family", ["nb", "poisson"])
def test_factors_of_samples_reach_the_nodes_around_zero(monkeypatch, family, test):
    """Check genes with small slopes, whose first nodes are the last, with the default size factors."""
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=5)
    adata.obs["x"] = np.random.default_rng(5).normal(size=adata.n_obs)
    options = {"contrasts": {"both": ["disease", "x"]}} if test == "t" else {}
    ours, exact = tables(
        adata,
        "counts ~ disease + x + (1|sample)",
        monkeypatch,
        size_factors=None,
        family=family,
        test=test,
        within="homogeneous",
        **options,
    )
    factors = adata.uns["glmm"]["params"]["sample_factor_shift"]
    assert factors > 0.02
    np.testing.assert_allclose(ours["p_value"], exact["p_value"], rtol=1e-3)
    np.testing.assert_allclose(ours["loglik"], exact["loglik"], atol=1e-3)
    np.testing.assert_allclose(ours["sd_sample"], exact["sd_sample"], atol=1e-4)


def test_bootstrap_of_a_gene(monkeypatch):
    options = {"test": "bootstrap", "genes": ["gene_1"], "n_boot": 9, "seed": 1, "within": "homogeneous"}
    adata = make(n_cells=400)
    ours, exact = tables(adata, "counts ~ disease + s_score + mito + (1|sample)", monkeypatch, **options)
    np.testing.assert_allclose(ours["p_value"], exact["p_value"], atol=1e-6)
    assert ours["p_value"].notna().any()


@pytest.mark.parametrize("within", ["homogeneous", "random_slopes"])
def test_default_test_equals_that_on_cells(monkeypatch, within):
    """Check null hypotheses about steep slopes, and slopes with their own variance between samples."""
    options = {"within": within} if within == "homogeneous" else {}
    adata = make(n_genes=60, n_samples=6, n_cells=600)
    pair = tables(adata, "counts ~ disease + s_score + (1|sample)", monkeypatch, min_counts=10, **options)
    assert_close(*pair)
    ours, exact = (np.log(np.maximum(table["p_value"], 1e-200)) for table in pair)
    np.testing.assert_allclose(ours, exact, atol=1e-3, rtol=1e-3)


def test_polynomials_of_a_covariate(monkeypatch):
    pair = tables(make(), "counts ~ disease + poly(mito, 2) + (1|sample)", monkeypatch, test="t", within="homogeneous")
    assert_close(*pair)


def test_refit_in_little_memory_and_from_a_file(monkeypatch, tmp_path):
    """Check that the table is the same if counts are read in blocks of a few genes."""
    adata = make()
    formula = "counts ~ disease + s_score + mito + (1|sample)"
    options = {"test": "t", "contrasts": "disease", "size_factors": "size", "progress": False, "min_counts": 0}
    sc_glmm.tl.test(adata, formula, **options)
    whole = sc_glmm.get.results(adata, columns="all")
    adata.write_h5ad(tmp_path / "a.h5ad")
    sc_glmm.tl.test(adata, formula, **options, memory_limit=400_000)
    np.testing.assert_allclose(sc_glmm.get.results(adata, columns="all")["coef"], whole["coef"], rtol=1e-9)
    sc_glmm.tl.test(tmp_path / "a.h5ad", formula, **options)
    from_file = sc_glmm.get.results(anndata.read_h5ad(tmp_path / "a.h5ad"), columns="all")
    np.testing.assert_allclose(from_file["coef"], whole["coef"], rtol=1e-9)


def test_genes_beyond_the_nodes_are_fitted_on_their_cells(monkeypatch):
    """Check that each cell is a row if interpolation is not accurate enough."""
    from sc_glmm._fit import centred

    monkeypatch.setattr(centred, "MAX_ERROR", 0.0)
    adata, formula = make(n_genes=3), "counts ~ disease + s_score + mito + (1|sample)"
    pair = tables(adata, formula, monkeypatch, test="t")
    assert_close(*pair, ses=1e-5, loglik=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc_glmm.tl.test(adata, formula, size_factors="size", test="t", min_counts=0, progress=False)
    assert adata.uns["glmm"]["params"]["n_genes_on_cells"] == 3
    assert adata.uns["glmm"]["params"]["slope_error"] == 0.0


def test_errors_of_nodes_are_stored():
    adata = make(n_genes=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc_glmm.tl.test(adata, "counts ~ disease + s_score + mito + (1|sample)", size_factors="size", test="t")
    params = adata.uns["glmm"]["params"]
    assert params["n_genes_on_cells"] < 4 and 0.0 < params["slope_error"] < 1e-3


def test_steep_genes_are_not_fitted_around_zero(monkeypatch):
    """Check that genes whose slopes are beyond the nodes around zero are found before the first fit."""
    from sc_glmm._fit import centred

    fitted = []
    search = centred.search_fits

    def spy(structure, nodes, stats, *args, **kwargs):
        fitted.append((stats.A.sum(axis=1) > 0.5).tolist())
        return search(structure, nodes, stats, *args, **kwargs)

    monkeypatch.setattr(centred, "search_fits", spy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc_glmm.tl.test(make(), "counts ~ disease + s_score + mito + (1|sample)", size_factors="size", test="t")
    assert not fitted[0][0] and any(fitted[0]) and fitted[1][0]


def test_slopes_of_donors_on_cells():
    """Check genes that are fitted on their cells where donors have slopes and samples have intercepts."""
    rng = np.random.default_rng(0)
    donor, sample = np.repeat(np.arange(6), 100), np.repeat(np.arange(12), 50)
    x = rng.normal(size=600)
    mean = 3 * np.exp((rng.normal(0, 0.3, (6, 8))[donor] + rng.normal(0, 0.3, (12, 8))[sample]) * x[:, None])
    obs = {"donor": [f"d{i}" for i in donor], "sample": [f"s{i}" for i in sample], "x": x, "size": np.ones(600)}
    adata = anndata.AnnData(rng.poisson(mean * rng.gamma(4.0, 0.25, mean.shape)).astype(float), obs=obs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc_glmm.tl.test(adata, "X ~ x + (x|donor) + (1|sample)", size_factors="size", test="t", progress=False)
    assert np.isfinite(sc_glmm.get.results(adata)["p_value"]).all()


@pytest.mark.parametrize("reml", [False, True])
def test_a_search_fails_where_the_likelihood_on_nodes_exceeds_that_of_any_model(reml):
    structure, nodes, stats = four_cells()
    family = FAMILIES["nb"]
    fit = search_fits(structure, nodes, stats, family, reml=reml, approximate=True)
    assert fit.status[0] == OK
    assert fit.loglik[0] < largest_loglik(stats, 2 * reml)[0]
    impossible = replace(stats, const=50.0 * 2 * reml - fit.loglik + 0.1)
    assert search_fits(structure, nodes, impossible, family, reml=reml).status[0] == OK
    assert search_fits(structure, nodes, impossible, family, reml=reml, approximate=True).status[0] == FAILED
