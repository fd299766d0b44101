"""Check a factor with three levels: each level against the base, and the joint test, in tables and for scanpy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scanpy as sc  # type: ignore[import-untyped]

import sc_glmm


@pytest.fixture(scope="module")
def adata() -> Any:
    adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=360, n_genes=8, seed=2)
    samples = adata.obs["sample"].astype("category").cat.codes.to_numpy()
    adata.obs["disease"] = pd.Categorical(
        np.array(["healthy", "mild", "severe"])[samples % 3], categories=["healthy", "mild", "severe"]
    )
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", test="t", min_counts=0, progress=False)
    return adata


def run(adata: Any, **options: Any) -> pd.DataFrame:
    tested = sc_glmm.tl.test(
        adata, "counts ~ disease + (1|sample)", test="t", min_counts=0, copy=True, progress=False, **options
    )
    return sc_glmm.get.results(tested, columns="all")


def test_each_level_and_the_joint_test(adata: Any) -> None:
    table = sc_glmm.get.results(adata)
    assert list(table["contrast"].cat.categories) == [
        "disease: any difference between healthy, mild, severe",
        "disease: mild vs healthy",
        "disease: severe vs healthy",
    ]
    assert len(sc_glmm.get.results(adata, contrast="severe")) == adata.n_vars
    contrasts = run(adata, contrasts=[("disease", "severe", "healthy")])
    default = sc_glmm.get.results(adata, contrast="severe vs healthy", columns="all")
    np.testing.assert_allclose(default["p_value"], contrasts["p_value"], rtol=1e-9)


def test_scanpy_finds_each_level(adata: Any) -> None:
    for level in ("mild", "severe"):
        frame = sc.get.rank_genes_groups_df(adata, group=level, key="glmm")
        table = sc_glmm.get.results(adata, contrast=level)
        np.testing.assert_allclose(frame.set_index("names")["pvals"][table["variable"]], table["p_value"])


def test_a_list_of_factor_level_and_base_is_one_contrast(adata: Any) -> None:
    listed = run(adata, contrasts=["disease", "severe", "mild"])
    triple = run(adata, contrasts=("disease", "severe", "mild"))
    pd.testing.assert_frame_equal(listed, triple)
    assert set(listed["contrast"]) == {"disease: severe vs mild"}


def test_names_of_contrasts_are_kept(adata: Any) -> None:
    cond = sc_glmm.cond
    average = (cond(disease="mild") + cond(disease="severe")) / 2 - cond(disease="healthy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = run(adata, contrasts={"avg": average, "worse": ("disease", "severe", "mild")})
    assert list(table["contrast"].cat.categories) == ["avg", "worse"]


def test_genes_with_few_counts_are_dropped_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=200, n_genes=6, seed=2)
    counts = adata.layers["counts"].toarray()
    counts[:, 0] = 0
    counts[:9, 0] = 1
    counts[:, 1] = 0
    counts[:10, 1] = 1
    adata.layers["counts"] = type(adata.layers["counts"])(counts)
    options: Any = {"reference": {"disease": "ctl"}, "test": "t", "progress": False}
    with caplog.at_level("INFO"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", **options)
    assert list(sc_glmm.get.results(adata)["status"].astype(str)[:2] == "low_count") == [True, False]
    assert "1 low count" in caplog.text
    assert "fewer than 10 counts, not tested (min_counts=0 tests them)" in caplog.text
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", min_counts=0, **options)
    assert not (sc_glmm.get.results(adata)["status"] == "low_count").any()


def test_what_a_name_means_is_shown(adata: Any, caplog: pytest.LogCaptureFixture) -> None:
    made = adata.copy()
    samples = made.obs["sample"].astype("category").cat.codes.to_numpy()
    made.obs["sex"] = np.array(["F", "M"])[samples // 3 % 2]
    cond = sc_glmm.cond
    men = cond(disease="severe", sex="M") - cond(disease="healthy", sex="M")
    women = cond(disease="severe", sex="F") - cond(disease="healthy", sex="F")
    with caplog.at_level("INFO"):
        sc_glmm.tl.test(
            made,
            "counts ~ disease * sex + (1|sample)",
            reference={"sex": "F"},
            contrasts={
                "avg": (men + women) / 2,
                "ill": (cond(disease="mild") + cond(disease="severe")) / 2 - cond(disease="healthy"),
                "worse": ("disease", "severe", "mild"),
            },
            test="t",
            progress=False,
        )
    meaning = "disease: severe vs healthy (mean of sex = M and sex = F)"
    assert f"compared: avg = {meaning}; ill = disease: mean of mild and severe vs healthy (at sex = F)" in caplog.text
    table = sc_glmm.get.results(made, columns="all")
    assert dict(zip(table["contrast"], table["meaning"], strict=True))["avg"] == meaning
    assert "meaning" not in sc_glmm.get.results(made)
    assert f"'avg' is {meaning}" in sc_glmm.get.describe(made).loc["contrast", "meaning"]
    assert sc_glmm.get.describe(made).loc["meaning", "meaning"]
    for data in (made, table):
        label = sc_glmm.pl.volcano(data, contrast="avg", n_labels=0).get_xlabel()
        assert "".join(label.split()).endswith(f"foldchange,avg={''.join(meaning.split())}")


@pytest.mark.parametrize("asked", ["mild", "mild vs healthy", "disease: mild vs healthy", "disease[T.mild]",
                                   ("disease", "mild", "healthy"), ["disease", "mild", "healthy"],
                                   "cond(disease='mild') - cond(disease='healthy')"])  # fmt: skip
@pytest.mark.parametrize("through", ["list", "dictionary"])
def test_what_was_asked_finds_what_it_made(adata: Any, asked: Any, through: str) -> None:
    given = {"a name": asked, "other": "severe"} if through == "dictionary" else [asked, "severe"]
    if isinstance(asked, list):
        given = {"a name": tuple(asked), "other": "severe"} if through == "dictionary" else [tuple(asked), "severe"]
    made = sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", contrasts=given, test="t", copy=True, progress=False)
    found = sc_glmm.get.results(made, contrast=asked)
    assert set(found["contrast"]) == {"a name" if through == "dictionary" else "disease: mild vs healthy"}
    frame = sc_glmm.get.results(made, columns="all")
    if not str(asked).startswith(("cond", "disease[")):  # a frame does not have what was typed
        assert sc_glmm.pl.volcano(frame, contrast=asked, n_labels=0).collections


def test_a_name_may_mean_another_comparison_in_another_group(adata: Any) -> None:
    made = adata.copy()
    made.obs["type"] = np.arange(made.n_obs) % 2
    made = made[~((made.obs["type"] == 1) & (made.obs["disease"] == "healthy"))].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc_glmm.tl.test(
            made, "counts ~ disease + (1|sample)", contrasts={"s": "severe"}, groupby="type", test="t", progress=False
        )
    table = sc_glmm.get.results(made, columns="all")
    said = table.groupby("type", observed=True)["meaning"].agg(lambda each: set(each.astype(str)))
    assert said["0"] == {"disease: severe vs healthy"} and said["1"] == {"disease: severe vs mild"}
    assert len(sc_glmm.get.results(made, contrast="severe vs mild")) == 8 * 2  # the name has both


def test_a_gene_is_fitted_again_in_a_group_with_fewer_contrasts(adata: Any) -> None:
    made = adata.copy()
    made.obs["type"] = np.array(["all", "two"])[np.arange(made.n_obs) % 2]
    made = made[~((made.obs["type"] == "two") & (made.obs["disease"] == "mild"))].copy()
    made.obs["disease"] = made.obs["disease"].astype(str)
    options: Any = {"reference": {"disease": "healthy"}, "test": "t", "progress": False}
    sc_glmm.tl.test(made, "counts ~ disease + (1|sample)", groupby="type", **options)
    table = sc_glmm.get.results(made, group="two", tested=True, columns="all")
    assert set(table["contrast"]) == {"disease: severe vs healthy"}
    gene = table["variable"].iloc[0]
    for group in ("all", "two"):
        fit = sc_glmm.tl.refit(made, gene, group=group)
        rows = sc_glmm.get.results(made, group=group, genes=gene).set_index("contrast")["p_value"]
        np.testing.assert_allclose(fit.test["p_value"].astype(float), rows[fit.test.index], rtol=1e-6)
