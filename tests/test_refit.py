"""Check tl.refit: the model of one gene has the results of the table."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import InputError
from sc_glmm._adata.hdf5 import H5Reader
from sc_glmm._adata.sources import ZarrReader
from sc_glmm._compress import source
from sc_glmm._results import CONTRAST_COLUMNS
from sc_glmm.models.table import column_text

FORMULA = "counts ~ disease + (1|sample)"
CTL = {"disease": "ctl"}


def simulate(n_genes=60, seed=3, n_cells=640, **kwargs):
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=n_cells, n_genes=n_genes, seed=seed, **kwargs)
    rng = np.random.default_rng(seed)
    adata.obs["mito"] = rng.normal(size=adata.n_obs)
    adata.obs["cell_type"] = np.where(rng.random(adata.n_obs) < 0.4, "B cells", "T/NK")
    return adata


def log_layer(adata):
    counts = adata.layers["counts"]
    adata.layers["log1p"] = counts.copy()
    adata.layers["log1p"].data = np.log1p(counts.data.astype(np.float64))


def run(adata, formula=FORMULA, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        sc_glmm.tl.test(adata, formula, **kwargs)


def check(adata, gene, rtol=1e-7, **kwargs):
    """Compare the model of a gene with its rows of the table."""
    model = sc_glmm.tl.refit(adata, gene, **kwargs)
    table = sc_glmm.get.results(adata, key=kwargs.get("key", "glmm"), columns="all")
    table = table[table["variable"] == gene]
    if "group" in kwargs:
        table = table[table["cell_type"] == kwargs["group"]]
    row = table.iloc[0]
    close = {"rtol": rtol, "atol": 1e-9}
    np.testing.assert_allclose(model.loglik(), row["loglik"], **close)
    for name, value, se in zip(model.names, model.beta, model.bse, strict=True):
        np.testing.assert_allclose(value, row[f"coef_{name}"], **close)
        np.testing.assert_allclose(se, row[f"se_{name}"], **close)
    if "dispersion" in row and not row.get("phi_from_trend", False):
        phi = model.sigma**2 if model.family == "gaussian" else model.dispersion
        np.testing.assert_allclose(phi, row["dispersion"], **close)
    for grouping, lam in zip(model.prepared.groupings, model.Lambda, strict=True):
        sds = np.sqrt(np.sum(lam**2, axis=1))
        for column, sd in zip(grouping.columns, sds, strict=True):
            name = f"sd_{grouping.name}" if len(sds) == 1 else f"sd_{grouping.name}_{column}"
            np.testing.assert_allclose(sd, row[name], **close)
    assert model.is_singular() == row["singular"]
    assert model.converged == row["converged"]
    wanted = table.set_index("contrast")
    wanted.index = wanted.index.astype(str)
    assert list(model.test.index) == list(wanted.index)
    assert list(model.test.columns) == list(CONTRAST_COLUMNS)
    assert list(model.test["status"].astype(str)) == list(wanted["status"].astype(str))
    for name in CONTRAST_COLUMNS:
        if name != "status":
            np.testing.assert_allclose(
                model.test[name].astype(float), wanted[name].astype(float), rtol=max(rtol, 1e-6), atol=1e-9
            )
    return model


def some_genes(adata, key="glmm"):
    """Choose a gene with many counts, one with few, and a singular one."""
    info = sc_glmm.get.fit_info(adata, key=key)
    good = info[info["status"].isin(["ok", "singular"])].sort_values("mean")
    singular = good.loc[good["status"] == "singular", "variable"]
    return [*good["variable"].iloc[[0, -1]], *singular.iloc[:1]]


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("nb", {}),
        ("nb", {"test": "eb_wald", "method": "ml"}),
        ("nb", {"test": "hk"}),
        ("nb", {"test": "ql"}),
        ("poisson", {"test": "satterthwaite"}),
        ("poisson", {"test": "t", "method": "ml", "n_agq": 5}),
        ("poisson", {"test": "lrt"}),
        ("gaussian", {}),
        ("gaussian", {"method": "ml", "test": "t"}),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values())),
)
def test_a_refitted_gene_has_the_numbers_of_the_table(family, options):
    adata = simulate()
    formula = FORMULA
    if family == "gaussian":
        log_layer(adata)
        formula = "log1p ~ disease + (1|sample)"
    run(adata, formula, family=family, reference=CTL, **options)
    for gene in some_genes(adata):
        model = check(adata, gene)
        assert model.reml == (options.get("method", "reml") == "reml")


def test_after_a_file_and_with_an_effect_within_samples(tmp_path):
    """Check that the fitted formula, given size factors and the prior are restored from disk."""
    adata = simulate()
    adata.obs["phase"] = np.where(np.arange(adata.n_obs) % 3 == 0, "S", "G1")
    depth = np.asarray(adata.layers["counts"].sum(axis=1)).ravel() + 1.0
    run(adata, "counts ~ disease + phase + (1|sample)", reference=CTL, size_factors=depth / depth.mean())
    genes = some_genes(adata)
    for form in ("h5ad", "zarr"):
        getattr(adata, f"write_{form}")(tmp_path / f"a.{form}")
        back = getattr(ad, f"read_{form}")(tmp_path / f"a.{form}")
        model = check(back, genes[1], rtol=1e-6)
    assert "(1 | sample:phase)" in model.formula
    assert {"sample", "sample:phase"} == {place.name for place in model.prepared.places}


def test_a_covariate_of_cells_on_nodes():
    adata = simulate(n_genes=4, n_cells=4000)
    run(adata, "counts ~ disease + mito + (1|sample)", reference=CTL, test="t")
    assert adata.uns["glmm"]["params"]["compression"] == "centred"
    model = check(adata, some_genes(adata)[1])
    assert "(0 + center(mito) | sample)" in model.formula


def test_groups(tmp_path):
    adata = simulate(n_genes=60)
    run(adata, groupby="cell_type", reference=CTL)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    info = sc_glmm.get.fit_info(back)
    gene = info.loc[info["status"].eq("ok") & info["cell_type"].eq("T/NK"), "variable"].iloc[0]
    for group in ("T/NK", "B cells"):
        assert check(back, gene, group=group).nobs == (back.obs["cell_type"] == group).sum()
    with pytest.raises(InputError, match="choose one of \\['B cells', 'T/NK'\\]"):
        sc_glmm.tl.refit(back, gene)
    with pytest.raises(InputError, match="choose one of"):
        sc_glmm.tl.refit(back, gene, group="monocytes")


def test_gaussian_genes_with_a_covariate_of_cells():
    adata = simulate(n_genes=20)
    log_layer(adata)
    run(adata, "log1p ~ disease + mito + (1 + mito|sample)", family="gaussian", reference=CTL)
    for gene in some_genes(adata):
        check(adata, gene, rtol=1e-6)


def test_refitted_model_has_the_methods_of_models():
    adata = simulate()
    run(adata, reference=CTL)
    gene = some_genes(adata)[1]
    model = sc_glmm.tl.refit(adata, gene)
    text = str(model.summary())
    assert "restricted maximum likelihood" in text
    assert "REML criterion at convergence" in text
    assert model.fitted().shape == (adata.n_obs,)
    assert model.ranef(cond_var=True)["sample"].shape == (8, 2)
    at = model.predict(adata.obs.iloc[:3], re_form="NA", offset=np.zeros(3))
    assert np.isfinite(at).all()
    # the same response on the same design gives the same fit, also with the public function
    np.testing.assert_allclose(model.refit(model.y).beta, model.beta, rtol=1e-4, atol=1e-5)
    again = model.update()
    np.testing.assert_allclose(again.loglik(), model.loglik(), atol=1e-4)
    np.testing.assert_allclose(again.beta, model.beta, atol=1e-4)
    # restricted likelihoods cannot compare fixed effects
    small = model.update("~ . - disease")
    table = sc_glmm.lrtest(small, model)
    assert "refitting model(s) with ML (instead of REML)" in table.notes
    ml = 2.0 * (model.refit_ml().loglik() - small.refit_ml().loglik())
    np.testing.assert_allclose(table.table["Chisq"].iloc[1], ml, rtol=1e-6)


def test_changed_data_are_rejected():
    adata = simulate(n_genes=60)
    run(adata, reference=CTL)
    gene = some_genes(adata)[1]
    refuse = {
        "there are 600 cells, but the run had 640": lambda a: a[:600].copy(),
        "there are 50 genes, but the run had 60": lambda a: a[:, :50].copy(),
    }
    for words, change in refuse.items():
        with pytest.raises(InputError, match=words):
            sc_glmm.tl.refit(change(adata), adata.var_names[0])
    other = adata.copy()
    column = other.layers["counts"][:, [other.var_names.get_loc(gene)]]
    first = int(np.flatnonzero(column.toarray().ravel())[0])
    other.layers["counts"][first, other.var_names.get_loc(gene)] += 1
    with pytest.raises(InputError, match="the counts of some cells have changed"):
        sc_glmm.tl.refit(other, gene)
    # moving a count to another gene of the same cell does not change the checksum of the cells
    other.layers["counts"][first, 0 if other.var_names.get_loc(gene) else 1] -= 1
    assert other.layers["counts"].sum() == adata.layers["counts"].sum()
    with pytest.raises(InputError, match="add up to"):
        sc_glmm.tl.refit(other, gene)
    other = adata.copy()
    other.obs["sample"] = other.obs["sample"].to_numpy()[::-1].copy()
    with pytest.raises(InputError, match="the log likelihood of|the fixed effects are"):
        sc_glmm.tl.refit(other, gene)
    other = adata.copy()
    other.obs.loc[other.obs_names[:5], "disease"] = np.nan
    with pytest.raises(InputError, match="635 cells can be used, but the run used 640"):
        sc_glmm.tl.refit(other, gene)


def test_error_gives_the_reason_for_genes_without_a_model():
    adata = simulate(n_genes=60)
    counts = adata.layers["counts"].toarray()
    counts[:, 0] = 0
    counts[(adata.obs["disease"] == "ctl").to_numpy(), 1] = 0
    adata.layers["counts"] = sp.csr_matrix(counts)
    run(adata, reference=CTL, min_counts=0)
    zero, separated = adata.var_names[:2]
    with pytest.raises(InputError, match="'all_zero'.*no counts"):
        sc_glmm.tl.refit(adata, zero)
    result = sc_glmm.tl.refit(adata, separated)
    assert np.isinf(result.fixef()["disease[T.AD]"]) and result.limit is not None
    text = str(result.summary())
    assert "separation" in text and "Tests of the run" in text
    assert f"{result.test.p_value.iloc[0]:.4f}" in text or f"{result.test.p_value.iloc[0]:.3g}" in text
    with pytest.raises(InputError, match="is not one of the 60 gene names"):
        sc_glmm.tl.refit(adata, "no such gene")
    assert "<2e-16" in column_text("adj_p_value", pd.Series([1e-20]))[0].replace(" ", "")
    with pytest.raises(InputError, match=f"did you mean '{zero}'"):
        sc_glmm.tl.refit(adata, zero.upper())
    with pytest.raises(InputError, match="there are no results under key='other'"):
        sc_glmm.tl.refit(adata, zero, key="other")
    with pytest.raises(InputError, match="has no groups"):
        sc_glmm.tl.refit(adata, zero, group="B cells")
    for name in ("contrast_rows", "checksums"):
        del adata.uns["glmm"]["params"][name]
    with pytest.raises(InputError, match="older version"):
        sc_glmm.tl.refit(adata, zero)


def test_genes_without_a_prior_can_be_refitted():
    adata = simulate(n_genes=10)
    run(adata, reference=CTL)
    assert adata.uns["glmm"]["params"]["test"] == "hk"
    assert isinstance(adata.uns["glmm"]["grids"], dict)
    for gene in some_genes(adata):
        check(adata, gene)


def test_frames_are_small_enough_to_pickle():
    import pickle

    adata = simulate(n_genes=60)
    run(adata, reference=CTL)
    model = sc_glmm.tl.refit(adata, some_genes(adata)[1])
    assert set(model.data.columns) == {"disease", "sample", "counts"}
    back = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(back.test, model.test)
    np.testing.assert_array_equal(back.fitted(), model.fitted())


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_a_gene_is_refitted_from_the_file_it_is_in(tmp_path, monkeypatch, form, kind):
    adata = simulate(n_genes=60)
    counts = adata.layers["counts"]
    adata.layers["counts"] = counts.toarray() if kind == "dense" else counts.asformat(kind)
    adata.obs["depth"] = np.asarray(counts.sum(axis=1)).ravel() + 1.0
    path = tmp_path / f"a.{form}"
    del adata.uns["truth"]
    getattr(adata, f"write_{form}")(path)
    run(path, reference=CTL)
    run(path, reference=CTL, groupby="cell_type", size_factors="depth", key_added="types")
    back = getattr(ad, f"read_{form}")(path)
    pd.testing.assert_frame_equal(sc_glmm.get.results(path, columns="all"), sc_glmm.get.results(back, columns="all"))
    pd.testing.assert_frame_equal(sc_glmm.get.fit_info(path, key="types"), sc_glmm.get.fit_info(back, key="types"))
    pd.testing.assert_frame_equal(sc_glmm.get.details(path, key="types"), sc_glmm.get.details(back, key="types"))
    gene = some_genes(back)[1]
    ours, theirs = sc_glmm.tl.refit(path, gene), check(back, gene)
    np.testing.assert_array_equal(ours.beta, theirs.beta)
    assert ours.loglik() == theirs.loglik()
    pd.testing.assert_frame_equal(ours.test, theirs.test)

    read = []
    for reader in (H5Reader, ZarrReader):
        real = reader.read
        monkeypatch.setattr(
            reader, "read", lambda self, a, b, real=real: read.append((self.name, b - a)) or real(self, a, b)
        )
    monkeypatch.setattr(source, "CHUNK_VALUES", 500)
    ours = sc_glmm.tl.refit(path, gene, key="types", group="T/NK")
    theirs = sc_glmm.tl.refit(back, gene, key="types", group="T/NK")
    pd.testing.assert_frame_equal(ours.test, theirs.test)
    indices = sum(n for name, n in read if name == "layers/counts/indices")
    in_gene = int((back.layers["counts"][:, [back.var_names.get_loc(gene)]] != 0).sum())
    assert indices == {"csr": counts.nnz, "csc": in_gene, "dense": 0}[kind]
    with pytest.raises(InputError, match="no results under key='none'"):
        sc_glmm.tl.refit(path, gene, key="none")
