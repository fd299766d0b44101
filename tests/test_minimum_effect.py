"""Check tests against a minimum effect, in one direction, and of equivalence."""

from __future__ import annotations

import warnings
from typing import Any

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import cli
from sc_glmm._errors import InputError, ScGlmmWarning
from sc_glmm._inference.minimum import Alternative, t_confidence

FORMULA = "~ arm + (1|sample)"


def make(effect: float, n_genes: int = 60, seed: int = 2) -> ad.AnnData:
    """Simulate eight samples in two arms; the log2 fold change of every gene is `effect`, up or down in turn."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(8), 30)
    arm = sample % 2
    sign = np.where(np.arange(n_genes) % 2, 1.0, -1.0)
    eta = 1.0 + rng.normal(0.0, 0.25, (8, n_genes))[sample] + np.log(2.0) * effect * sign * arm[:, None]
    counts = rng.poisson(np.exp(eta) * rng.gamma(5.0, 0.2, eta.shape)).astype(np.float64)
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([f"s{i}" for i in sample]),
            "arm": pd.Categorical(np.where(arm, "b", "a")),
            "one": 1.0,
        },
        index=[f"c{i}" for i in range(len(sample))],
    )
    return ad.AnnData(sparse.csr_matrix(counts), obs, pd.DataFrame(index=[f"g{j}" for j in range(n_genes)]))


ADATA = make(0.8)


def run(adata: ad.AnnData = ADATA, **options: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        return sc_glmm.get.results(
            sc_glmm.tl.test(adata, FORMULA, size_factors="one", copy=True, **options), columns="all"
        )


@pytest.mark.parametrize("test", ["eb_lr", "eb_wald", "hk", "ql", "t", "wald"])
def test_sides_and_minimum_agree_with_one_another(test: str) -> None:
    plain = run(test=test)
    pd.testing.assert_frame_equal(run(test=test, min_log_fc=0.0), plain)
    greater, less = run(test=test, alternative="greater"), run(test=test, alternative="less")
    np.testing.assert_allclose(greater["p_value"] + less["p_value"], 1.0, atol=1e-9)
    both = 2.0 * np.minimum(greater["p_value"], less["p_value"])
    np.testing.assert_allclose(both, plain["p_value"], rtol=1e-7)
    last = plain["p_value"].to_numpy()
    for minimum in (0.1, 0.5, 2.0):
        table = run(test=test, min_log_fc=minimum)
        assert (table["p_value"].to_numpy() >= last - 1e-12).all()
        last = table["p_value"].to_numpy()
        same = ["coef", "se", "log_fc", "ci_low", "ci_high", "stat"]
        pd.testing.assert_frame_equal(table[same], plain[same])
    equal = run(test=test, min_log_fc=2.0, alternative="abs-less")
    assert (equal["p_value"] < 0.05).mean() > 0.9
    # the interval excludes the minimum if and only if the one-sided p-value is below 2.5 %
    beyond = run(test=test, min_log_fc=0.5, alternative="greater")
    if test != "hk":
        np.testing.assert_array_equal(plain["ci_low"] > 0.5, beyond["p_value"] < 0.025)


@pytest.mark.parametrize(
    ("kind", "minimum", "words"),
    [
        ("two-sided", 0.0, ""),
        ("two-sided", 0.5, " for |log2 fold change| > 0.5"),
        ("abs-less", 1.0, " for |log2 fold change| < 1"),
        ("greater", 0.0, " for log2 fold change > 0"),
        ("less", 0.25, " for log2 fold change < -0.25"),
        ("less", 0.0, " for log2 fold change < 0"),
    ],
)
def test_words(kind: str, minimum: float, words: str) -> None:
    assert Alternative(kind, np.log(2.0) * minimum).words == words


def test_wald_is_treat() -> None:
    """Check against the statistic of McCarthy and Smyth, computed from the estimates."""
    table = run(test="wald", min_log_fc=0.7)
    size, se = table["log_fc"].abs(), table["log_fc_se"]
    expected = stats.norm.sf((size - 0.7) / se) + stats.norm.sf((size + 0.7) / se)
    np.testing.assert_allclose(table["p_value"], expected, rtol=1e-8)


@pytest.mark.parametrize("df", [4.0, np.inf])
@pytest.mark.parametrize("kind", ["two-sided", "greater", "less", "abs-less"])
def test_nulls_at_the_minimum_are_rejected_as_often_as_they_should(kind: str, df: float) -> None:
    rng = np.random.default_rng(1)
    n, minimum, se = 40_000, 0.6, 0.25
    scale = np.sqrt(rng.chisquare(df, n) / df) if np.isfinite(df) else np.ones(n)
    at = -minimum if kind == "less" else minimum
    coef = rng.normal(at, se, n)
    p = Alternative(kind, minimum).p_value(t_confidence(coef, se * scale, df))
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.005)
    away = rng.normal(-2.0 * at if kind == "greater" else 0.0 if kind != "abs-less" else 3.0 * minimum, se, n)
    assert np.mean(Alternative(kind, minimum).p_value(t_confidence(away, se * scale, df)) < 0.05) < 0.03


def test_genes_at_the_minimum_in_a_run() -> None:
    """Check the share of genes with exactly the minimum effect that the default test rejects."""
    p = run(make(0.8, n_genes=400, seed=9), min_log_fc=0.8)["p_value"]
    assert 0.02 < np.mean(p < 0.05) < 0.085
    assert np.mean(run(make(0.8, n_genes=400, seed=9))["p_value"] < 0.05) > 0.7


def test_refit_and_chunks_use_the_minimum() -> None:
    adata = ADATA.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, FORMULA, size_factors="one", min_log_fc=0.4, alternative="greater")
    params = adata.uns["glmm"]["params"]
    assert (params["min_log_fc"], params["alternative"]) == (0.4, "greater")
    table = sc_glmm.get.results(adata, columns="all").set_index("variable")
    again = sc_glmm.tl.refit(adata, "g3").test
    assert again is not None
    assert float(again["p_value"].iloc[0]) == pytest.approx(table.loc["g3", "p_value"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "lines", "label"),
    [
        ({}, [], "$-$log$_{10}$ p-value"),
        ({"min_log_fc": 0.4}, [-0.4, 0.4], "$-$log$_{10}$ p-value, |log$_2$ FC| > 0.4"),
        ({"min_log_fc": 0.4, "alternative": "less"}, [-0.4], "$-$log$_{10}$ p-value, log$_2$ FC < -0.4"),
        ({"min_log_fc": 2, "alternative": "abs-less"}, [-2, 2], "$-$log$_{10}$ p-value, |log$_2$ FC| < 2"),
        ({"alternative": "greater"}, [], "$-$log$_{10}$ p-value, log$_2$ FC > 0"),
    ],
)
def test_volcano_and_table_show_the_minimum(options: dict[str, Any], lines: list[float], label: str) -> None:
    adata = ADATA.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, FORMULA, size_factors="one", test="wald", **options)

    def line_positions(**more: Any) -> list[float]:
        ax = sc_glmm.pl.volcano(adata, n_labels=0, **more)
        assert ax.get_ylabel() == label
        vertical = [np.ravel(line.get_xdata()) for line in ax.lines if line.get_linestyle() == ":" or _dotted(line)]
        plt.close("all")
        return sorted(float(x[0]) for x in vertical if x[0] == x[-1])

    assert line_positions() == pytest.approx(lines)
    assert line_positions(min_log_fc=1) == [-1.0, 1.0]
    assert line_positions(min_log_fc=0) == []
    description = sc_glmm.get.describe(adata).loc["p_value", "meaning"]
    words = Alternative(options.get("alternative", "two-sided"), np.log(2.0) * options.get("min_log_fc", 0.0)).words
    assert description == (f"p-value{words}; NaN if the gene could not be tested" if words else description)
    assert (words in description) and (bool(words) or description.startswith("two-sided"))
    with pytest.raises(InputError, match="min_log_fc=-1: allowed are finite numbers of at least 0, in log2"):
        sc_glmm.pl.volcano(adata, min_log_fc=-1)


def _dotted(line: Any) -> bool:
    return list(line._unscaled_dash_pattern[1] or ()) == [1, 2]


def test_invalid_requests() -> None:
    for options, says in (
        ({"min_log_fc": -1}, "min_log_fc=-1: allowed are finite numbers of at least 0"),
        ({"min_log_fc": np.inf}, "min_log_fc=inf"),
        ({"min_log_fc": True}, "min_log_fc=True"),
        ({"alternative": "both"}, "alternative='both': allowed are 'two-sided', 'greater', 'less', 'abs-less'"),
        ({"alternative": "abs-less"}, "must be above 0"),
        ({"test": "lrt", "min_log_fc": 1.0}, "test='lrt' does not support a minimum effect"),
    ):
        with pytest.raises(InputError, match=says):
            run(**options)
    three = ADATA.copy()
    three.obs["arm"] = pd.Categorical(np.array(["a", "b", "c", "d"])[three.obs["sample"].cat.codes // 2])
    with pytest.raises(InputError, match="3 rows, so it has no direction"):
        run(three, min_log_fc=0.5)


def test_the_command_has_both() -> None:
    text = CliRunner().invoke(cli.app, ["test", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert "--min-log-fc" in text
    assert "abs-less" in text
