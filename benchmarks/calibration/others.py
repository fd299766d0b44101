"""Run methods of other packages on pseudobulk sums of the cells of each sample, or (nebula) on the cells themselves.

Packages that are not installed are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from formulaic import model_matrix
from methods import R_METHODS, Tested
from scipy import sparse

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Pseudobulk:
    """Sums of cells: counts (genes, units), size factors of the units, and their design."""

    counts: np.ndarray
    size: np.ndarray
    design: pd.DataFrame
    tested: str


def run_others(
    methods: Sequence[str], adata: ad.AnnData, unit: str, fixed: str, tested: str
) -> tuple[dict[str, Tested], dict[str, str]]:
    """Run those of `methods` that belong to other installed packages; return results and versions.

    Parameters
    ----------
    methods
        Names.
    adata
        Cells.
    unit
        Column of the pseudobulk units, and grouping factor of mixed models.
    fixed, tested
        Right side of the model, and a term of it with one column.
    """
    results: dict[str, Tested] = {}
    found: dict[str, str] = {}
    on_sums = [m for m in methods if m in (*R_METHODS, "pydeseq2")]
    if on_sums:
        bulk = pseudobulk(adata, unit, fixed, tested)
        results, found = run_r([m for m in on_sums if m in R_METHODS], bulk)
    for name, run in (
        ("pydeseq2", lambda: run_pydeseq2(bulk)),
        ("nebula", lambda: run_nebula(adata, unit, fixed, tested)),
    ):
        result = run() if name in methods else None
        if result is not None:
            results[name], found[name] = result
    return results, found


def pseudobulk(adata: ad.AnnData, unit: str, fixed: str, tested: str) -> Pseudobulk:
    """Sum the cells of each unit; `tested` is a term of `fixed` with one column."""
    codes, levels = pd.factorize(adata.obs[unit], sort=True)
    membership = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    size = membership @ adata.obs["size_factor"].to_numpy()
    design, column = design_of(
        adata.obs.iloc[[int(np.flatnonzero(codes == k)[0]) for k in range(len(levels))]], fixed, tested
    )
    counts = np.asarray((membership @ adata.layers["counts"]).todense()).T
    return Pseudobulk(counts, np.asarray(size), design, column)


def design_of(table: pd.DataFrame, fixed: str, tested: str) -> tuple[pd.DataFrame, str]:
    """Build the columns of the model, and find the tested one."""
    for name in table.columns:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            table = table.assign(**{name: table[name].cat.remove_unused_categories()})
    matrix = model_matrix(fixed, table)
    columns = list(matrix.columns[matrix.model_spec.term_slices[tested]])
    if len(columns) != 1:
        raise ValueError(f"{tested!r} has the columns {columns}; methods of others are given one")
    return pd.DataFrame(np.asarray(matrix), columns=list(matrix.columns)), columns[0]


def run_script(script: str, folder: Path, *arguments: str) -> tuple[pd.DataFrame, pd.Series, dict[str, str]] | None:
    """Run an R script and read p-values, seconds and versions by method from its folder; None without results."""
    program = shutil.which("Rscript")
    if program is None:
        return None
    process = subprocess.run(
        [program, str(HERE / script), str(folder), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if process.returncode:
        raise RuntimeError(f"{script} failed: {process.stderr[-2000:]}")
    if process.stderr.strip():
        print(process.stderr.strip(), flush=True)
    if not (folder / "p.csv").exists():
        return None
    values, seconds, versions = (pd.read_csv(folder / f"{name}.csv") for name in ("p", "seconds", "versions"))
    return values, seconds.iloc[0], versions.iloc[0].astype(str).to_dict()


def run_r(methods: list[str], bulk: Pseudobulk) -> tuple[dict[str, Tested], dict[str, str]]:
    """Run methods of R on genes with a count; methods of missing packages are skipped."""
    if not methods:
        return {}, {}
    expressed = bulk.counts.sum(axis=1) > 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.DataFrame(bulk.counts[expressed].astype(int)).to_csv(folder / "counts.csv", index=False)
        bulk.design.to_csv(folder / "design.csv", index=False)
        pd.DataFrame({"size": bulk.size}).to_csv(folder / "library.csv", index=False)
        result = run_script("comparators.R", folder, ",".join(methods), bulk.tested)
    if result is None:
        return {}, {}
    values, seconds, found = result
    results = {}
    for method in values.columns:
        p = np.full(len(expressed), np.nan)
        p[expressed] = values[method]
        results[method] = Tested(p, float(seconds[method]))
    return results, found


def run_nebula(adata: ad.AnnData, unit: str, fixed: str, tested: str) -> tuple[Tested, str] | None:
    """Run nebula on the cells with its defaults; None if it is not installed."""
    order = np.argsort(adata.obs[unit].to_numpy(str), kind="stable")  # nebula needs the cells of a sample together
    obs = adata.obs.iloc[order]
    design, column = design_of(obs, fixed, tested)
    counts = sparse.csc_matrix(sparse.csr_matrix(adata.layers["counts"])[order].T)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts.indptr.astype(np.int32).tofile(folder / "pointers.bin")
        counts.indices.astype(np.int32).tofile(folder / "rows.bin")
        counts.data.astype(np.float64).tofile(folder / "values.bin")
        (folder / "genes.txt").write_text(f"{adata.n_vars}\n")
        design.to_csv(folder / "design.csv", index=False)
        pd.DataFrame({"size": obs["size_factor"].to_numpy()}).to_csv(folder / "size.csv", index=False)
        pd.DataFrame({"sample": pd.factorize(obs[unit])[0]}).to_csv(folder / "sample.csv", index=False)
        result = run_script("nebula.R", folder, column)
    if result is None:
        return None
    values, seconds, found = result
    return Tested(values["nebula"].to_numpy(float), float(seconds["nebula"])), found["nebula"]


def run_pydeseq2(bulk: Pseudobulk) -> tuple[Tested, str] | None:
    """Run PyDESeq2 like DESeq2: our size factors, Wald, no filtering, outliers kept; None if it is not installed."""
    try:
        import pydeseq2
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.default_inference import DefaultInference
        from pydeseq2.ds import DeseqStats
    except ImportError:
        return None
    expressed = bulk.counts.sum(axis=1) > 0
    units = [f"u{i}" for i in range(len(bulk.size))]
    genes = [f"g{i}" for i in np.flatnonzero(expressed)]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = DeseqDataSet(
            counts=pd.DataFrame(bulk.counts[expressed].T.astype(int), index=units, columns=genes),
            metadata=pd.DataFrame({"unit": units}, index=units),
            design=bulk.design.set_axis(units),
            refit_cooks=False,
            inference=DefaultInference(n_cpus=1),
            quiet=True,
        )
        data.fit_size_factors()
        # our size factors replace those of PyDESeq2; the later steps use them
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
    p = np.full(len(expressed), np.nan)
    p[expressed] = stats.p_values.to_numpy()
    return Tested(p, time.process_time() - start), pydeseq2.__version__
