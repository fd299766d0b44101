"""Check the checksum of the counts, by which a refit recognises the data of the run in any matrix format."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import InputError

FORMULA = "counts ~ disease + (1|sample)"
OPTIONS = {"reference": {"disease": "ctl"}, "test": "t", "progress": False}


@pytest.fixture(scope="module")
def adata():
    return sc_glmm.datasets.simulate(n_samples=8, n_cells=300, n_genes=20, seed=4)


def digest(data) -> str:
    sc_glmm.tl.test(data, FORMULA, **OPTIONS)
    stored = data if isinstance(data, ad.AnnData) else ad.read_zarr(data) if data.is_dir() else ad.read_h5ad(data)
    return str(stored.uns["glmm"]["params"]["matrix_digest"])


def test_checksum_does_not_depend_on_the_matrix_format(adata, tmp_path):
    counts = sp.csr_matrix(adata.layers["counts"])
    forms = [counts.astype(kind) for kind in (np.float32, np.float64, np.int32, np.uint16)]
    forms += [counts.tocsc(), counts.toarray(), counts.toarray().astype(np.int64)]
    found = set()
    for form in forms:
        changed = adata.copy()
        changed.layers["counts"] = form
        found.add(digest(changed))
    for name in ("csr.h5ad", "store.zarr"):
        path = tmp_path / name
        (adata.write_zarr if name.endswith("zarr") else adata.write_h5ad)(path)
        found.add(digest(path))
    changed = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    found.add(digest(changed))
    assert len(found) == 1 and found != {""}


def test_refit_rejects_changed_counts_even_of_other_genes(adata):
    tested = adata.copy()
    sc_glmm.tl.test(tested, FORMULA, **OPTIONS)
    gene = tested.var_names[0]
    sc_glmm.tl.refit(tested, gene)
    counts = tested.layers["counts"].tolil()
    counts[5, 7] += 1
    tested.layers["counts"] = counts.tocsr()
    with pytest.raises(InputError, match="differ from those of the run.*counts of some cells have changed.*checksum"):
        sc_glmm.tl.refit(tested, gene)


def test_no_checksum_without_sums_of_the_cells(adata):
    changed = adata.copy()
    changed.obs["size"] = 1.0
    sc_glmm.tl.test(changed, FORMULA, size_factors="size", **OPTIONS)
    assert changed.uns["glmm"]["params"]["matrix_digest"] == ""
    sc_glmm.tl.refit(changed, changed.var_names[0])
