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
