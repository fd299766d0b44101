"""Check that all results in an AnnData can be written to both formats and read without a change."""

from __future__ import annotations

import string
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sc_glmm
from sc_glmm import InputError
from sc_glmm._results import stack

ODD = st.sampled_from(
    [
        "CD4:naive",
        "a/b",
        "..",
        ".",
        "x y",
        "'q'",
        '"d"',
        "é😀",
        "T.x",
        "[T.x]",
        "__init__",
        "a\\b",
        "1",
        "True",
        "nan",
        "-",
    ]
)
NAMES = st.one_of(ODD, st.text(string.ascii_letters + ":/.\\ '\"|,[]", min_size=1, max_size=6).filter(str.strip))


def simulated() -> ad.AnnData:
    return sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=4, seed=1)


def run(adata: ad.AnnData, formula: str, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        sc_glmm.tl.test(adata, formula, **{"test": "t", "progress": False, **options})


def assert_survives(adata: ad.AnnData, key: str = "glmm") -> None:
    """Check that tables and records are the same after writing and reading."""
    with TemporaryDirectory() as folder:
        for suffix in ("h5ad", "zarr"):
            path = Path(folder) / f"out.{suffix}"
            if suffix == "h5ad":
                adata.write_h5ad(path)
                again = ad.read_h5ad(path)
            else:
                adata.write_zarr(path)
                again = ad.read_zarr(path)
            for read in (partial(sc_glmm.get.results, columns="all"), sc_glmm.get.fit_info):
                pd.testing.assert_frame_equal(read(adata, key=key), read(again, key=key))
            if f"{key}_results" in adata.uns:
                pd.testing.assert_frame_equal(sc_glmm.get.details(adata, key=key), sc_glmm.get.details(again, key=key))
            if "names" in adata.uns[key]:
                ours, theirs = adata.uns[key]["names"], again.uns[key]["names"]
                assert ours.dtype.names == theirs.dtype.names
                assert [list(row) for row in ours] == [list(row) for row in theirs]


@st.composite
def ragged(draw: st.DrawFn) -> tuple[ad.AnnData, str]:
    """Make groups of cells with missing samples, levels and genes, and with unusual names."""
    adata = simulated()
    obs: pd.DataFrame = adata.obs
    samples = np.unique(obs["sample"].astype(str))
    new = dict(zip(samples, draw(st.lists(NAMES, min_size=6, max_size=6, unique=True)), strict=True))
    base, other = draw(st.lists(NAMES, min_size=2, max_size=2, unique=True))
    obs["sample"] = obs["sample"].astype(str).map(new)
    obs["disease"] = pd.Categorical(
        np.where(obs["disease"].astype(str) == "ctl", base, other), categories=[base, other]
    )
    types = draw(st.lists(NAMES, min_size=2, max_size=3, unique=True))
    obs["type"] = np.array(types, dtype=object)[np.arange(adata.n_obs) % len(types)]
    obs["batch"] = np.array([1, 2])[np.arange(adata.n_obs) // 3 % 2] if draw(st.booleans()) else True
    obs.loc[obs.index[::5], "batch"] = False if obs["batch"].dtype == bool else 3
    first = obs["type"] == types[0]
    keep = np.ones(adata.n_obs, dtype=bool)
    if draw(st.booleans()):
        keep &= ~(first & (obs["sample"] == new[samples[0]])).to_numpy()
    if draw(st.booleans()):  # one level of the second factor only
        keep &= ~(first & (obs["batch"] == obs["batch"].iloc[0])).to_numpy()
    if draw(st.booleans()):  # a group that has one arm only
        keep &= ~(first & (obs["disease"] == other)).to_numpy()
    adata = adata[keep].copy()
    gene = (adata.obs["type"] == types[-1]).to_numpy()
    if draw(st.booleans()):
        counts = adata.layers["counts"].toarray()
        counts[gene, 0] = 0
        adata.layers["counts"] = type(adata.layers["counts"])(counts)
    return adata, draw(st.sampled_from(["type", "disease"]))


@given(ragged(), st.sampled_from(["counts ~ disease + C(batch) + (1|sample)", "counts ~ disease + (1|sample)"]))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_ragged_groups_survive(made: tuple[ad.AnnData, str], formula: str) -> None:
    adata, groupby = made
    try:
        run(adata, formula, **({"groupby": "type"} if groupby == "type" else {}))
    except InputError as error:
        assert "no level of" in str(error) or "could be" in str(error) or "nothing" in str(error), error
        return
    assert_survives(adata)


def test_type_without_one_sample() -> None:
    adata = simulated()
    adata.obs["type"] = np.where(np.arange(adata.n_obs) % 2, "B", "T")
    adata = adata[~((adata.obs["sample"] == adata.obs["sample"].iloc[0]) & (adata.obs["type"] == "B"))].copy()
    run(adata, "counts ~ disease + (1|sample)", groupby="type")
    assert_survives(adata)
    extreme = sc_glmm.get.fit_info(adata)["extreme_sample"]
    assert isinstance(extreme.dtype, pd.CategoricalDtype)
    assert len(extreme.cat.categories) == 6


def test_columns_missing_in_one_part() -> None:
    one = pd.DataFrame({"n": [1, 2], "flag": [True, False], "c": pd.Categorical(["x", "y"]), "text": ["p", "q"]})
    two = pd.DataFrame({"c": pd.Categorical(["z", None], categories=["z", "x"]), "more": [0.5, 1.5]})
    both = stack([one, two])
    np.testing.assert_array_equal(both["n"], [1, 2, np.nan, np.nan])
    np.testing.assert_array_equal(both["more"], [np.nan, np.nan, 0.5, 1.5])
    assert both["flag"].dtype == bool
    assert list(both["flag"]) == [True, False, False, False]
    assert list(both["text"]) == ["p", "q", "", ""]
    assert list(both["c"].cat.categories) == ["x", "y", "z"]
    assert list(both["c"].cat.codes) == [0, 1, 2, -1]
    assert stack([one, one])["n"].dtype == np.int64


@pytest.mark.parametrize(
    "key", ["", " ", "..", ".", "a/b", "a\0b", "back\\slash", "\ud800", "x" * 200, 3, None, "a\nb"]
)
def test_keys_that_files_cannot_store_are_rejected(key: Any) -> None:
    adata = simulated()
    with pytest.raises(InputError, match="key_added="):
        run(adata, "counts ~ disease + (1|sample)", key_added=key)
    assert "glmm" not in adata.uns


@pytest.mark.parametrize("key", ["a:b", "two words", "é", "..a", "*"])
def test_odd_keys_survive(key: str) -> None:
    adata = simulated()
    run(adata, "counts ~ disease + (1|sample)", key_added=key)
    assert_survives(adata, key)


def test_tables_of_another_run_are_not_changed() -> None:
    adata = simulated()
    run(adata, "counts ~ disease + (1|sample)", key_added="glmm_disease", family="poisson")
    before = sc_glmm.get.results(adata, key="glmm_disease", columns="all")
    run(adata, "counts ~ disease + (1|sample)")
    pd.testing.assert_frame_equal(sc_glmm.get.results(adata, key="glmm_disease", columns="all"), before)
    assert not sc_glmm.get.results(adata, columns="all")["coef"].equals(before["coef"])
    assert_survives(adata)
