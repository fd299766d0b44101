"""Run our methods of the comparison; those of other packages are in ``others.py``.

Each takes an AnnData with ``layers["counts"]`` and ``obs["size_factor"]`` and returns p-values of all genes of it.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np

import sc_glmm

# no summary lines of thousands of runs
logging.getLogger("sc_glmm").setLevel(logging.WARNING)
# methods on sums of the cells of each sample, in R, and other methods that others.py runs
R_METHODS = ("edger_ql", "limma_voom", "deseq2")
OTHERS = (*R_METHODS, "pydeseq2", "nebula")
# most mixed-model tools report "ml_wald": maximum likelihood and a normal reference
OUR_METHODS = ("eb_lr", "eb_wald", "hk", "ql", "t", "wald", "lrt", "ml_wald")
METHODS = (*OUR_METHODS, *OTHERS)
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
    "nebula": "nebula (LN)",
}


@dataclass(frozen=True)
class Tested:
    """Results of one method for every gene, in natural logs, with 95 % intervals."""

    p: np.ndarray
    seconds: float
    estimate: np.ndarray | None = None
    interval: np.ndarray | None = None
    p_hk: np.ndarray | None = None
    notes: dict[str, object] | None = None


def versions() -> dict[str, str]:
    """Return the versions of the packages."""
    found = {name: version(name) for name in ("sc_glmm", "numpy", "scipy", "anndata")}
    folder = Path(sc_glmm.__file__).parent
    git = shutil.which("git")
    if git is not None:
        process = subprocess.run(
            [git, "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        found["commit"] = process.stdout.strip()
    return found


def run_ours(
    method: str,
    adata: ad.AnnData,
    formula: str,
    tested: str,
    *,
    min_log_fc: float = 0.0,
    alternative: str = "two-sided",
) -> Tested:
    """Run our tests on one thread; `tested` is a term of the formula. Times are processor seconds, AnnData to table."""
    options = {"method": "ml", "test": "wald"} if method == "ml_wald" else {"test": method}
    plain = min_log_fc == 0.0 and alternative == "two-sided"
    if not plain:
        options |= {"min_log_fc": min_log_fc, "alternative": alternative}
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
        table = sc_glmm.get.results(adata, "calibration", columns="all")
    seconds = time.process_time() - start
    if list(table["variable"]) != list(adata.var_names):
        raise RuntimeError("the table of results is not in the order of the genes")
    natural = np.log(2.0)
    return Tested(
        p=table["p_value"].to_numpy(float),
        seconds=seconds,
        estimate=table["coef"].to_numpy(float),
        interval=table[["ci_low", "ci_high"]].to_numpy(float) * natural,
        p_hk=table["p_hk"].to_numpy(float) if method == "eb_lr" and plain and "p_hk" in table else None,
        notes={"status": {str(k): int(v) for k, v in table["status"].value_counts().items() if v}},
    )
