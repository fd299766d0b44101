"""Simulate counts of many cells directly into an .h5ad file, with only one sample in memory at a time.

    python benchmarks/scale/make.py OUT.h5ad [--cells 1000000] [--genes 20000] [--samples 100] [--covariates 2]

Half of the samples are cases, in which a tenth of the genes change. Genes have lognormal abundances, samples lognormal
effects (standard deviation 0.3), and the cells of a sample are in one of 20 states that multiply each gene by a gamma
variable of variance 0.4: counts are overdispersed between samples and within. A cell of about 3,500 counts has some
1,500 genes. Covariates of cells (x1, x2, ...; every other one is skewed) depend on the states of the cells, and so do
the counts of all genes. Values are float32, indices int32, in the chunks that AnnData's own writer chooses.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import write_elem
from numba import njit

STATES = 20
FOLD = 0.7


@njit(cache=True, nogil=True)
def alias_table(weight, chance, other):
    """Build Walker's tables for drawing from a distribution in constant time."""
    n = len(weight)
    scaled = weight * (n / weight.sum())
    small, large = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    n_small = n_large = 0
    for i in range(n):
        if scaled[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small and n_large:
        n_small -= 1
        s, g = small[n_small], large[n_large - 1]
        chance[s], other[s] = scaled[s], g
        scaled[g] -= 1.0 - scaled[s]
        if scaled[g] < 1.0:
            n_large -= 1
            small[n_small] = g
            n_small += 1
    for k in range(n_small):
        chance[small[k]], other[small[k]] = 1.0, small[k]
    for k in range(n_large):
        chance[large[k]], other[large[k]] = 1.0, large[k]


@njit(cache=True, nogil=True)
def draw_cells(depth, state, chance, other, seed, data, indices, indptr):
    """Draw counts of cells as CSR arrays; the last number in `indptr` is the number of entries."""
    np.random.seed(seed)
    n_genes = chance.shape[1]
    count = np.zeros(n_genes, dtype=np.int32)
    n = 0
    for i in range(len(depth)):
        prob, alternative = chance[state[i]], other[state[i]]
        for _ in range(depth[i]):
            u = np.random.random() * n_genes
            gene = int(u)
            if u - gene >= prob[gene]:
                gene = alternative[gene]
            count[gene] += 1
        for gene in range(n_genes):
            if count[gene]:
                data[n], indices[n] = count[gene], gene
                count[gene] = 0
                n += 1
        indptr[i + 1] = n


def simulate(
    path: Path, n_cells: int, n_genes: int, n_samples: int, depth: float, seed: int, compression, covariates: int = 0
) -> None:
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0.0, 2.0, n_genes)
    programs = base * rng.gamma(1 / 0.4, 0.4, (STATES, n_genes))
    responding = rng.choice(n_genes, n_genes // 10, replace=False)
    sign = rng.choice([-1.0, 1.0], len(responding))
    sizes = np.diff(np.linspace(0, n_cells, n_samples + 1).astype(int))
    names = [f"sample_{i:04d}" for i in range(n_samples)]
    sample = np.repeat(names, sizes)
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(sample),
            "disease": pd.Categorical(np.repeat(np.where(np.arange(n_samples) % 2, "AD", "ctl"), sizes)),
        },
        index=[f"cell_{i:08d}" for i in range(n_cells)],
    )
    obs["cell_type"] = pd.Categorical(np.array([f"type_{k:02d}" for k in range(10)])[rng.integers(0, 10, n_cells)])
    depths = np.maximum(rng.lognormal(np.log(depth) - 0.5 * 0.4**2, 0.4, n_cells), 200).astype(np.int64)
    obs["total"] = depths.astype(np.float64)
    var = pd.DataFrame(index=[f"gene_{g:05d}" for g in range(n_genes)])
    AnnData(obs=obs, var=var).write_h5ad(path)
    states = np.empty(n_cells, dtype=np.int64)
    chance, other = np.empty((STATES, n_genes)), np.empty((STATES, n_genes), dtype=np.int32)
    indptr, total = np.zeros(n_cells + 1, dtype=np.int64), 0
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, n_genes]})
        n_guess = int(n_cells * depth * 0.45)
        stored = {
            name: group.create_dataset(name, (n_guess,), dtype=kind, maxshape=(None,), compression=compression)
            for name, kind in (("data", "f4"), ("indices", "i4"))
        }
        done = 0
        for s in range(n_samples):
            effect = np.exp(rng.normal(0.0, 0.3, n_genes))
            if s % 2:
                effect[responding] *= np.exp(FOLD * sign)
            for k in range(STATES):
                alias_table(programs[k] * effect, chance[k], other[k])
            sample_depths = depths[done : done + sizes[s]]
            data, indices = (
                np.empty(sample_depths.sum(), dtype=np.float32),
                np.empty(sample_depths.sum(), dtype=np.int32),
            )
            ptr = np.zeros(len(sample_depths) + 1, dtype=np.int64)
            states[done : done + sizes[s]] = state = rng.integers(0, STATES, len(sample_depths))
            draw_cells(sample_depths, state, chance, other, seed + s, data, indices, ptr)
            n = int(ptr[-1])
            for name, values in (("data", data), ("indices", indices)):
                if total + n > len(stored[name]):
                    stored[name].resize((total + n,))
                stored[name][total : total + n] = values[:n]
            indptr[done + 1 : done + len(sample_depths) + 1] = total + ptr[1:]
            total, done = total + n, done + len(sample_depths)
        for values in stored.values():
            values.resize((total,))
        group.create_dataset("indptr", data=indptr.astype(np.int32 if total < 2**31 else np.int64), maxshape=(None,))
        for i in range(covariates):
            x = rng.normal(0.0, 0.5, STATES)[states] + rng.normal(0.0, 1.0, n_cells)
            obs[f"x{i + 1}"] = np.exp(0.5 * x) if i % 2 else x
        write_elem(file, "obs", obs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--depth", type=float, default=3_500.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compression", default=None)
    parser.add_argument("--covariates", type=int, default=0, help="columns of obs that differ from cell to cell")
    args = parser.parse_args()
    start = time.perf_counter()
    size = (args.cells, args.genes, args.samples)
    simulate(args.out, *size, args.depth, args.seed, args.compression, args.covariates)
    with h5py.File(args.out) as file:
        n = file["X/indptr"][-1]
    print(
        f"{args.out}: {args.out.stat().st_size / 1e9:.2f} GB, {n / args.cells:.0f} genes a cell, "
        f"{time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
