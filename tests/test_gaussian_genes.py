"""Check linear mixed models of many genes from cross-products against lmer on the expanded data, gene by gene."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import ScGlmmWarning
from sc_glmm._compress import unique_rows
from sc_glmm._fit.orthogonal import orthogonal_rows


def make(n_genes=4, n_cells=400, n_samples=9, seed=0, dtype=np.float64):
    """Make values with sample effects from none to large, and with slopes that differ between samples."""
    rng = np.random.default_rng(seed)
    sample = rng.integers(0, n_samples, n_cells)
    x = rng.normal(size=n_cells) + 0.2 * sample
    obs = pd.DataFrame(
        {
            "sample": [f"s{i}" for i in sample],
            "disease": pd.Categorical(np.array(["ctl", "AD", "MCI"])[sample % 3], categories=["ctl", "AD", "MCI"]),
            "age": 50.0 + 2.0 * sample,
            "x": x,
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    sd = np.linspace(0.0, 1.0, n_genes)
    y = 2.0 + rng.normal(size=(n_cells, n_genes)) + sd * rng.normal(size=(n_samples, n_genes))[sample]
    y += 0.4 * rng.normal(size=(n_samples, n_genes))[sample] * x[:, None]
    y[rng.random(y.shape) < 0.3] = 0.0
    return ad.AnnData(y.astype(dtype), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def table_of(adata, formula, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, formula, family="gaussian", **kwargs)
    return sc_glmm.get.results(adata, columns="all")


@pytest.mark.parametrize(
    "formula",
    [
        "X ~ disease + (1|sample)",
        "X ~ disease + age + (1|sample)",
        "X ~ disease + x + (1 + x|sample)",
        "X ~ x + (1|sample) + (0 + x|sample)",
    ],
)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_every_gene_equals_lmer_with_satterthwaite(formula, method):
    adata = make()
    table = table_of(adata, formula, method=method)
    for gene in adata.var_names:
        # the joint test of each term; tests of single levels are separate contrasts
        rows = table[(table["variable"] == gene) & ~table["contrast"].str.contains(" vs ")]
        row = rows.iloc[0]
        frame = adata.obs.assign(X=np.asarray(adata[:, gene].X, dtype=np.float64).ravel())
        fit = sc_glmm.lmer(formula, frame, reml=method == "reml")
        np.testing.assert_allclose(row["loglik"], fit.loglik(), rtol=1e-9)
        np.testing.assert_allclose(row["dispersion"], fit.sigma**2, rtol=1e-6)
        np.testing.assert_allclose([row[f"coef_{n}"] for n in fit.names], fit.beta, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose([row[f"se_{n}"] for n in fit.names], fit.bse, rtol=1e-5)
        same = fit.contrast()  # Satterthwaite, equal to lmerTest in tests/models/test_reference_lmer.py
        np.testing.assert_allclose(rows["df"], same["df"], rtol=1e-4)
        np.testing.assert_allclose(rows["stat"], same["stat"], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(rows["p_value"], same["p_value"], rtol=1e-4)


def test_other_references():
    adata = make()
    between = table_of(adata, "X ~ disease + (1|sample)", test="t")
    assert set(between["df"]) == {6.0}  # nine samples, three coefficients
    own = table_of(adata, "X ~ disease + (1|sample)")
    np.testing.assert_allclose(between["stat"], own["stat"])
    assert own.groupby("contrast", observed=True)["df"].nunique().eq(adata.n_vars).all()


def test_sparse_and_single_precision_and_groups_and_offset():
    dense = make(dtype=np.float32)
    expected = table_of(dense, "X ~ disease + x + (1|sample)")
    for form in (sp.csr_matrix, sp.csc_matrix):
        other = dense.copy()
        other.X = form(other.X)
        pd.testing.assert_frame_equal(table_of(other, "X ~ disease + x + (1|sample)"), expected, rtol=1e-6)
    shifted = dense.copy()
    shift = np.random.default_rng(1).normal(size=dense.n_obs)
    shifted.X = np.asarray(dense.X, dtype=np.float64) + shift[:, None]
    columns = ["coef", "se", "df", "stat", "p_value"]
    moved = table_of(shifted, "X ~ disease + x + (1|sample)", offset=shift)
    np.testing.assert_allclose(moved[columns], expected[columns], rtol=1e-4)
    both = dense.copy()
    both.obs["half"] = np.where(np.arange(both.n_obs) % 2, "one", "two")
    grouped = table_of(both, "X ~ disease + x + (1|sample)", groupby="half")
    for name in ("one", "two"):
        alone = table_of(both[both.obs["half"] == name].copy(), "X ~ disease + x + (1|sample)")
        rows = grouped[grouped["half"] == name]
        np.testing.assert_allclose(rows[columns], alone[columns], rtol=1e-6)


def test_constant_gene_is_not_an_error():
    adata = make(n_genes=5)
    adata.X[:, 0] = 0.0
    adata.X[:, 1] = 3.0
    table = table_of(adata, "X ~ disease + (1|sample)", contrasts="disease").set_index("variable")
    assert table.loc["g0", "status"] == "all_zero"
    assert table.loc["g1", "status"] != "ok"
    assert table.loc[["g0", "g1"], "p_value"].isna().all()
    assert table.loc[["g2", "g3", "g4"], "p_value"].notna().all()


def test_few_rows_represent_many_cells():
    """Check that the basis keeps all cross-products of the design, and those with any response."""
    rng = np.random.default_rng(3)
    n = 300
    codes = rng.integers(0, 5, n)
    X = np.column_stack([np.ones(n), codes % 2, rng.normal(size=n).round(1)])
    Z = X[:, [0, 2]]
    distinct = unique_rows(X, [Z], [codes])
    basis = orthogonal_rows(distinct)
    assert len(basis.rows.X) <= 5 * 3 < distinct.n_rows
    y = rng.normal(size=n)
    sums = basis.projection @ np.bincount(distinct.row_of, y, distinct.n_rows)
    np.testing.assert_allclose(basis.rows.X.T @ basis.rows.X, X.T @ X, atol=1e-9)
    np.testing.assert_allclose(basis.rows.X.T @ sums, X.T @ y, atol=1e-9)
    for level in range(5):
        own, rows = codes == level, basis.rows.codes[0] == level
        np.testing.assert_allclose(basis.rows.Z[0][rows].T @ basis.rows.X[rows], Z[own].T @ X[own], atol=1e-9)
        np.testing.assert_allclose(basis.rows.Z[0][rows].T @ sums[rows], Z[own].T @ y[own], atol=1e-9)
    # few rows are not replaced
    assert orthogonal_rows(unique_rows(X[:, :2], [np.ones((n, 1))], [codes])) is None
