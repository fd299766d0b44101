"""Check that the test of a spline depends only on the space of its columns, not on their coding."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import ScGlmmWarning
from sc_glmm._design import build_design
from sc_glmm._formula import parse_formula


def make(n_genes: int = 60, n_samples: int = 8, n_cells: int = 25) -> ad.AnnData:
    """Make samples with their own curves."""
    rng = np.random.default_rng(2)
    sample = np.repeat(np.arange(n_samples), n_cells)
    x = rng.uniform(size=len(sample))
    curves = np.stack([x - 0.5, (x - 0.5) ** 2 - 1 / 12], axis=1)
    effects = rng.normal(size=(n_samples, 2, n_genes)) * np.array([1.0, 2.0])[:, None]
    eta = np.log(4.0) + 0.3 * rng.normal(size=(n_samples, n_genes))[sample]
    mu = np.exp(eta + np.einsum("ik,ikg->ig", curves, effects[sample]))
    obs = pd.DataFrame({"sample": [f"s{i}" for i in sample], "x": x}, index=[f"c{i}" for i in range(len(sample))])
    return ad.AnnData(sp.csr_matrix(rng.poisson(mu * rng.gamma(4.0, 0.25, mu.shape)).astype(np.float64)), obs=obs)


ADATA = make()


def table_of(formula: str, contrasts: str, **options) -> tuple[pd.DataFrame, pd.DataFrame]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        tested = sc_glmm.tl.test(
            ADATA, formula, contrasts=contrasts, size_factors=np.ones(ADATA.n_obs), copy=True, **options
        )
    return sc_glmm.get.results(tested, columns="all"), tested.varm["glmm"]


@pytest.mark.parametrize("test", ["eb_lr", "t"])
def test_two_codings_of_cubic_curves(test: str) -> None:
    one, fits = table_of("X ~ poly(x, 3) + (1|sample)", "poly(x, 3)", test=test)
    two, others = table_of("X ~ bs(x, df=3) + (1|sample)", "bs(x, df=3)", test=test)
    assert one["status"].isin(["ok", "singular"]).all() and (one["p_value"] > 0.05).mean() > 0.8
    np.testing.assert_allclose(two["p_value"], one["p_value"], rtol=5e-3, atol=1e-6)
    assert list(two["status"]) == list(one["status"])
    # the REML criterion has the units of the columns: one constant for all genes
    gap = others["loglik"] - fits["loglik"]
    np.testing.assert_allclose(gap, gap.median(), atol=1e-4)


def test_ten_variances_and_correlations() -> None:
    """Check a spline of four columns with ten parameters: with eight samples, most fits are singular; all converge."""
    table, fits = table_of("X ~ bs(x, df=4) + (1|sample)", "bs(x, df=4)", test="t")
    assert fits["status"].isin(["ok", "singular"]).all() and fits["converged"].all()
    assert fits["singular"].mean() > 0.5 and table["p_value"].notna().all()


@pytest.mark.parametrize("basis", ["bs(x, df=4)", "cr(x, df=4)", "poly(x, 3)"])
@pytest.mark.parametrize("function", ["center", "scale"])
def test_splines_can_be_centred_and_are_again_on_new_data(basis: str, function: str) -> None:
    design = build_design(parse_formula(f"~ {function}({basis}) + (1|sample)"), ADATA.obs)
    columns = design.fixed.X[:, 1:]
    np.testing.assert_allclose(columns.mean(axis=0), 0.0, atol=1e-12)
    few = ADATA.obs.iloc[:7]
    atoms = [atom for term in design.formula.fixed_terms for atom in term]
    np.testing.assert_allclose(design.fixed.at(design.convert(few, atoms))[:, 1:], columns[:7], atol=1e-12)


def test_comparison_of_samples_with_a_tested_spline() -> None:
    """Check that its row is described for power calculations if the prior has directions of a spline."""
    adata = ADATA.copy()
    adata.obs["arm"] = pd.Categorical(np.where(adata.obs["sample"].isin(["s0", "s2", "s4", "s6"]), "a", "b"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, "X ~ arm + bs(x, df=3) + (1|sample)", size_factors=np.ones(adata.n_obs))
        table = sc_glmm.get.results(adata)
    assert set(table["contrast"]) == {"arm: b vs a", "bs(x, df=3): all 3 columns"} and table["p_value"].notna().all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        fit = sc_glmm.tl.refit(adata, adata.var_names[2])
    assert np.isfinite(fit.beta).all()
