"""Check that invalid values of any argument of tl.test give a package error before any work."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import InputError
from sc_glmm.cli.options import parse_references

JUNK: list[Any] = [
    *(True, 0, 1, -1, 2.5, float("nan"), float("inf"), 10**30, 1j, b"x", "", "x", "p", "a:b", "disease"),
    *(
        [],
        [1, 2],
        ["a"],
        [None],
        [[1], [2]],
        (),
        ("disease", "A"),
        set(),
        {"q"},
        {},
        {"a": 1},
        {"disease": "zz"},
        {1: 2},
    ),
    *({"disease": ["ctl"]}, object(), lambda: 1, int, slice(3), range(3), iter([1]), np.bool_(True), np.int64(3)),
    *(np.array(3), np.zeros(3), np.zeros((2, 2)), np.array(["a"]), pd.NA, pd.Series([1.0, 2.0])),
    *(pd.DataFrame({"a": [1]}), Exception, "\0", "\ud800", "counts ~ disease + (1|sample)"),
]
ARGUMENTS = list(inspect.signature(sc_glmm.tl.test).parameters)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_invalid_values_are_rejected(name: str) -> None:
    """Check that each value either works, or is rejected by an error that names it, with nothing written."""
    clean = sc_glmm.datasets.simulate(n_samples=6, n_cells=120, n_genes=3, seed=1)
    for junk in JUNK:
        adata = clean.copy()
        options: dict[str, Any] = {"test": "t", "progress": False, "reference": {"disease": "ctl"}}
        arguments = {"adata": adata, "formula": "counts ~ disease + (1|sample)", **options, name: junk}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sc_glmm.tl.test(**arguments)
        except InputError as error:
            assert str(error)
            assert "glmm" not in adata.uns


def test_reference_that_is_not_a_dictionary() -> None:
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=120, n_genes=3, seed=1)
    with pytest.raises(InputError, match=r"such as reference=\{'disease': 'ctl'\}"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference="ctl")  # type: ignore[arg-type]


def test_existing_content_of_a_key_is_not_lost() -> None:
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=120, n_genes=3, seed=1)
    adata.varm["PCs"] = np.ones((3, 2))
    adata.uns["neighbors"] = {"connectivities_key": "connectivities"}
    for key in ("PCs", "neighbors"):
        with pytest.raises(InputError, match="has other content"):
            sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", key_added=key)
    assert adata.varm["PCs"].shape == (3, 2)


@pytest.mark.parametrize("dtype", [">f8", ">i4", ">u2", "<f4", "int8", "uint8", "uint32"])
def test_byte_orders_and_widths_of_columns(dtype: str) -> None:
    results = []
    for kind in ("float64", dtype):
        adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=120, n_genes=3, seed=1)
        codes = adata.obs["sample"].astype("category").cat.codes.to_numpy()
        adata.obs["age"] = (20 + 7 * (codes % 4)).astype(kind)
        adata.obs["donor"] = codes.astype(kind)
        adata.obs["depth"] = (1 + np.arange(adata.n_obs) % 3).astype(kind)
        adata.obs["type"] = (np.arange(adata.n_obs) % 2).astype(kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc_glmm.tl.test(
                adata, "counts ~ age + (1|donor)", groupby="type", size_factors="depth", test="t", progress=False
            )
        results.append(sc_glmm.get.results(adata, columns=["coef", "p_value"])[["coef", "p_value"]])
    pd.testing.assert_frame_equal(results[0], results[1])


@pytest.mark.parametrize(
    ("text", "formula", "expected"),
    [
        ("disease=ctl", "", ("disease", "ctl")),
        ("disease=a=b", "y ~ disease + (1|s)", ("disease", "a=b")),
        ("dose=high=no", "y ~ `dose=high` + (1|s)", ("dose=high", "no")),
        ("`dose=high`=a=b", "", ("dose=high", "a=b")),
        (" disease = ctl ", "y ~ disease", ("disease", "ctl")),
    ],
)
def test_references_of_the_command(text: str, formula: str, expected: tuple[str, str]) -> None:
    assert parse_references([text], formula) == dict([expected])


@pytest.mark.parametrize("text", ["disease", "=ctl", "disease=", "="])
def test_references_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="FACTOR=LEVEL"):
        parse_references([text], "y ~ disease")
    with pytest.raises(InputError, match="in 2 ways"):
        parse_references(["a=b=c"], "y ~ a + `a=b`")
