"""The methods that are compared: ours on cells, those of others on pseudobulk sums of the same cells.

Each takes an AnnData with ``layers["counts"]`` and ``obs["size_factor"]`` and returns p-values of all genes of it.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from formulaic import model_matrix
from scipy import sparse

import sc_glmm

HERE = Path(__file__).parent
# The summary lines of thousands of runs tell nothing here.
logging.getLogger("sc_glmm").setLevel(logging.WARNING)
R_METHODS = ("edger_ql", "limma_voom", "deseq2")
# "ml_wald" is what most mixed-model tools report: maximum likelihood and a normal reference.
OUR_METHODS = ("eb_lr", "eb_wald", "hk", "ql", "t", "wald", "lrt", "ml_wald")
METHODS = (*OUR_METHODS, *R_METHODS, "pydeseq2")
LABELS = {
    "eb_lr": "sc_glmm `eb_lr` (default)",
    "p_hk": "sc_glmm `p_hk`",
    "eb_wald": "sc_glmm `eb_wald`",
    "hk": "sc_glmm `hk`",
    "ql": "sc_glmm `ql`",
    "t": "sc_glmm `t`",
    "wald": "sc_glmm `wald`",
    "lrt": "sc_glmm `lrt`",
    "ml_wald": "ML, Wald z",
    "edger_ql": "edgeR-QL",
    "limma_voom": "limma-voom",
    "deseq2": "DESeq2",
    "pydeseq2": "PyDESeq2",
}


@dataclass(frozen=True)
class Tested:
    """What one method says about every gene; natural logs; ``interval`` is of 95 %."""

    p: np.ndarray
    seconds: float
    estimate: np.ndarray | None = None
    interval: np.ndarray | None = None
    p_hk: np.ndarray | None = None
    notes: dict[str, object] | None = None


def versions() -> dict[str, str]:
    """Of the packages that made the numbers."""
    found = {name: version(name) for name in ("sc_glmm", "numpy", "scipy", "anndata")}
    here = Path(sc_glmm.__file__).parent
    git = shutil.which("git")
    if git is not None:
        done = subprocess.run([git, "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        found["commit"] = done.stdout.strip()
    return found


def run_ours(method: str, adata: ad.AnnData, formula: str, tested: str) -> Tested:
    """Our tests, one thread; `tested` is the term of the formula. Processor seconds, from AnnData to table."""
    options = {"method": "ml", "test": "wald"} if method == "ml_wald" else {"test": method}
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        sc_glmm.tl.test(
            adata,
            formula,
            size_factors="size_factor",
            contrasts=tested,
            n_jobs=1,
            progress=False,
            key_added="calibration",
            **options,
        )
        table = sc_glmm.get.results(adata, "calibration")
    seconds = time.process_time() - start
    if list(table["variable"]) != list(adata.var_names):
        raise RuntimeError("the table of results is not in the order of the genes")
    natural = np.log(2.0)
    return Tested(
        p=table["p_value"].to_numpy(float),
        seconds=seconds,
        estimate=table["coef"].to_numpy(float),
        interval=table[["ci_low", "ci_high"]].to_numpy(float) * natural,
        p_hk=table["p_hk"].to_numpy(float) if method == "eb_lr" and "p_hk" in table else None,
        notes={"status": {str(k): int(v) for k, v in table["status"].value_counts().items() if v}},
    )


@dataclass(frozen=True)
class Pseudobulk:
    """Sums of cells: counts (genes, units), size factors of the units, and their design."""

    counts: np.ndarray
    size: np.ndarray
    design: pd.DataFrame
    tested: str


def pseudobulk(adata: ad.AnnData, unit: str, fixed: str, tested: str) -> Pseudobulk:
    """Sum the cells of each unit; `tested` is a term of `fixed` with one column."""
    codes, levels = pd.factorize(adata.obs[unit], sort=True)
    membership = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    size = membership @ adata.obs["size_factor"].to_numpy()
    table = adata.obs.iloc[[int(np.flatnonzero(codes == k)[0]) for k in range(len(levels))]]
    for name in table.columns:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            table = table.assign(**{name: table[name].cat.remove_unused_categories()})
    matrix = model_matrix(fixed, table)
    columns = list(matrix.columns[matrix.model_spec.term_slices[tested]])
    if len(columns) != 1:
        raise ValueError(f"{tested!r} has the columns {columns}; pseudobulk methods are given one")
    counts = np.asarray((membership @ adata.layers["counts"]).todense()).T
    design = pd.DataFrame(np.asarray(matrix), columns=list(matrix.columns))
    return Pseudobulk(counts, np.asarray(size), design, columns[0])


def run_r(methods: list[str], bulk: Pseudobulk) -> tuple[dict[str, Tested], dict[str, str]]:
    """Methods of R on genes with a count; those whose package is missing are left out."""
    program = shutil.which("Rscript")
    if program is None or not methods:
        return {}, {}
    some = bulk.counts.sum(axis=1) > 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.DataFrame(bulk.counts[some].astype(int)).to_csv(folder / "counts.csv", index=False)
        bulk.design.to_csv(folder / "design.csv", index=False)
        pd.DataFrame({"size": bulk.size}).to_csv(folder / "library.csv", index=False)
        done = subprocess.run(
            [program, str(HERE / "comparators.R"), name, ",".join(methods), bulk.tested],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode or not (folder / "p.csv").exists():
            raise RuntimeError(f"comparators.R failed: {done.stderr[-2000:]}")
        values, seconds = pd.read_csv(folder / "p.csv"), pd.read_csv(folder / "seconds.csv")
        found = pd.read_csv(folder / "versions.csv").iloc[0].astype(str).to_dict()
    results = {}
    for method in values.columns:
        p = np.full(len(some), np.nan)
        p[some] = values[method]
        results[method] = Tested(p, float(seconds[method].iloc[0]))
    return results, found


def run_pydeseq2(bulk: Pseudobulk) -> tuple[Tested, str] | None:
    """PyDESeq2 as DESeq2 above: our size factors, Wald, no filtering, outliers kept; None if it is not installed."""
    try:
        import pydeseq2
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.default_inference import DefaultInference
        from pydeseq2.ds import DeseqStats
    except ImportError:
        return None
    some = bulk.counts.sum(axis=1) > 0
    units = [f"u{i}" for i in range(len(bulk.size))]
    genes = [f"g{i}" for i in np.flatnonzero(some)]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = DeseqDataSet(
            counts=pd.DataFrame(bulk.counts[some].T.astype(int), index=units, columns=genes),
            metadata=pd.DataFrame({"unit": units}, index=units),
            design=bulk.design.set_axis(units),
            refit_cooks=False,
            inference=DefaultInference(n_cpus=1),
            quiet=True,
        )
        data.fit_size_factors()
        # Ours in their place; the later steps read these.
        data.obs["size_factors"] = bulk.size / np.exp(np.log(bulk.size).mean())
        data.layers["normed_counts"] = data.X / data.obs["size_factors"].to_numpy()[:, None]
        data.var["_normed_means"] = data.layers["normed_counts"].mean(axis=0)
        data.fit_genewise_dispersions()
        data.fit_dispersion_trend()
        data.fit_dispersion_prior()
        data.fit_MAP_dispersions()
        data.fit_LFC()
        contrast = (bulk.design.columns == bulk.tested).astype(float)
        stats = DeseqStats(
            data, contrast=contrast, cooks_filter=False, independent_filter=False, quiet=True,
            inference=DefaultInference(n_cpus=1),
        )  # fmt: skip
        stats.run_wald_test()
    p = np.full(len(some), np.nan)
    p[some] = stats.p_values.to_numpy()
    return Tested(p, time.process_time() - start), pydeseq2.__version__
