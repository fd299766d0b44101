"""Print a page: processor time per gene of the main job on one core, and ratios to other programs in the same run.

    python benchmarks/main_job/speed.py [sim50k.h5ad] [--genes 200] [--peer-genes 4] [--repeats 2]

The file must have counts in ``layers["counts"]`` and the columns ``cond`` (of samples), ``x2`` (of cells) and
``sample``; without one the same design is simulated: 50,000 cells of 20 samples, 500 genes. Every figure is the best of
some runs after a first one that compiles, from AnnData to the table in ``.varm``, on one thread. It is processor time,
which other work on the machine disturbs less than wall time. Peers (nebula and glmmTMB, if R has them) fit a few genes
of the same data, with the log library sizes as offset. nebula is installed from its source
(https://github.com/lhe17/nebula); ``R_LIBS`` names its folder. The condition is tested, and everything else is adjusted
for (``within="homogeneous"``), except in rows that say "tested", which are the default call.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
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

ADJUSTED = {"contrasts": "cond", "within": "homogeneous"}
MODELS = (
    ("cond", ADJUSTED),
    ("cond + phase", ADJUSTED),
    ("cond + x2", ADJUSTED),
    ("cond + x2 + x3", ADJUSTED),
    ("cond + x2 + x3 + x4", ADJUSTED),
    ("cond + x2", {}),
)
COLUMNS = ("cond", "phase", "x2", "x3", "x4")
STAGES = {
    "compress": (memory, "compress_groups"),
    "fit": (stages, "fit_all"),
    "profile": (conductor, "profile_all"),
    "prior": (conductor, "moderate"),
}


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
    adata: anndata.AnnData, formula: str, family: str, test: str, repeats: int, **options: object
) -> dict[str, float]:
    """Measure the best CPU milliseconds per gene, with stages, and the best wall time."""
    best = {"cpu": np.inf, "wall": np.inf}
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        with staged() as spent:
            sc_glmm.tl.test(adata, formula, family=family, test=test, n_jobs=1, progress=False, **options)
        total = {"cpu": time.process_time() - cpu, **spent}
        best["wall"] = min(best["wall"], time.perf_counter() - wall)
        if total["cpu"] < best["cpu"]:
            best.update(total)
    return {name: 1e3 * seconds / adata.n_vars for name, seconds in best.items()}


def with_covariates(adata: anndata.AnnData, n_genes: int) -> anndata.AnnData:
    """Take genes of all abundances, and add a phase and two more covariates of cells, one of them skewed."""
    rng = np.random.default_rng(1)
    x2 = adata.obs["x2"].to_numpy()
    adata.obs["x3"] = rng.gamma(2.0, 1.0, adata.n_obs) + 0.3 * x2
    adata.obs["x4"] = rng.normal(size=adata.n_obs)
    adata.obs["phase"] = rng.choice(["G1", "S", "G2M"], adata.n_obs, p=[0.6, 0.25, 0.15])
    total = np.asarray(adata.layers["counts"].sum(axis=1), dtype=float).reshape(-1)
    adata.obs["size"] = total / total.mean()
    return adata[:, np.unique(np.linspace(0, adata.n_vars - 1, n_genes).astype(int))].copy()


def machine() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peers(adata: anndata.AnnData, formula: str, n_genes: int) -> dict[str, float]:
    """Measure CPU milliseconds per gene of the installed R packages, on genes of medium abundance."""
    if shutil.which("Rscript") is None or n_genes < 1:
        return {}
    by_abundance = np.argsort(np.asarray(adata.layers["counts"].sum(axis=0)).reshape(-1), kind="stable")
    places = np.linspace(0.4, 0.8, n_genes) * adata.n_vars
    chosen = by_abundance[places.astype(int)]
    frame = adata.obs[[*COLUMNS, "sample"]].copy()
    frame["log_size"] = np.log(adata.obs["size"])
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
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--peer-genes", type=int, default=4, help="genes that other programs fit; 0 for none")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
    logging.getLogger("sc_glmm").setLevel(logging.ERROR)
    adata = with_covariates(anndata.read_h5ad(args.file) if args.file else simulated(), args.genes)
    print(f"{adata.n_obs:,} cells, {adata.n_vars:,} genes, {adata.obs['sample'].nunique()} samples; sc_glmm", end=" ")
    print(f"{sc_glmm.__version__}; {machine()}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}\n")
    measure_ours(adata[:, :60].copy(), "counts ~ cond + (1|sample)", "nb", "eb_lr", 1)
    print("| model | fit (`t`), ms | default, ms | fit / first fit | default / fit | others / our fit; / our default |")
    print("|---|---|---|---|---|---|")
    first = np.nan
    for fixed, options in MODELS:
        formula, known = f"counts ~ {fixed} + (1|sample)", {"size_factors": "size", **options}
        fit, default = (
            measure_ours(adata, formula, "nb", test, args.repeats, **known)["cpu"] for test in ("t", "eb_lr")
        )
        first = fit if np.isnan(first) else first
        others = peers(adata, formula, args.peer_genes) if options else {}
        text = ", ".join(f"{name} {ms / fit:,.0f}; {ms / default:,.0f}" for name, ms in others.items())
        name = f"`{fixed} + (1\\|sample)`" + ("" if options else ", x2 tested")
        print(f"| {name} | {fit:.1f} | {default:.1f} | {fit / first:.1f} | {default / fit:.1f} | {text} |", flush=True)


if __name__ == "__main__":
    main()
