"""Check that a run reads only the columns of the cells that it needs; an atlas may have hundreds of columns."""

from __future__ import annotations

import anndata as ad
import anndata.io
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import InputError
from sc_glmm._adata.store import Store
from sc_glmm._adata.tables import Columns, columns_of

FORMULA = "counts ~ disease + log(age) + (1|sample)"
OPTIONS = {"groupby": "kind", "test": "t", "size_factors": "depth", "contrasts": "disease", "progress": False}
USED = {"disease", "age", "sample", "kind", "depth"}


@pytest.fixture(scope="module", params=["h5ad", "zarr"])
def file(request, tmp_path_factory):
    """Make cells with many more columns than the formula uses."""
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=12, seed=4)
    rng = np.random.default_rng(0)
    adata.obs["kind"] = pd.Categorical(np.where(rng.random(400) < 0.5, "B", "T"))
    adata.obs["age"] = rng.uniform(20, 80, 8)[adata.obs["sample"].cat.codes]
    adata.obs["depth"] = rng.uniform(0.5, 2.0, 400)
    for i in range(10):
        adata.obs[f"note_{i}"] = [f"{i} of {cell}" for cell in range(400)]
        adata.obs[f"score_{i}"] = rng.normal(size=400)
    del adata.uns["truth"]
    path = tmp_path_factory.mktemp("tables") / f"wide.{request.param}"
    getattr(adata, f"write_{request.param}")(path)
    return path


@pytest.fixture
def read(monkeypatch) -> set[str]:
    """Record the names of the columns of cells that are read."""
    names: set[str] = set()
    real = anndata.io.read_elem

    def noting(element, *args, **kwargs):
        place = str(getattr(element, "name", "")).strip("/")
        if place.startswith("obs"):
            names.update([place.removeprefix("obs/")] if place != "obs" else element.attrs["column-order"])
        return real(element, *args, **kwargs)

    monkeypatch.setattr(anndata.io, "read_elem", noting)
    return names


def test_only_the_columns_of_the_run_are_read(file, read):
    whole = ad.read_zarr(file) if file.suffix == ".zarr" else ad.read_h5ad(file)
    read.clear()
    sc_glmm.tl.test(whole, FORMULA, **OPTIONS)
    assert not read
    ours = sc_glmm.tl.test(file, FORMULA, copy=True, **OPTIONS)
    assert set(read) - {"_index", "index"} == USED | {"donor"}  # a column that may pair samples
    assert set(ours.obs) == USED
    pd.testing.assert_frame_equal(sc_glmm.get.results(ours, columns="all"), sc_glmm.get.results(whole, columns="all"))
    pd.testing.assert_frame_equal(sc_glmm.get.details(ours), sc_glmm.get.details(whole))


def test_error_about_a_column_lists_all_columns(file, read):
    with pytest.raises(InputError, match=r"no column 'diseas'; did you mean 'disease'.*note_3"):
        sc_glmm.tl.test(file, "counts ~ diseas + (1|sample)", progress=False)
    assert {"note_3", "score_9"} <= read
    with pytest.raises(InputError, match="score_11.*score_1"):
        sc_glmm.tl.test(file, FORMULA, size_factors="score_11", progress=False)


def test_lazy_tables_are_read_by_column_as_well(file):
    pytest.importorskip("xarray")
    if file.suffix == ".zarr":
        pytest.skip("one kind of file will do")
    lazy = ad.experimental.read_lazy(file)
    opened = sc_glmm._adata.open.open_data(lazy, "glmm", columns=columns_of(FORMULA, "kind", None))
    assert set(opened.adata.obs) == USED - {"depth"}
    pd.testing.assert_frame_equal(opened.adata.obs, Store(file).tables().obs[list(opened.adata.obs)], check_names=False)


def test_names_of_a_formula():
    formula = "`my layer` ~ a:b + np.log(c) + bs(Q('d 1'), df=3) + `e f` + (1 + g | h/i) + offset(log(j))"
    found = columns_of(formula, "k", None, np.ones(3))
    assert found is not None
    assert {"a", "b", "c", "d 1", "e f", "g", "h", "i", "j", "k"} == found.needed
    assert columns_of("counts ~ (1|") is None
    assert Columns(frozenset({"a"}), frozenset({"b"})).among(["c", "b", "a"]) == ["b", "a"]
    assert Columns(frozenset({"a"})).among(["b"]) is None
