"""Run the scripts for users of R with the installed R packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmwrite

import sc_glmm

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "r"
RSCRIPT = shutil.which("Rscript")
if RSCRIPT is None or not FOLDER.is_dir():
    pytest.skip("needs R and the examples of the project", allow_module_level=True)


def r(code: str, *arguments: str) -> str:
    process = subprocess.run([RSCRIPT, "-e", code, *arguments], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


def has(*packages: str) -> bool:
    test = " && ".join(f'requireNamespace("{name}", quietly = TRUE)' for name in packages)
    return r(f"cat({test})").endswith("TRUE")


@pytest.fixture(scope="module")
def adata():
    return sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=30, seed=0, depth=900)


def test_the_table_is_read_in_r(adata, tmp_path):
    tested = adata.copy()
    sc_glmm.tl.test(tested, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, test="t", progress=False)
    results = sc_glmm.get.results(tested, columns="all")
    results.to_csv(tmp_path / "results.csv", index=False)
    process = subprocess.run(
        [RSCRIPT, FOLDER / "read_results.R", tmp_path / "results.csv"], capture_output=True, text=True, check=True
    )
    hits = int((results["adj_p_value"] < 0.05).sum())
    assert f"{hits} of {int(results['tested'].sum())} tested genes" in process.stdout


@pytest.mark.parametrize("kind", ["Seurat", "SingleCellExperiment"])
def test_objects_of_r_become_anndata(adata, tmp_path, kind):
    if not has("Matrix", "SeuratObject" if kind == "Seurat" else "SingleCellExperiment"):
        pytest.skip(f"needs the R package of {kind}")
    mmwrite(tmp_path / "in.mtx", adata.layers["counts"].T.astype(float))
    adata.obs[["sample", "disease"]].to_csv(tmp_path / "obs.csv")
    result = {
        "Seurat": "suppressWarnings(SeuratObject::CreateSeuratObject(m, meta.data = obs))",
        "SingleCellExperiment": "SingleCellExperiment::SingleCellExperiment(list(counts = m), colData = obs)",
    }[kind]
    r(
        f'setwd("{tmp_path}"); m <- as(Matrix::readMM("in.mtx"), "CsparseMatrix"); '
        'obs <- read.csv("obs.csv", row.names = 1); '
        'dimnames(m) <- list(paste0("gene-", seq_len(nrow(m))), rownames(obs)); '
        f'source("{FOLDER / "seurat_to_files.R"}"); write_counts({result}, "files")'
    )
    subprocess.run([sys.executable, FOLDER / "files_to_h5ad.py", tmp_path / "files", tmp_path / "out.h5ad"], check=True)
    back = ad.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(back.layers["counts"].toarray(), adata.layers["counts"].toarray())
    pd.testing.assert_series_equal(back.obs["disease"].astype(str), adata.obs["disease"].astype(str))
    assert list(back.var_names) == [f"gene-{i + 1}" for i in range(adata.n_vars)]
