"""Check the filter of genes against cells and samples per arm, counted by hand."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm as sg


@pytest.fixture
def adata():
    """Make two arms of two samples with five cells each; the name of each gene tells where it is expressed."""
    where = {
        "everywhere": range(20),
        "nowhere": [],
        "treated": range(10, 20),
        "one_sample": range(10, 15),
        "two_cells_each": [0, 1, 5, 6, 10, 11, 15, 16],
        "one_cell_each": [0, 5, 10, 15],
    }
    counts = np.zeros((20, len(where)))
    for j, cells in enumerate(where.values()):
        counts[list(cells), j] = 3
    obs = pd.DataFrame(
        {"sample": np.repeat(["s1", "s2", "s3", "s4"], 5), "arm": np.repeat(["ctl", "stim"], 10)},
        index=[f"c{i}" for i in range(20)],
    )
    return ad.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(where)))


def _kept(adata):
    return list(adata.var_names[adata.var["expressed"]])


def test_one_arm_is_enough_by_default(adata):
    sg.pp.filter_genes(adata, "sample", groupby="arm", min_cells=4, min_samples=2)
    assert _kept(adata) == ["everywhere", "treated", "two_cells_each"]
    assert adata.n_vars == 6
    assert list(adata.var["expressed_cells"]) == [20, 0, 10, 5, 8, 4]
    assert list(adata.var["expressed_samples"]) == [4, 0, 2, 1, 4, 4]


def test_all_arms(adata):
    sg.pp.filter_genes(adata, "sample", groupby="arm", min_cells=4, min_samples=2, arms="all")
    assert _kept(adata) == ["everywhere", "two_cells_each"]


def test_without_arms_all_cells_are_one(adata):
    sg.pp.filter_genes(adata, "sample", min_cells=4, min_samples=3)
    assert _kept(adata) == ["everywhere", "two_cells_each", "one_cell_each"]


def test_combinations_of_columns(adata):
    adata.obs["kind"] = np.tile(["B", "T", "T", "T", "T"], 4)
    sg.pp.filter_genes(adata, "sample", groupby=["kind", "arm"], min_cells=8, min_samples=2)
    # eight T cells in each arm: only genes that are expressed in all of them pass
    assert _kept(adata) == ["everywhere", "treated"]


def test_subset_and_copy(adata, caplog):
    with caplog.at_level(logging.INFO, logger="sc_glmm"):
        logging.getLogger("sc_glmm").addHandler(caplog.handler)
        new = sg.pp.filter_genes(adata, "sample", min_cells=1, min_samples=1, subset=True, copy=True)
        logging.getLogger("sc_glmm").removeHandler(caplog.handler)
    assert "5 of 6 genes" in caplog.text and "removed" in caplog.text
    assert new.n_vars == 5 and "nowhere" not in new.var_names
    assert adata.n_vars == 6 and "expressed" not in adata.var


def test_cells_without_a_sample_do_not_count(adata):
    adata.obs.loc[adata.obs_names[:5], "sample"] = None
    with pytest.warns(sg.ScGlmmWarning, match="5 cells without a value in sample"):
        sg.pp.filter_genes(adata, "sample", min_cells=1, min_samples=1)
    assert adata.var.loc["everywhere", "expressed_cells"] == 15


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"arms": "both"}, "arms='both': allowed are 'any', 'all'"),
        ({"min_cells": -1}, "min_cells=-1"),
        ({"min_samples": 5}, "largest arm has 4 levels of 'sample'"),
        ({"groupby": "arm", "min_samples": 3}, "largest arm has 2"),
        ({"min_cells": 21, "subset": True}, "none of the 6 genes.*20 cells"),
        ({"layer": "log"}, "layer 'log' holds.*layers: 'log'"),
    ],
)
def test_unusable_arguments_are_refused(adata, arguments, words):
    adata.layers["log"] = adata.X.log1p()
    with pytest.raises(sg.InputError, match=words):
        sg.pp.filter_genes(adata, "sample", **arguments)
