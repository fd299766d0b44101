"""Check that the order of rows, columns and levels, and the base level, do not change the test of a hypothesis."""

from __future__ import annotations

import warnings
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import cond
from sc_glmm._errors import ScGlmmWarning
from tests.invariance.test_names import ADATA

FORMULA = "~ arm*kind + x + (1|sample)"
IN_L = cond(arm="b", kind="l") - cond(arm="a", kind="l")
HYPOTHESES = {
    "arm in l": IN_L,
    "interaction": "arm:kind",
    "kind in a": cond(arm="a", kind="l") - cond(arm="a", kind="k"),
}
# the third level is needed for joint tests
THREE = ADATA.copy()
THREE.obs["kind"] = pd.Categorical(np.array(["k", "l", "m"])[np.arange(ADATA.n_obs) % 3])
RUNS: list[dict[str, Any]] = [{"family": "nb"}, {"family": "nb", "test": "t"}, {"family": "gaussian"}]


def run(adata: ad.AnnData, contrasts: Any, formula: str = FORMULA, **options: Any) -> pd.DataFrame:
    sizes = {} if options.get("family") == "gaussian" else {"size_factors": np.ones(adata.n_obs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        tested = sc_glmm.tl.test(adata, formula, contrasts=contrasts, copy=True, **sizes, **options)
    return sc_glmm.get.results(tested, columns="all")


def same(one: pd.DataFrame, other: pd.DataFrame, rtol: float, atol: float = 1e-9) -> None:
    for column in ("log_fc", "log_fc_se", "stat", "df", "p_value", "adj_p_value", "ci_low", "ci_high"):
        np.testing.assert_allclose(other[column], one[column], rtol=rtol, atol=atol, err_msg=column)
    assert list(one["status"]) == list(other["status"])


@pytest.mark.parametrize("options", RUNS, ids=["default", "t", "gaussian"])
def test_order_of_rows_and_columns(options: dict[str, Any]) -> None:
    order = np.random.default_rng(0).permutation(ADATA.n_obs)
    shuffled = ADATA[order].copy()
    shuffled.obs = shuffled.obs[shuffled.obs.columns[::-1]]
    same(run(ADATA, HYPOTHESES, **options), run(shuffled, HYPOTHESES, **options), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", RUNS, ids=["default", "t", "gaussian"])
def test_order_of_levels_and_base(options: dict[str, Any]) -> None:
    """Check that comparisons of named levels, and a joint test of three, do not depend on the first level."""
    expected = run(THREE, {"arm in l": IN_L, "joint": "arm:kind"}, **options)
    for base, levels in (("l", ["k", "l", "m"]), ("m", ["m", "l", "k"])):
        other = THREE.copy()
        other.obs["kind"] = other.obs["kind"].cat.reorder_categories(levels)
        other.obs["sample"] = other.obs["sample"].cat.reorder_categories(other.obs["sample"].cat.categories[::-1])
        result = run(other, {"arm in l": IN_L, "joint": "arm:kind"}, reference={"kind": base}, **options)
        same(expected, result, rtol=2e-4, atol=1e-6)


def test_order_of_terms() -> None:
    expected = run(ADATA, HYPOTHESES, test="t")
    same(expected, run(ADATA, HYPOTHESES, "~ x + kind*arm + (1|sample)", test="t"), rtol=1e-5, atol=1e-7)


def test_order_in_a_linear_mixed_model() -> None:
    data = THREE.obs.assign(y=np.asarray(THREE.X[:, 3].todense()).ravel())
    formula = "y ~ arm*kind + x + (1|sample)"
    expected = sc_glmm.lmer(formula, data)
    other = data.iloc[::-1, ::-1].copy()
    other["kind"] = other["kind"].cat.reorder_categories(["m", "l", "k"])
    fit = sc_glmm.lmer(formula, other, reference={"kind": "l"})
    for kind in ("II", "III"):
        one, two = expected.anova(type=kind).table, fit.anova(type=kind).table
        np.testing.assert_allclose(two, one, rtol=1e-4)
    contrasts = {"arm in l": IN_L, "kinds": ["kind", "arm:kind"]}
    one, two = expected.contrast(contrasts), fit.contrast(contrasts)
    for column in ("estimate", "se", "df", "stat", "p_value"):
        np.testing.assert_allclose(two[column], one[column], rtol=1e-4, err_msg=column)
