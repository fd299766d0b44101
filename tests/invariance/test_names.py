"""Check that names of columns and levels do not change results, for every family, test and function."""

from __future__ import annotations

import warnings
from typing import Any

import anndata as ad
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from scipy import sparse

import sc_glmm
from sc_glmm._errors import InputError, ScGlmmWarning

PLAIN = {"sample": "sample", "arm": "arm", "kind": "kind", "x": "x"}
# operators, quotes, brackets, nested names, functions, keywords of Python, names of result columns
NAMES = (
    ["S", "S_x", "S:x", "x/S", "a b", "it's", 'say "x"', "x__y", "S.x", "(1 | S)", "1x", "é", "A vs B", "~ x", "x + S"]
    + ["center", "log", "np", "C", "cond", "scale", "coef", "coef_x", "p_value", "status", "variable", "contrast"]
    + ["S[T.b]", "sd_S", "Intercept", "x|S", "variable_", "n_cells", "test", "-x", "x:S:x", "a**2"]
)


def make(seed: int = 3) -> ad.AnnData:
    """Make eight samples in two arms, with two kinds of cells and a covariate whose slope differs between samples."""
    rng = np.random.default_rng(seed)
    n_genes, sample = 60, np.repeat(np.arange(8), 25)
    n = len(sample)
    x, kind = rng.normal(2.0, 1.0, n), rng.integers(0, 2, n)
    eta = 0.8 + rng.normal(0.0, 0.4, (8, n_genes))[sample] + 0.2 * rng.normal(size=(8, n_genes))[sample] * x[:, None]
    counts = rng.poisson(np.exp(eta) * rng.gamma(4.0, 0.25, (n, n_genes))).astype(np.float64)
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical.from_codes(sample, [f"s{i}" for i in range(8)]),
            "arm": pd.Categorical.from_codes(sample % 2, ["a", "b"]),
            "kind": pd.Categorical.from_codes(kind, ["k", "l"]),
            "x": x,
        },
        index=[f"cell{i}" for i in range(n)],
    )
    return ad.AnnData(sparse.csr_matrix(counts), obs, pd.DataFrame(index=[f"g{j}" for j in range(n_genes)]))


ADATA = make()
FORMULA = "~ `{arm}`*`{x}` + `{kind}` + (1|`{sample}`)"
RUNS: list[dict[str, Any]] = [
    {"family": "nb"},
    {"family": "poisson", "test": "t", "contrasts": "{arm}:{x}"},
    {"family": "nb", "test": "wald", "contrasts": "{kind}"},
    {"family": "gaussian"},
    {"family": "gaussian", "test": "t", "contrasts": "{x}", "within": "homogeneous"},
]


def renamed(adata: ad.AnnData, names: dict[str, str], levels: list[str]) -> ad.AnnData:
    """Rename the columns, and the levels of each factor, in the same order."""
    obs = adata.obs.rename(columns=names)
    for name in (names["sample"], names["arm"], names["kind"]):
        old_levels = obs[name].cat.categories
        obs[name] = obs[name].cat.rename_categories(dict(zip(old_levels, levels, strict=False)))
    return ad.AnnData(adata.X, obs, adata.var)


def numbers(adata: ad.AnnData, names: dict[str, str], options: dict[str, Any]) -> np.ndarray:
    """Return all numbers of the table, with statuses as codes."""
    options = {key: value.format(**names) if key == "contrasts" else value for key, value in options.items()}
    sizes = {} if options["family"] == "gaussian" else {"size_factors": np.ones(adata.n_obs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        tested = sc_glmm.tl.test(adata, FORMULA.format(**names), copy=True, **sizes, **options)
    table = sc_glmm.get.results(tested, columns="all")
    status = table["status"].astype(str).map(hash).to_numpy()
    return np.column_stack([table.select_dtypes("number").to_numpy(dtype=np.float64), status])


EXPECTED = {}


@pytest.mark.parametrize("run", range(len(RUNS)))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.permutations(NAMES), levels=st.permutations(NAMES))
def test_names_of_columns_and_levels(run: int, names: list[str], levels: list[str]) -> None:
    if run not in EXPECTED:
        EXPECTED[run] = numbers(ADATA, PLAIN, RUNS[run])
    other = dict(zip(PLAIN, names, strict=False))
    result = numbers(renamed(ADATA, other, levels), other, RUNS[run])
    assert result.shape == EXPECTED[run].shape
    np.testing.assert_allclose(result, EXPECTED[run], rtol=1e-9, atol=1e-12)


def of_model(names: dict[str, str], levels: list[str] | None) -> list[np.ndarray]:
    """Return results of a linear mixed model: coefficients, deviations, tests, tables of terms, predictions."""
    data = (ADATA if levels is None else renamed(ADATA, names, levels)).obs.copy()
    y = np.asarray(ADATA.X[:, 0].todense()).ravel()
    data["the response"] = y
    fit = sc_glmm.lmer("`the response` " + FORMULA.format(**names) + " + (0 + `{x}`|`{sample}`)".format(**names), data)
    return [
        fit.beta,
        fit.vcov.to_numpy() if hasattr(fit.vcov, "to_numpy") else np.asarray(fit.cov_beta),
        fit.contrast().select_dtypes("number").to_numpy(),
        fit.anova().table.to_numpy(),
        fit.anova(type="II").table.to_numpy(),
        np.asarray(fit.predict(data)),
    ]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.permutations(NAMES), levels=st.permutations(NAMES))
def test_names_in_a_linear_mixed_model(names: list[str], levels: list[str]) -> None:
    if "lmer" not in EXPECTED:
        EXPECTED["lmer"] = of_model(PLAIN, None)
    result = of_model(dict(zip(PLAIN, names, strict=False)), levels)
    for one, other in zip(result, EXPECTED["lmer"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def grouped(names: dict[str, str], by: str, layer: str, levels: list[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return results of a run with groups of cells, and the coefficients of one refitted gene."""
    adata = ADATA.copy() if levels is None else renamed(ADATA, names, levels)
    groups = ["first", "second"] if levels is None else levels[-2:]
    adata.obs[by] = pd.Categorical.from_codes(np.arange(adata.n_obs) // 2 % 2, groups)
    adata.layers[layer] = adata.X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, f"`{layer}` {FORMULA.format(**names)}", groupby=by, test="t")
        fit = sc_glmm.tl.refit(adata, "g3", group=groups[1])
    table = sc_glmm.get.results(adata, columns="all")
    return table.select_dtypes("number").to_numpy(dtype=np.float64), fit.beta


def test_names_of_groups_and_layers() -> None:
    levels = ["a/b", "c:d", "e|f", "g~h", "i j", "k'l", 'm"n', "o__p"]
    expected = grouped(PLAIN, "by", "counts", None)
    names = {"sample": "x|S", "arm": "~ arm", "kind": "kind/arm", "x": "x ~ y"}
    for by, layer in (("a/b", "c ~ d"), ("test", "a|b")):
        for one, other in zip(grouped(names, by, layer, levels), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("by", ["variable", "contrast", "p_value", "status"])
def test_groupby_with_the_name_of_a_result_column_is_rejected_early(by: str) -> None:
    adata = ADATA.copy()
    adata.obs[by] = adata.obs["kind"]
    with pytest.raises(InputError, match=f"groupby='{by}' is also the name of a column of the results"):
        sc_glmm.tl.test(adata, "~ arm + (1|sample)", groupby=by, test="t")
