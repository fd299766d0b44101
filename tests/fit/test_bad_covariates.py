"""Covariates of cells that cannot be used as they are: an error, or a note and the numbers without them."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import ScGlmmError, ScGlmmWarning


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    made = sc_glmm.datasets.simulate(n_samples=6, n_cells=900, n_genes=3, seed=1)
    rng = np.random.default_rng(0)
    sample = made.obs["sample"].cat.codes.to_numpy()
    x, some = rng.normal(size=900), rng.random(900) < 0.1
    made.obs["x"], made.obs["y"] = x, rng.gamma(2.0, 1.0, 900)
    made.obs["constant"] = 1.5
    made.obs["twin"] = 3.0 * x - 2.0
    made.obs["rounded"] = x + 1e-13 * rng.normal(size=900)
    made.obs["total"] = x + made.obs["y"]
    made.obs["missing"] = np.where(some, np.nan, x)
    made.obs["infinite"] = np.where(some, np.inf, x)
    made.obs["nothing"] = np.nan
    made.obs["of_samples"] = sample.astype(float) ** 2
    made.obs["of_some"] = np.where(sample < 3, x, 2.0)
    made.obs["of_one"] = np.where(np.arange(900) == 5, 7.0, 0.0)
    return made


def table_of(adata: anndata.AnnData, right: str) -> tuple[pd.DataFrame, str]:
    """The table by covariate, and all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ScGlmmWarning)
        made = sc_glmm.tl.test(
            adata,
            f"counts ~ {right} + (1|sample)",
            test="t",
            within="homogeneous",
            min_counts=0,
            size_factors=np.ones(adata.n_obs),
            progress=False,
            copy=True,
        )
    return sc_glmm.get.results(made, columns="all"), "\n".join(str(each.message) for each in caught)


@pytest.mark.parametrize("spoilt", ["constant", "twin", "rounded", "total"])
def test_columns_that_tell_nothing_are_dropped(adata, spoilt):
    table, said = table_of(adata, f"disease + x + y + {spoilt}")
    plain, _ = table_of(adata, "disease + x + y")
    assert f"column '{spoilt}' was dropped" in said
    kept = table["contrast"].str.startswith("disease")
    assert kept.sum() == 3 and (table["status"] == "ok").all()
    mine = plain[plain["contrast"].str.startswith("disease")]
    np.testing.assert_allclose(table["coef"][kept], mine["coef"], rtol=1e-6)
    np.testing.assert_allclose(table["p_value"][kept], mine["p_value"], rtol=1e-5)


@pytest.mark.parametrize("name", ["twin", "rounded"])
def test_one_of_two_that_are_equal_cannot_be_tested(adata, name):
    table, said = table_of(adata, f"disease + x + {name}")
    assert set(table["contrast"].str.split(":").str[0]) == {"disease"}
    assert "the contrast x is not tested" in said and f"confounded with {name}" in said


def test_cells_with_a_missing_value_are_left_out(adata):
    table, said = table_of(adata, "disease + missing")
    dropped = int(adata.obs["missing"].isna().sum())
    assert f"{dropped} of 900 rows were dropped because of missing values (missing: {dropped})" in said
    exact, _ = table_of(adata[adata.obs["missing"].notna()].copy(), "disease + x")
    np.testing.assert_allclose(table["coef"], exact["coef"], rtol=1e-9)


@pytest.mark.parametrize(
    ("right", "message"),
    [
        ("disease + x + infinite", r"'infinite' is infinite or not a number in \d+ of 900 rows"),
        ("disease + log(x)", r"'log\(x\)' is infinite or not a number in \d+ of 900 rows"),
        ("disease + nothing", r"every row has a missing value \(nothing: 900\)"),
    ],
)
def test_what_is_not_a_number_is_refused(adata, right, message):
    with pytest.raises(ScGlmmError, match=message):
        table_of(adata, right)


@pytest.mark.parametrize("name", ["of_samples", "of_some", "of_one"])
def test_what_varies_in_few_places_is_fitted(adata, name):
    """Constant in all samples, in some of them, or but for one cell: tables are those of one row a cell."""
    from sc_glmm._fit import compress

    table, _ = table_of(adata, f"disease + x + {name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compress, "find_centred", lambda *args, **kwargs: None)
        exact, _ = table_of(adata, f"disease + x + {name}")
    assert list(table["status"]) == list(exact["status"])
    np.testing.assert_allclose(((table["coef"] - exact["coef"]) / exact["se"]).abs().max(), 0.0, atol=1e-4)
    np.testing.assert_allclose(table["p_value"], exact["p_value"], rtol=1e-3)
