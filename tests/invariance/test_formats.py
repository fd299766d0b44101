"""Check that the format of a matrix and the division of its genes do not change any bit of the results."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import ScGlmmWarning
from sc_glmm._run.options import RunOptions
from sc_glmm._run.parts.chunks import run_chunk
from sc_glmm._run.parts.combine import combine
from sc_glmm._run.parts.folder import open_run

RUNS = {
    "default": {"formula": "counts ~ disease + (1|sample)"},
    "cells": {"formula": "counts ~ disease + depth + (1|sample)", "contrasts": ["disease"]},
    "groups": {"formula": "counts ~ disease + (1|sample)", "groupby": "kind", "test": "lrt"},
    "poisson": {"formula": "counts ~ disease + (1|sample)", "family": "poisson", "test": "hk"},
    "gaussian": {"formula": "logs ~ disease + (1|sample)", "family": "gaussian"},
    "gaussian cells": {"formula": "logs ~ disease + depth + (1|sample)", "family": "gaussian", "contrasts": "disease"},
}
FORMS = {
    "csc": lambda m: m.tocsc(),
    "dense": lambda m: m.toarray(),
    "fortran": lambda m: np.asfortranarray(m.toarray()),
    "csr array": sp.csr_array,
    "coo": lambda m: m.tocoo(),
    "unsorted": lambda m: shuffled(m),
    "long indices": lambda m: sp.csr_matrix((m.data, m.indices.astype(np.int64), m.indptr.astype(np.int64)), m.shape),
}
TYPES = ["float32", "int32", "uint16"]
BIG_ENDIAN = [">f8", ">i4"]


def shuffled(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Reverse the order of the entries in each row of a matrix."""
    places = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)])
    return sp.csr_matrix((matrix.data[places], matrix.indices[places], matrix.indptr), matrix.shape)


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=90, seed=6)
    counts = sp.csr_matrix(adata.layers["counts"]).astype(np.float64)
    adata.layers["counts"], adata.layers["logs"] = counts, counts.log1p()
    adata.obs["kind"] = np.where(np.arange(adata.n_obs) % 3 == 0, "a", "b")
    adata.obs["depth"] = np.log(np.asarray(counts.sum(axis=1)).ravel())
    del adata.uns["truth"]
    # the cells of a sample are not adjacent, so that the order of summation differs
    return adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()


def table_of(adata: ad.AnnData, run: str, **more: object) -> pd.DataFrame:
    options = {**RUNS[run], **more}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        tested = sc_glmm.tl.test(adata, options.pop("formula"), copy=True, **options)
    return sc_glmm.get.results(tested, columns="all")


@pytest.fixture(scope="module")
def tables(adata) -> dict[str, pd.DataFrame]:
    return {run: table_of(adata, run) for run in RUNS}


def same_bits(one: pd.DataFrame, two: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("run", ["default", "gaussian", "groups", "cells", "poisson"])
def test_forms(adata, tables, run, form):
    other = adata.copy()
    # AnnData itself converts or rejects some formats of a layer
    layer = "logs" if run == "gaussian" else "counts"
    stored = FORMS[form](adata.layers[layer])
    if sp.issparse(stored) and stored.format == "coo":
        stored = stored.tocsr()
    other.layers[layer] = stored
    same_bits(table_of(other, run), tables[run])


@pytest.mark.parametrize(
    ("form", "dtype"),
    [*((form, dtype) for form in ("csr", "csc", "dense") for dtype in TYPES), *(("dense", d) for d in BIG_ENDIAN)],
)
def test_types(adata, tables, form, dtype):
    """Check types of numbers, including big-endian, which scipy does not support in sparse matrices."""
    other = adata.copy()
    counts = adata.layers["counts"]
    other.layers["counts"] = (counts.toarray() if form == "dense" else counts.asformat(form)).astype(dtype)
    same_bits(table_of(other, "default"), tables["default"])


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("dtype", BIG_ENDIAN)
@pytest.mark.parametrize("indices", [False, True])
def test_big_endian_numbers(adata, tables, tmp_path, form, dtype, indices):
    """Check big-endian sparse matrices: scipy cannot create them, but files and changed matrices may contain them."""
    other = adata.copy()
    matrix = adata.layers["counts"].toarray() if form == "dense" else adata.layers["counts"].asformat(form, copy=True)
    if form == "dense":
        matrix = matrix.astype(dtype)
    else:
        matrix.data = matrix.data.astype(dtype)
        if indices:
            matrix.indices, matrix.indptr = (part.astype(">i4") for part in (matrix.indices, matrix.indptr))
    other.layers["counts"] = matrix
    data = tmp_path / "in.h5ad"
    other.write_h5ad(data)
    for where in (other, data):
        sc_glmm.tl.test(where, RUNS["default"]["formula"])
        same_bits(sc_glmm.get.results(where, columns="all"), tables["default"])


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("dtype", BIG_ENDIAN)
def test_copies_of_big_endian_numbers(adata, form, dtype):
    other = adata.copy()
    matrix = adata.layers["counts"].asformat(form, copy=True)
    matrix.data = matrix.data.astype(dtype)
    other.layers["counts"] = matrix
    other.obsm["place"], other.uns["facts"] = np.zeros((other.n_obs, 2)), {"a": 1}
    made = sc_glmm.tl.test(other, RUNS["default"]["formula"], copy=True)
    same_bits(sc_glmm.get.results(made, columns="all"), table_of(adata, "default"))
    assert "glmm" not in other.uns and made.uns["facts"] == {"a": 1} and made.obsm["place"].shape == (other.n_obs, 2)
    assert (made.layers["counts"] != adata.layers["counts"]).nnz == 0 and other.layers["counts"].dtype == dtype


@pytest.mark.parametrize("run", RUNS)
def test_jobs(adata, tables, run):
    same_bits(table_of(adata, run, n_jobs=3), tables[run])


@pytest.mark.parametrize("n_chunks", [3, 7])
@pytest.mark.parametrize("run", RUNS)
def test_chunks_of_genes(adata, tables, tmp_path, run, n_chunks):
    """Check a CSC file, which is divided by genes: every process reads its own genes."""
    data = tmp_path / "in.h5ad"
    other = adata.copy()
    for layer in ("counts", "logs"):
        other.layers[layer] = other.layers[layer].tocsc()
    other.write_h5ad(data)
    options = RunOptions(**RUNS[run])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        for chunk in range(n_chunks):
            opened = open_run(Path(tmp_path / "parts"), data, options, n_chunks)
            run_chunk(opened, opened.stages[0], chunk)
        result = combine(Path(tmp_path / "parts")).opened.adata
    table, expected = sc_glmm.get.results(result, columns="all"), tables[run]
    same_bits(table, expected)
