"""Check the selection of genes in every form of the argument."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sc_glmm._errors import InputError
from sc_glmm._fit.selection import describe_selection, select_genes

NAMES = ["A", "B", "C", "D"]
WANTED = np.array([True, False, True, False])


@pytest.fixture
def var():
    return pd.DataFrame(
        {
            "highly_variable": WANTED,
            "nullable": pd.array(WANTED, dtype="boolean"),
            "objects": pd.Series(list(WANTED), dtype=object).to_numpy(),
            "holes": pd.array([True, None, True, False], dtype="boolean"),
            "merged": np.array([True, np.nan, True, False], dtype=object),
            "none": np.zeros(4, dtype=bool),
            "score": [0.1, 0.2, 0.3, 0.4],
            "symbol": ["s1", "s2", "s3", "s4"],
        },
        index=NAMES,
    )


@pytest.mark.parametrize(
    "genes",
    [
        "highly_variable",
        "nullable",
        "objects",
        WANTED,
        list(WANTED),
        WANTED.tolist(),
        pd.Series(WANTED, index=NAMES),
        pd.Series(WANTED[::-1], index=NAMES[::-1]),
        pd.Series([*WANTED, True], index=[*NAMES, "another"]),
        ["C", "A"],
        ("A", "C", "A"),
        np.array(["A", "C"]),
        pd.Index(["A", "C"]),
        pd.Series(["C", "A"], index=[7, 8]),
        {"A": 1, "C": 2}.keys(),
    ],
)
def test_every_form_selects_the_same(var, genes):
    np.testing.assert_array_equal(select_genes(var, genes), WANTED)


def test_default_is_all_genes_and_recipe_describes_the_selection(var):
    assert select_genes(var, None) is None
    assert describe_selection(None, None) == "all"
    assert describe_selection("highly_variable", WANTED) == "highly_variable"
    assert describe_selection(["A", "C"], WANTED) == "2 given"


@pytest.mark.parametrize(
    ("genes", "words"),
    [
        ("highly_variabel", "did you mean 'highly_variable'"),
        ("A", r"is the name of a gene.*genes=\['A'\]"),
        ("score", r"with 0.1, 0.2, 0.3, \.\.\.; it must contain True and False"),
        ("holes", "missing for 1 of 4"),
        ("merged", "missing for 1 of 4"),
        ("none", "selects none of the 4 genes"),
        ([], "selects none"),
        (["A", "Z"], r"'Z' is not one of the gene names$"),
        (["A", "Z", "Y", "X"], "'Z' is not one of the gene names, nor are 2 more of the given names"),
        (["a"], "did you mean 'A'"),
        ("expressed", "run sc_glmm.pp.filter_genes first"),
        (["s3"], r"var\['symbol'\] contains it"),
        ([0, 2], r"contains 0 \(int\)"),
        (WANTED[:3], "3 booleans, but there are 4 genes"),
        (pd.Series(WANTED[:3], index=NAMES[:3]), "does not contain every gene once"),
    ],
)
def test_invalid_selections_are_rejected(var, genes, words):
    with pytest.raises(InputError, match=words):
        select_genes(var, genes)
