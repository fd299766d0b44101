"""Measure time and memory of a linear mixed model for every gene of a large object.

    python many_genes.py [--genes 20000] [--cells 50000] [--samples 20] [--formula ...] [--jobs 2]

Log-normalised values are simulated as a sparse matrix (about one value in ten is not zero), with effects of samples of
every size. The first call on a small part is not counted (imports, compilation). Printed are wall-clock and CPU
seconds of ``tl.test(..., family="gaussian")``, from matrix to tables (cross-products, REML, Satterthwaite's degrees of
freedom), the memory of the process at its peak and before the call, and the difference to ``lmer`` for a few genes.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import sc_glmm

CHUNK = 500


def simulate(n_genes: int, n_cells: int, n_samples: int, seed: int = 0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.integers(0, n_samples, n_cells))
    share = np.clip(rng.beta(0.4, 3.2, n_genes), 0.002, 0.98).astype(np.float32)
    shift = (rng.uniform(0.0, 0.4, n_genes) * rng.normal(size=(n_samples, n_genes))).astype(np.float32)
    parts = []
    for first in range(0, n_cells, CHUNK):
        own = sample[first : first + CHUNK]
        cell, gene = np.nonzero(rng.random((len(own), n_genes), dtype=np.float32) < share)
        value = np.exp(0.3 * rng.standard_normal(len(gene), dtype=np.float32) + shift[own[cell], gene])
        parts.append(sp.csr_matrix((value, (cell, gene)), shape=(len(own), n_genes), dtype=np.float32))
    names = np.array([f"s{i:02d}" for i in range(n_samples)])
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(names[sample]),
            "disease": pd.Categorical(np.where(sample % 2, "AD", "ctl"), categories=["ctl", "AD"]),
            "mito": rng.normal(size=n_cells),
        },
        index=pd.RangeIndex(n_cells).astype(str),
    )
    adata = ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
    adata.layers["log1p"] = sp.vstack(parts, format="csr")
    return adata


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def now() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--formula", default="log1p ~ disease + (1 | sample)")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
    small = simulate(40, 600, options.samples, seed=1)
    sc_glmm.tl.test(small, options.formula, family="gaussian", n_jobs=options.jobs, progress=False)
    adata = simulate(options.genes, options.cells, options.samples)
    stored = adata.layers["log1p"].nnz
    before, load = now(), os.getloadavg()[0]
    wall, cpu = time.perf_counter(), time.process_time()
    sc_glmm.tl.test(adata, options.formula, family="gaussian", n_jobs=options.jobs, progress=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    table = sc_glmm.get.results(adata, columns="all")
    print(f"{options.genes:,} genes x {options.cells:,} cells x {options.samples} samples: {options.formula}")
    print(f"stored values {stored:,} ({stored / options.genes / options.cells:.1%}); load of the machine {load:.1f}")
    print(f"wall {wall:.1f} s, CPU {cpu:.1f} s, jobs {options.jobs}")
    print(f"memory: {before:.1f} GB before, {peak():.1f} GB at the peak")
    print(table["status"].value_counts().loc[lambda n: n > 0].to_string())
    for gene in adata.var_names[:: max(options.genes // 3, 1)]:
        model = sc_glmm.tl.refit(adata, gene)
        again = sc_glmm.lmer(model.formula, model.data)
        row = table[table["variable"] == gene].iloc[0]
        own = again.contrast().iloc[0]
        print(
            f"{gene}: log likelihood {row['loglik'] - again.loglik():+.1e}, "
            f"p-value {row['p_value'] / own['p_value'] - 1:+.1e} (relative), df {row['df']:.3f} and {own['df']:.3f}"
        )


if __name__ == "__main__":
    main()
