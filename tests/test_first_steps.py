"""Check messages about common problems of a first attempt with own data."""

from __future__ import annotations

import numpy as np
import pytest

import sc_glmm
from sc_glmm._errors import DesignError, InputError

FORMULA = "counts ~ disease + (1|sample)"


@pytest.fixture
def adata():
    return sc_glmm.datasets.simulate(n_samples=8, n_cells=320, n_genes=20, depth=200, seed=2)


def test_counts_that_are_in_raw_only(adata):
    counts = adata.copy()
    counts.X = counts.layers.pop("counts")
    logs = counts.copy()
    logs.raw = counts
    logs.X = np.log1p(logs.X)
    with pytest.raises(InputError, match=r"layers with counts: none, but adata.raw has counts.*\.raw\.to_adata\(\)"):
        sc_glmm.tl.test(logs, FORMULA)
    sc_glmm.tl.test(logs.raw.to_adata(), "X ~ disease + (1|sample)", test="t")


def test_counts_in_a_layer_of_another_name_or_nowhere(adata):
    adata.layers["raw"] = adata.layers.pop("counts")
    adata.X = np.log1p(adata.layers["raw"])
    with pytest.raises(InputError, match=r"left side of the formula, as in 'raw ~ \.\.\.'"):
        sc_glmm.tl.test(adata, FORMULA)
    del adata.layers["raw"]
    with pytest.raises(InputError, match=r"none\. Store counts in a layer before normalising"):
        sc_glmm.tl.test(adata, FORMULA)


def test_too_few_samples_are_counted_arm_by_arm(adata):
    two = adata[adata.obs["sample"].isin(adata.obs.groupby("disease", observed=True)["sample"].first())]
    with pytest.raises(DesignError, match=r"sample: 1 in disease (ctl|AD), 1 in disease (ctl|AD)"):
        sc_glmm.tl.test(two.copy(), FORMULA)


def test_a_sample_with_cells_of_both_arms_is_named(adata):
    first = adata.obs["sample"].iloc[0]
    cells = np.flatnonzero(adata.obs["sample"] == first)
    other = next(level for level in adata.obs["disease"].cat.categories if level != adata.obs["disease"].iloc[cells[0]])
    adata.obs.iloc[cells[:3], adata.obs.columns.get_loc("disease")] = other
    words = rf"1 of 8 levels of sample \({first}\) have cells of several levels of disease.*correct obs\['disease'\]"
    with pytest.raises(DesignError, match=words):
        sc_glmm.tl.test(adata, FORMULA)


def test_paired_samples_give_no_warning():
    paired = sc_glmm.datasets.simulate(n_samples=12, n_cells=320, n_genes=20, depth=200, design="paired", seed=2)
    for random in ("(1|donor) + (1|sample)", "(1|donor) + (1|donor:stim)"):
        sc_glmm.tl.test(paired, f"counts ~ stim + {random}", reference={"stim": "ctrl"}, test="t")


def test_numbers_have_no_base_level(adata):
    adata.obs["sick"] = (adata.obs["disease"] == "AD").astype(int)
    with pytest.raises(DesignError, match=r"convert it with .astype\('category'\)"):
        sc_glmm.tl.test(adata, "counts ~ sick + (1|sample)", reference={"sick": 0})
    adata.obs["sick"] = adata.obs["sick"].astype("category")
    sc_glmm.tl.test(adata, "counts ~ sick + (1|sample)", reference={"sick": 0}, test="t")
    assert sc_glmm.get.results(adata, columns="all")["contrast"].iloc[0] == "sick: 1 vs 0"
