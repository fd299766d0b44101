"""Check the values that chunks read: matrices by cells are divided by cells first, matrices by genes by genes."""

from __future__ import annotations

from collections import Counter

import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm._adata.hdf5 import H5Reader
from sc_glmm._adata.sources import ZarrReader
from sc_glmm._compress import source
from sc_glmm._run.options import RunOptions
from sc_glmm._run.parts import fingerprint
from sc_glmm._run.parts.chunks import run_chunk
from sc_glmm._run.parts.folder import open_run

FORMULA = "counts ~ disease + (1|sample)"
N = 4


@pytest.fixture(scope="module")
def adata():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=256, seed=6)
    adata.layers["csr"] = sp.csr_matrix(adata.layers["counts"])
    adata.layers["csc"] = adata.layers["csr"].tocsc()
    adata.layers["dense"] = adata.layers["csr"].toarray()
    del adata.uns["truth"], adata.layers["counts"]
    return adata


@pytest.fixture(scope="module")
def files(adata, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    adata.write_h5ad(folder / "a.h5ad")
    adata.write_zarr(folder / "a.zarr")
    return folder


@pytest.fixture
def read(monkeypatch):
    """Count the values, indices or elements that are read, by name of the array."""
    count: Counter[str] = Counter()
    for reader in (H5Reader, ZarrReader):
        real = reader.read

        def counting(self, first, last, real=real):
            width = self.shape[1] if len(self.shape) > 1 else 1
            count[self.name.rpartition("/")[2]] += (last - first) * width
            return real(self, first, last)

        monkeypatch.setattr(reader, "read", counting)
    monkeypatch.setattr(source, "CHUNK_VALUES", 300)
    monkeypatch.setattr(fingerprint, "_PROBES", 1)
    return count


@pytest.mark.parametrize("store", ["a.h5ad", "a.zarr"])
@pytest.mark.parametrize("layer", ["csr", "csc", "dense"])
def test_every_value_is_read_by_one_chunk(files, adata, tmp_path, read, store, layer):
    options = RunOptions(FORMULA.replace("counts", layer))
    everything = adata.layers[layer].nnz if layer != "dense" else adata.n_obs * adata.n_vars
    values = "data" if layer != "dense" else "dense"

    def run(stage, chunk):
        result = open_run(tmp_path, files / store, options, N)
        if chunk is None:
            assert result.prepared.job.plans
        else:
            run_chunk(result, stage, chunk)
        counts = dict(read)
        read.clear()
        return counts

    # library sizes once; by genes also the counts of the samples, for the estimate of composition
    assert run("prepare", None)[values] == pytest.approx((2 if layer == "csc" else 1) * everything, rel=0.05)
    stages = ["fit", "profile"] if layer == "csc" else ["compress", "fit", "profile"]
    for stage in stages:
        chunks = [run(stage, chunk) for chunk in range(N)]
        for counts in chunks:
            if stage == stages[0]:
                assert counts[values] == pytest.approx(everything / N, rel=0.6)
            else:
                # fingerprint, and the check that values are counts: one line, one chunk
                assert counts[values] < 0.05 * everything
        if stage == stages[0]:
            assert sum(counts[values] for counts in chunks) == pytest.approx(everything, rel=0.2)
