"""Measure a whole data set, from AnnData to table: genes of a file repeated to 20,000, default test, all CPUs.

python whole.py sim50k.h5ad "counts ~ cond + (1|sample)" --size-factors size_factor
"""

from __future__ import annotations

import resource
import time
import warnings
from pathlib import Path
from typing import Annotated

import anndata as ad
import typer
from scipy import sparse

import sc_glmm


def main(
    path: Annotated[Path, typer.Argument(help="AnnData with counts in a layer `counts`, or in X.")],
    formula: Annotated[str, typer.Argument(help="With the left side `counts`.")],
    size_factors: Annotated[str | None, typer.Option(help="Column of obs; default: library sizes.")] = None,
    genes: Annotated[int, typer.Option(help="Smallest number of genes.")] = 20_000,
) -> None:
    """Print wall and processor seconds, and the peak of memory."""
    warnings.simplefilter("ignore")
    data = ad.read_h5ad(path)
    counts = sparse.csr_matrix(data.layers["counts"] if "counts" in data.layers else data.X)
    few = _with_counts(counts, data)
    # this call compiles or loads the kernels
    sc_glmm.tl.test(few, formula, size_factors=size_factors, progress=False)
    many = _with_counts(sparse.hstack([counts] * -(-genes // counts.shape[1]), format="csr"), data)
    start, cpu = time.perf_counter(), time.process_time()
    sc_glmm.tl.test(many, formula, size_factors=size_factors, progress=False)
    print(f"{many.n_vars:,} genes x {many.n_obs:,} cells, {many.layers['counts'].nnz:,} stored values")
    print(f"{time.perf_counter() - start:.1f} s, {time.process_time() - cpu:.1f} s of processor time")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


def _with_counts(counts: sparse.csr_matrix, data: ad.AnnData) -> ad.AnnData:
    adata = ad.AnnData(obs=data.obs.copy(), layers={"counts": counts})
    adata.var_names = [f"g{i}" for i in range(counts.shape[1])]
    return adata


if __name__ == "__main__":
    typer.run(main)
