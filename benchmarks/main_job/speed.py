"""Measure milliseconds per gene of tl.test on one core, and the ratio to the time of other programs.

    python benchmarks/main_job/speed.py [sim50k.h5ad] [--peer-genes 2] [--repeats 3]

The file must have counts in ``layers["counts"]`` and the columns ``cond`` (of samples), ``x2`` (of cells) and
``sample``; without one the same design is simulated: 50,000 cells of 20 samples, 500 genes. Every figure is the best of
some runs after a first one that compiles, from AnnData to the table in ``.varm``, on one thread. CPU is processor time,
which other work on the machine disturbs less than wall time; the stages are timed in the same runs. Peers (lme4 and
glmmTMB, if R has them) fit a few genes of the same data by Laplace, with the log library sizes as offset. The models
are those of the formulas as they stand (``within="homogeneous"``).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np

import sc_glmm
from sc_glmm._run import conductor, memory, stages

FORMULAS = ("counts ~ cond + (1|sample)", "counts ~ cond + x2 + (1|sample)")
STAGES = {
    "compress": (memory, "compress_groups"),
    "fit": (stages, "fit_all"),
    "profile": (conductor, "profile_all"),
    "prior": (conductor, "moderate"),
}
PEERS = {"glmer Poisson": "poisson", "glmmTMB nbinom2 REML": "nb", "glmmTMB nbinom2 ML": "nb"}


def simulated() -> anndata.AnnData:
    adata = sc_glmm.datasets.simulate(n_samples=20, n_cells=50_000, n_genes=500, covariates={"x2": 0.1}, seed=1)
    adata.obs["cond"] = adata.obs["disease"]
    return adata


@contextlib.contextmanager
def staged() -> Iterator[dict[str, float]]:
    """Measure the processor time of each stage."""
    spent = dict.fromkeys(STAGES, 0.0)
    originals = {stage: getattr(*where) for stage, where in STAGES.items()}

    def timed(stage: str, function):
        def run(*args, **kwargs):
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[stage] += time.process_time() - start

        return run

    for stage, where in STAGES.items():
        setattr(*where, timed(stage, originals[stage]))
    try:
        yield spent
    finally:
        for stage, where in STAGES.items():
            setattr(*where, originals[stage])


def measure_ours(
    adata: anndata.AnnData, formula: str, family: str, test: str, repeats: int, within: str = "homogeneous"
) -> dict[str, float]:
    """Measure the best CPU milliseconds per gene, their stages, and the best wall time."""
    best = {"cpu": np.inf, "wall": np.inf}
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        with staged() as spent:
            sc_glmm.tl.test(adata, formula, family=family, test=test, within=within, n_jobs=1, progress=False)
        total = {"cpu": time.process_time() - cpu, **spent}
        best["wall"] = min(best["wall"], time.perf_counter() - wall)
        if total["cpu"] < best["cpu"]:
            best.update(total)
    return {name: 1e3 * seconds / adata.n_vars for name, seconds in best.items()}


def peers(adata: anndata.AnnData, formula: str, n_genes: int) -> dict[str, float]:
    """Measure CPU milliseconds per gene of the installed R packages, on genes of medium abundance."""
    if shutil.which("Rscript") is None or n_genes < 1:
        return {}
    total = np.asarray(adata.layers["counts"].sum(axis=1), dtype=float).reshape(-1)
    by_abundance = np.argsort(np.asarray(adata.layers["counts"].sum(axis=0)).reshape(-1), kind="stable")
    places = np.linspace(0.4, 0.8, n_genes) * adata.n_vars
    chosen = by_abundance[places.astype(int)]
    frame = adata.obs[["cond", "x2", "sample"]].copy()
    frame["log_size"] = np.log(total / total.mean())
    for k, gene in enumerate(chosen):
        frame[f"gene{k}"] = np.asarray(adata.layers["counts"][:, gene].todense()).reshape(-1).astype(int)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "genes.csv"
        frame.to_csv(path, index=False)
        script = Path(__file__).with_name("peers.R")
        right = formula.split("~", 1)[1].strip()
        process = subprocess.run(["Rscript", str(script), str(path), right], capture_output=True, text=True)
    if process.returncode:
        print(f"R stopped: {process.stderr.strip()}")
        return {}
    rows = (line.rsplit(" ", 1) for line in process.stdout.splitlines())
    return {name: 1e3 * float(seconds) for name, seconds in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="h5ad with the columns cond, x2 and sample")
    parser.add_argument("--peer-genes", type=int, default=2, help="genes that other programs fit; 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
    logging.getLogger("sc_glmm").setLevel(logging.WARNING)
    adata = anndata.read_h5ad(args.file) if args.file else simulated()
    print(f"{adata.n_obs:,} cells, {adata.n_vars:,} genes, {adata.obs['sample'].nunique()} samples; ", end="")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    for formula in FORMULAS:
        measure_ours(adata[:, :100].copy(), formula, "nb", "eb_lr", 1)
    head = f"{'formula':33s} {'family':8s} {'test':6s} {'CPU':>6s} {'wall':>6s}"
    print(head + "".join(f" {stage:>9s}" for stage in STAGES) + "     ms per gene")
    reference: dict[tuple[str, str], float] = {}
    for formula in FORMULAS:
        for family in ("nb", "poisson"):
            for test in ("t", "eb_lr"):
                t = measure_ours(adata, formula, family, test, args.repeats)
                line = f"{formula:33s} {family:8s} {test:6s} {t['cpu']:6.2f} {t['wall']:6.2f}"
                print(line + "".join(f" {t[stage]:9.2f}" for stage in STAGES), flush=True)
                reference[formula, family] = t["cpu"]
    for formula in FORMULAS:
        for name, ms in peers(adata, formula, args.peer_genes).items():
            ratio = ms / reference[formula, PEERS[name]]
            print(
                f"{formula:33s} {name:22s} {ms:10,.0f} ms per gene CPU, {ratio:8,.0f} times our time (eb_lr)",
                flush=True,
            )


if __name__ == "__main__":
    main()
