"""Check runs under keys whose entries would have the same names: no run loses results of another."""

from __future__ import annotations

import pandas as pd
import pytest

import sc_glmm
from sc_glmm import InputError

FORMULA = "counts ~ disease + (1|sample)"
OPTIONS = {"reference": {"disease": "ctl"}, "progress": False}


@pytest.fixture(scope="module")
def adata():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=600, n_genes=60, seed=3)
    adata.obs["half"] = [("a", "b")[i % 2] for i in range(adata.n_obs)]
    return adata


@pytest.fixture(params=["memory", "h5ad", "zarr"])
def place(request, adata, tmp_path):
    """Provide the data as an object, a file and a store."""
    if request.param == "memory":
        return adata.copy()
    path = tmp_path / f"data.{request.param}"
    (adata.write_h5ad if request.param == "h5ad" else adata.write_zarr)(path)
    return path


def run(place, key, **more):
    sc_glmm.tl.test(place, FORMULA, key_added=key, **OPTIONS, **more)
    return sc_glmm.get.results(place, key=key, columns="all")


def test_key_named_like_a_table_of_another_run_keeps_both(place):
    # both would write glmm_disease to .varm: one for its contrast, the other for all genes
    other = run(place, "glmm_disease")
    first = run(place, "glmm", test="t")
    pd.testing.assert_frame_equal(sc_glmm.get.results(place, key="glmm_disease", columns="all"), other)
    for _ in range(2):  # a run replaces its own results
        pd.testing.assert_frame_equal(run(place, "glmm", test="t"), first)
        pd.testing.assert_frame_equal(sc_glmm.get.results(place, key="glmm_disease", columns="all"), other)
    pd.testing.assert_frame_equal(run(place, "glmm_disease"), other)
    pd.testing.assert_frame_equal(sc_glmm.get.results(place, key="glmm", columns="all"), first)


def test_key_equal_to_a_table_of_another_run_is_rejected(place):
    first = run(place, "glmm", test="t")
    with pytest.raises(InputError, match="glmm_disease.*has other content"):
        run(place, "glmm_disease")
    pd.testing.assert_frame_equal(sc_glmm.get.results(place, key="glmm", columns="all"), first)


def test_the_long_table_of_groups_does_not_replace_a_run(place):
    other = run(place, "glmm_results", test="t")
    with pytest.raises(InputError, match="glmm_results.*has other content"):
        run(place, "glmm", test="t", groupby="half")
    first = run(place, "glmm", test="t")  # without groups there is no long table
    pd.testing.assert_frame_equal(sc_glmm.get.results(place, key="glmm_results", columns="all"), other)
    pd.testing.assert_frame_equal(sc_glmm.get.results(place, key="glmm", columns="all"), first)


@pytest.mark.parametrize("how", ["del", "empty"])
def test_tables_whose_entry_in_uns_was_lost_are_replaced(adata, how, tmp_path):
    # ad.concat and adata.uns = {} leave the tables of genes without the entry that describes them
    changed = adata.copy()
    first = run(changed, "glmm", test="t")
    if how == "del":
        del changed.uns["glmm"]
    else:
        changed.uns = {}
    path = tmp_path / "left.h5ad"
    changed.write_h5ad(path)
    for place in (changed, path):
        pd.testing.assert_frame_equal(run(place, "glmm", test="t"), first)
    assert set(changed.varm) == {"glmm", "glmm_disease"}


def test_tables_of_a_longer_key_are_never_taken_for_those_of_a_shorter_one(adata):
    changed = adata.copy()
    changed.obs["b_disease"] = changed.obs["disease"]
    other = run(changed, "glmm_b", test="t")
    table = changed.varm["glmm_b_disease"].copy()
    for lost in (False, True):  # "glmm_b_disease" is also the name for the contrast b_disease of a run under "glmm"
        if lost:
            del changed.uns["glmm_b"]
        for column, slot in (("disease", "glmm_disease"), ("b_disease", "glmm_b_disease_")):
            options = {"reference": {column: "ctl"}, "progress": False, "key_added": "glmm", "test": "t"}
            sc_glmm.tl.test(changed, f"counts ~ {column} + (1|sample)", **options)
            assert list(changed.uns["glmm"]["params"]["varm"]) == [slot]
            pd.testing.assert_frame_equal(changed.varm["glmm_b_disease"], table)
    assert "glmm_b" in changed.varm
    pd.testing.assert_frame_equal(run(changed, "glmm_b", test="t"), other)
    assert list(changed.uns["glmm_b"]["params"]["varm"]) == ["glmm_b_disease"]


def test_other_content_under_a_key_is_not_changed(adata, tmp_path):
    changed = adata.copy()
    changed.varm["glmm"] = pd.DataFrame({"status": 1.0}, index=changed.var_names)
    path = tmp_path / "mine.h5ad"
    changed.write_h5ad(path)
    for place in (changed, path):
        with pytest.raises(InputError, match="has other content"):
            run(place, "glmm")


def test_all_kernels_are_compiled_on_request():
    assert sc_glmm.compile_kernels() > 0.0
