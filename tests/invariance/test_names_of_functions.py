"""Columns called like the functions of a formula are columns, and its functions are functions."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import ScGlmmWarning

PLAIN = ("arm", "kind", "x", "donor", "sample")
NAMES = [
    ("C", "f", "log", "np", "bs"),
    ("scale", "C", "center", "offset", "I"),
    ("log", "scale", "C", "center", "bs"),
    ("center", "lambda", "None", "__x", "class"),
]
FORMULA = "`{0}` + C(`{1}`) + scale(`{2}`) + log(exp(`{2}`) + 1) + offset(`{2}`) + (1 | `{3}`/`{4}`)"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    donor = np.repeat(np.arange(10), 24)
    data = pd.DataFrame(
        {
            "arm": pd.Categorical.from_codes(donor % 2, ["a", "b"]),
            "kind": pd.Categorical.from_codes(rng.integers(0, 3, 240), ["k", "l", "m"]),
            "x": rng.normal(1.0, 1.0, 240),
            "donor": [f"d{i}" for i in donor],
            "sample": [("one", "two")[i // 12 % 2] for i in range(240)],
        }
    )
    return data.assign(response=rng.normal(size=10)[donor] + 0.5 * data["x"] + rng.normal(size=240))


def table_of(frame: pd.DataFrame, names: tuple[str, ...], **options: object) -> pd.DataFrame:
    counts = np.random.default_rng(0).poisson(3.0, (len(frame), 8)).astype(np.float64)
    obs = frame.rename(columns=dict(zip(PLAIN, names, strict=True))).set_axis([f"c{i}" for i in range(len(frame))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        adata = ad.AnnData(counts, obs)
        sc_glmm.tl.test(adata, f"X ~ {FORMULA.format(*names)}", size_factors=np.ones(len(obs)), test="t", **options)
    return sc_glmm.get.results(adata, columns="all")


@pytest.mark.parametrize("names", NAMES)
def test_genes(frame, names):
    """All contrasts, also those of single levels of C(kind), and the random terms that are added for them."""
    made, expected = table_of(frame, names), table_of(frame, PLAIN)
    assert len(made) == len(expected) == 8 * 6
    one, two = (table.select_dtypes("number").to_numpy(dtype=np.float64) for table in (made, expected))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
    assert list(made["status"]) == list(expected["status"])


@pytest.mark.parametrize("names", NAMES)
def test_a_group_of_cells_in_which_a_column_called_like_a_function_is_constant(frame, names):
    """The terms with the function stay."""
    extra = frame.assign(half=np.arange(240) % 2)
    extra["kind"] = extra["kind"].where(extra["half"] == 1, "k").astype("category")
    tables = [table_of(extra, some, groupby="half") for some in (names, PLAIN)]
    one, two = (table.select_dtypes("number").to_numpy(dtype=np.float64) for table in tables)
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("names", NAMES)
def test_linear_mixed_models(frame, names):
    renamed = frame.rename(columns=dict(zip(PLAIN, names, strict=True)))
    fit, expected = (
        sc_glmm.lmer(f"response ~ {FORMULA.format(*some)}", data) for some, data in ((names, renamed), (PLAIN, frame))
    )
    np.testing.assert_array_equal(fit.beta, expected.beta)
    for kind in ("II", "III"):
        np.testing.assert_array_equal(fit.anova(type=kind).table, expected.anova(type=kind).table)
    np.testing.assert_array_equal(fit.drop1().table, expected.drop1().table)
    np.testing.assert_array_equal(fit.ranova().table, expected.ranova().table)
    np.testing.assert_array_equal(fit.emmeans(names[1]).means["emmean"], expected.emmeans("kind").means["emmean"])
    np.testing.assert_array_equal(fit.predict(renamed), expected.predict(frame))
