"""Covariates of cells: tables from nodes around the slopes of each gene against those with each cell as a row.

    python benchmarks/main_job/covariates.py sim50k.h5ad kang8.h5ad [--genes 100] [--only 'sim/*'] [--keep FOLDER]

Every case is run twice, the second time with each cell as a row, which is exact and slow: some minutes a case for 100
genes of sim50k. The page lists the largest difference over the genes: coefficients and their standard errors in
standard errors, log likelihoods as they are, p-values relative. ``--keep`` stores the tables of the exact runs, to be
used again. It exits with 1 if a difference is beyond the limits that the documentation promises.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

import sc_glmm
from sc_glmm._fit import compress

# Largest differences that are allowed.
COEF, LOGLIK, P_VALUE = 1e-4, 1e-3, 1e-3
# Tests that average over variances and hypotheses; the others take the fit as it is.
MODERATED = {"eb_lr", "eb_wald"}


class Case(NamedTuple):
    """One call of ``tl.test``."""

    data: str
    formula: str
    options: dict[str, Any]


def adjusted(test: str, **options: Any) -> dict[str, Any]:
    return {"test": test, "contrasts": "cond", "within": "homogeneous", **options}


CASES = {
    "sim/one": Case("sim", "cond + x2", adjusted("t")),
    "sim/two": Case("sim", "cond + x2 + x3", adjusted("t")),
    "sim/three": Case("sim", "cond + x2 + x3 + x4", adjusted("t")),
    "sim/two-wald": Case("sim", "cond + x2 + x3", {"test": "wald", "within": "homogeneous"}),
    "sim/two-lrt": Case("sim", "cond + x2 + x3", {"test": "lrt", "within": "homogeneous", "contrasts": ["cond", "x3"]}),
    "sim/spline": Case("sim", "cond + bs(x3, df=4)", {"test": "t", "within": "homogeneous"}),
    "sim/phase": Case("sim", "cond + phase + x2 + x3", {"test": "t", "within": "homogeneous"}),
    "sim/slope": Case("sim", "cond + x2 + (0 + center(x2)|sample)", {"test": "t", "contrasts": ["cond", "x2"]}),
    "sim/one-eb": Case("sim", "cond + x2", {"test": "eb_lr", "within": "homogeneous"}),
    "sim/one-eb-slope": Case("sim", "cond + x2", {"test": "eb_lr"}),
    "sim/two-eb-adjusted": Case("sim", "cond + x2 + x3", adjusted("eb_lr")),
    "sim/two-eb": Case("sim", "cond + x2 + x3", {"test": "eb_lr", "within": "homogeneous"}),
    "sim/phase-eb": Case("sim", "cond + phase + x2 + x3", {"test": "eb_lr", "within": "homogeneous"}),
    "sim/spline-eb": Case("sim", "cond + bs(x3, df=4)", {"test": "eb_lr", "within": "homogeneous"}),
    "sim/minimum": Case("sim", "cond + x2 + x3", {"test": "eb_lr", "within": "homogeneous", "min_log_fc": 0.1}),
    "sim/phase-one": Case("sim", "cond + phase + x2", {"test": "t", "within": "homogeneous"}),
    "sim/own-sizes": Case("sim", "cond + x2 + x3", {"test": "t", "within": "homogeneous", "size_factors": None}),
    "sim/own-sizes-eb": Case("sim", "cond + x2", {"test": "eb_lr", "size_factors": None}),
    "kang/own-sizes-groups": Case(
        "kang",
        "stim + ribo",
        {"test": "t", "within": "homogeneous", "groupby": "cell_type", "size_factors": None},
    ),
    "kang/own-sizes-eb": Case("kang", "stim + ribo", {"test": "eb_lr", "within": "homogeneous", "size_factors": None}),
    "kang/two": Case("kang", "stim + ribo + isg", {"test": "t", "within": "homogeneous"}),
    "kang/groups": Case("kang", "stim + ribo + isg", {"test": "t", "within": "homogeneous", "groupby": "cell_type"}),
    "kang/types": Case("kang", "stim * ribo + cell_type", {"test": "t", "within": "homogeneous"}),
    "kang/two-eb": Case("kang", "stim + ribo + isg", {"test": "eb_lr", "within": "homogeneous"}),
    "kang/spline-eb": Case("kang", "stim + bs(ribo, df=4)", {"test": "eb_lr", "within": "homogeneous"}),
    "kang/three-slope": Case("kang", "stim + ribo + isg + hla", {"test": "eb_lr", "contrasts": "ribo"}),
}


def sim(path: Path, n_genes: int, n_samples: int, n_cells: int) -> anndata.AnnData:
    """Genes of all abundances; x2 is that of the file, x3 is skewed, both it and x4 are correlated with x2."""
    adata = anndata.read_h5ad(path)
    rng = np.random.default_rng(1)
    x2 = adata.obs["x2"].to_numpy()
    adata.obs["x3"] = 4.0 * rng.gamma(2.0, 1.0, adata.n_obs) + x2
    adata.obs["x4"] = rng.normal(size=adata.n_obs) - 0.3 * x2
    adata.obs["phase"] = rng.choice(["G1", "S", "G2M"], adata.n_obs, p=[0.6, 0.25, 0.15])
    adata.obs["size"] = adata.obs["size_factor"]
    chosen = sorted(adata.obs["sample"].unique())[:n_samples]
    adata = adata[adata.obs["sample"].isin(chosen)]
    adata = adata[adata.obs.groupby("sample", observed=True).cumcount().to_numpy() < n_cells]
    return adata[:, np.unique(np.linspace(0, adata.n_vars - 1, n_genes).astype(int))].copy()


def kang(path: Path, n_genes: int, *_: int) -> anndata.AnnData:
    """Genes with the most counts, and shares of sets of genes in the counts of a cell."""
    adata = anndata.read_h5ad(path)
    counts = sparse.csr_matrix(adata.layers["counts"])
    total = np.asarray(counts.sum(axis=1)).ravel()
    name = adata.var_names.str
    sets = {"ribo": name.match(r"RP[LS]\d"), "isg": name.match("IFI|ISG|OAS|MX"), "hla": name.match("HLA-")}
    for key, chosen in sets.items():
        adata.obs[key] = 100.0 * np.asarray(counts[:, np.flatnonzero(chosen)].sum(axis=1)).ravel() / total
    adata.obs["size"] = total / total.mean()
    order = np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")
    return adata[:, np.sort(order[::3][:n_genes])].copy()


MAKE = {"sim": sim, "kang": kang}


def table_of(adata: anndata.AnnData, case: Case, on_cells: bool) -> tuple[pd.DataFrame, float]:
    """The table, and milliseconds of processor time a gene."""
    known = compress.find_centred
    if on_cells:
        compress.find_centred = lambda *args, **kwargs: None
    start = time.process_time()
    try:
        sc_glmm.tl.test(
            adata,
            f"counts ~ {case.formula} + (1|sample)",
            progress=False,
            n_jobs=1,
            **{"size_factors": "size", **case.options},
        )
    finally:
        compress.find_centred = known
    spent = 1e3 * (time.process_time() - start) / adata.n_vars
    return sc_glmm.get.results(adata, columns="all"), spent


def largest(values: pd.Series) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))


def differences(ours: pd.DataFrame, exact: pd.DataFrame) -> dict[str, float]:
    """Largest differences over genes and contrasts."""
    known = exact["se"].notna()
    ours, exact, p = ours[known], exact[known], np.maximum(exact["p_value"][known], 1e-12)
    return {
        "coef": largest((ours["coef"] - exact["coef"]) / exact["se"]),
        "se": largest(ours["se"] / exact["se"] - 1.0),
        "loglik": largest(ours["loglik"] - exact["loglik"]),
        "p_value": largest((np.maximum(ours["p_value"], 1e-12) - p) / p),
        "median_p": float(np.nanmedian(np.abs(ours["p_value"] - exact["p_value"]) / p)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sim", type=Path)
    parser.add_argument("kang", type=Path)
    parser.add_argument("--genes", type=int, default=100)
    parser.add_argument("--samples", type=int, default=20, help="samples of sim50k")
    parser.add_argument("--cells", type=int, default=2500, help="cells of each")
    parser.add_argument("--only", nargs="*", default=["*"])
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("sc_glmm").setLevel(logging.ERROR)
    chosen = {name: case for name, case in CASES.items() if any(fnmatch.fnmatch(name, only) for only in args.only)}
    data = {
        kind: MAKE[kind](getattr(args, kind), args.genes, args.samples, args.cells)
        for kind in {case.data for case in chosen.values()}
    }
    warm_up = sc_glmm.datasets.simulate(12, 240, 60, depth=600)
    sc_glmm.tl.test(warm_up, "counts ~ disease + (1|sample)", n_jobs=1, progress=False)
    print("| case | tests | coef, SE | SE | log lik. | p-value | median p | status | on cells | ms nodes | ms cells |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    failed = False
    for name, case in chosen.items():
        kept = (
            None
            if args.keep is None
            else args.keep / f"{name.replace('/', '-')}-{args.genes}-{args.samples}-{args.cells}.pkl"
        )
        ours, mine = table_of(data[case.data], case, False)
        params = data[case.data].uns["glmm"]["params"]
        groups = json.loads(params["groups"]).values() if "groupby" in case.options else [params]
        beyond = sum(group.get("n_genes_on_cells", 0) for group in groups)
        if kept is not None and kept.exists():
            exact, theirs = pd.read_pickle(kept)
        else:
            exact, theirs = table_of(data[case.data], case, True)
            if kept is not None:
                pd.to_pickle((exact, theirs), kept)
        found = differences(ours, exact)
        same = int((ours["status"].astype(str) != exact["status"].astype(str)).sum())
        bad = found["coef"] > COEF or found["loglik"] > LOGLIK or found["p_value"] > P_VALUE or same > 0
        failed |= bad
        print(
            f"| {name} | {len(ours)} | {found['coef']:.1e} | {found['se']:.1e} | {found['loglik']:.1e} "
            f"| {found['p_value']:.1e} | {found['median_p']:.1e} | {same} | {beyond} | {mine:.1f} | {theirs:.0f} |"
            + (" beyond" if bad else ""),
            flush=True,
        )
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
