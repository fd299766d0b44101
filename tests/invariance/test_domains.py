"""Check that a function of a covariate is evaluated only at values in the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sc_glmm

SAMPLES: dict[str, Any] = {"n_samples": 6, "n_cells": 300, "n_genes": 6, "seed": 1}


def simulated(u: Any = None) -> Any:
    adata = sc_glmm.datasets.simulate(**SAMPLES)
    rng = np.random.default_rng(3)
    adata.obs["u"] = rng.uniform(0.001, 0.999, adata.n_obs) if u is None else u
    adata.obs["v"] = rng.uniform(0.001, 0.999, adata.n_obs)
    return adata


def coefficients(adata: Any, formula: str) -> Any:
    sc_glmm.tl.test(adata, formula, reference={"disease": "ctl"}, test="t", contrasts="disease", progress=False)
    fit = sc_glmm.get.fit_info(adata)
    return fit.filter(regex="^coef_").to_numpy()


@pytest.mark.parametrize("family", ["nb", "poisson"])
@pytest.mark.parametrize(
    "function",
    [
        "bs(u, df=4)",
        "np.sqrt(1 - u)",
        "log(u / (1 - u))",
        "np.arcsin(u)",
        "cr(u, df=3, constraints='center')",
        "log(u)",
        "scale(u)",
        "poly(u, 2)",
    ],
)
def test_functions_with_a_domain(function: str, family: Any) -> None:
    adata = simulated()
    formula = f"counts ~ disease + {function} + (1 | sample)"
    sc_glmm.tl.test(adata, formula, family=family, reference={"disease": "ctl"}, test="t", contrasts="disease")
    assert np.isfinite(sc_glmm.get.results(adata, columns="all")["p_value"]).all()


def test_an_expression_of_two_columns_has_values_at_their_pairs_only() -> None:
    adata = simulated()
    adata.obs["v"] = adata.obs["u"] * adata.obs["v"]
    assert np.isfinite(coefficients(adata, "counts ~ disease + np.sqrt(u - v) + (1 | sample)")).all()


def test_cells_that_differ_in_their_slope_only_stay_apart() -> None:
    """Check a covariate with a mean of exactly zero, where all rows are equal."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=150)
    adata = simulated(np.concatenate([half, -half]) / 8)
    assert abs(adata.obs["u"].mean()) < 1e-17
    adata.obs["late"] = (np.arange(300) % 2 == 0).astype(float)
    formula = "counts ~ disease + u:late + u + (1 | sample)"
    one = coefficients(adata, formula)
    shifted = simulated(adata.obs["u"].to_numpy() + 1.0)
    shifted.obs["late"] = adata.obs["late"]
    # the same model, with another coefficient of `late`
    two = coefficients(shifted, "counts ~ disease + I(u - 1):late + I(u - 1) + (1 | sample)")
    np.testing.assert_allclose(one[:, 1:], two[:, 1:], atol=2e-5)
